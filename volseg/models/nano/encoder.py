"""The image encoder of ``nano``: a small convolutional pyramid with a few transformer layers at
stride 16.

It turns (b, 3, 256, 256) images, normalised as SAM does, into (b, 128, 32, 32) embeddings (stride
8). Nothing about prompts or training lives here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Two 3 x 3 convolutions with group normalisation and a skip; ``dilation`` widens both.

    Parameters
    ----------
    channels : int
        Channels in and out; a multiple of 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_in = nn.GroupNorm(8, channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_out = nn.GroupNorm(8, channels)
        nn.init.constant_(self.norm_out.weight, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Return an array of the shape of ``x`` (b, c, h, w)."""
        inner = F.relu(self.norm_in(self.conv_in(x)))
        return F.relu(x + self.norm_out(self.conv_out(inner)))


class Down(nn.Module):
    """Halve height and width with a 3 x 3 convolution of stride 2, normalise, rectify."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, outputs, h / 2, w / 2)."""
        return F.relu(self.norm(self.conv(x)))


class Attention(nn.Module):
    """One pre-normalised transformer layer over the positions of a feature map.

    Parameters
    ----------
    channels, heads, hidden : int
        Width, attention heads, and width of the feed-forward part.
    """

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.norm_forward = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (b, n, c) after attention and feed-forward."""
        batch, count, channels = tokens.shape
        mixed = self.query_key_value(self.norm_attention(tokens))
        mixed = mixed.view(batch, count, 3, self.heads, channels // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.project(attended.transpose(1, 2).reshape(tokens.shape))
        return tokens + self.contract(F.gelu(self.expand(self.norm_forward(tokens))))


class InputChannels(nn.Module):
    """Add to the three colours two views of brightness that do not depend on the exposure.

    One is the logarithm of the grey value; the other the grey value less its neighbourhood's mean,
    over its neighbourhood's deviation (72 pixels). Both are local, so neighbouring tiles agree
    where they overlap.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, pixel_mean: list[float], pixel_std: list[float]) -> None:
        super().__init__()
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(pixel_mean).view(shape), persistent=False)
        self.register_buffer("deviation", torch.tensor(pixel_std).view(shape), persistent=False)

    @torch.autocast("cpu", enabled=False)
    def forward(self, x: Tensor) -> Tensor:
        """Turn normalised colours (b, 3, h, w) into (b, 5, h, w); h and w are multiples of 8."""
        x = x.float()
        grey = (x * self.deviation + self.mean).mean(1, keepdim=True).clamp(0, 255) / 255
        small = F.avg_pool2d(torch.cat([grey, grey * grey], 1), 8)
        small = F.avg_pool2d(small, 9, stride=1, padding=4, count_include_pad=False)
        mean, square = F.interpolate(
            small, size=x.shape[-2:], mode="bilinear", align_corners=False
        ).split(1, 1)
        spread = (square - mean * mean).clamp(min=0).sqrt()
        contrast = ((grey - mean) / (spread + 0.01)).clamp(-4, 4) / 2
        logarithm = torch.log1p(255 * grey) / 2.0 - 1.5
        return torch.cat([x, logarithm, contrast], 1)


class NanoEncoder(nn.Module):
    """Image encoder with the interface of SAM's ``ImageEncoderViT``: ``img_size`` and ``forward``.

    Parameters
    ----------
    img_size : int
        Side of the square input in pixels; a multiple of 16.
    out_chans : int
        Channels of the embedding.
    pixel_mean, pixel_std : list of float
        The normalisation that ``Sam.preprocess`` applies, undone inside to see raw brightness.
    """

    def __init__(
        self,
        img_size: int,
        out_chans: int,
        pixel_mean: list[float],
        pixel_std: list[float],
        widths: tuple[int, int, int, int] = (32, 64, 128, 192),
    ) -> None:
        super().__init__()
        self.img_size = img_size
        first, second, third, fourth = widths
        self.inputs = InputChannels(pixel_mean, pixel_std)
        self.stem = nn.Sequential(
            nn.Conv2d(20, first, 3, padding=1, bias=False), nn.GroupNorm(8, first), nn.ReLU()
        )
        self.stride4 = nn.Sequential(Down(first, second), Residual(second), Residual(second))
        self.stride8 = nn.Sequential(Down(second, third), Residual(third), Residual(third))
        self.stride16 = nn.Sequential(Down(third, fourth), Residual(fourth), Residual(fourth))
        side = img_size // 16
        self.position = nn.Parameter(torch.zeros(1, side * side, fourth))
        self.attention = nn.Sequential(
            *[Attention(fourth, 6, 2 * fourth) for _ in range(3)],
            nn.LayerNorm(fourth),  # else their sum grows until bfloat16 can't tell places apart
        )
        self.lateral = nn.Conv2d(fourth, out_chans, 1)
        self.skip = nn.Conv2d(third, out_chans, 1)
        self.fuse = nn.Sequential(Residual(out_chans), nn.Conv2d(out_chans, out_chans, 1))
        self.norm = nn.GroupNorm(out_chans, out_chans)  # else a constant drowns the picture

    def forward(self, x: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        x : Tensor
            (b, 3, img_size, img_size), normalised with SAM's mean and deviation, zero where padded.

        Returns
        -------
        Tensor
            (b, out_chans, img_size / 8, img_size / 8).
        """
        x = F.pixel_unshuffle(self.inputs(x), 2)
        fine = self.stride8(self.stride4(self.stem(x)))
        coarse = self.stride16(fine)
        tokens = coarse.flatten(2).transpose(1, 2) + self.position
        coarse = self.attention(tokens).transpose(1, 2).reshape(coarse.shape)
        wide = F.interpolate(
            self.lateral(coarse), scale_factor=2, mode="bilinear", align_corners=False
        )
        return self.norm(self.fuse(F.relu(self.skip(fine) + wide)))
