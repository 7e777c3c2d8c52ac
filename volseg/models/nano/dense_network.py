"""The network of ``nano``'s dense model: a small U-Net on the pixels that takes the frozen embedding in at stride 8.

The embedding alone is too coarse for outlines of small objects (one value per 8 x 8 pixels), the pixels alone know
no kinds of things: the U-Net (Ronneberger et al., MICCAI 2015) joins both. Weights and their checks live in `dense`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from volseg.models.dense import MAPS
from volseg.models.nano.architecture import CHANNELS, PIXEL_MEAN, PIXEL_STD
from volseg.models.nano.encoder import Down, InputChannels, Residual

WIDTHS = (16, 40, 80, 128)  # at strides 2, 4, 8 and 16; wider ones take more than 25 ms of one core
PLANAR = len(MAPS) - 1  # all but the affinity to the next slice


class Smooth(nn.Sequential):
    """A 3 x 3 convolution, group normalisation, rectification."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(8, outputs),
            nn.ReLU(),
        )


class DenseNetwork(nn.Module):
    """Pixels and embeddings to logits of maps at stride 2, and to affinities between neighbouring slices.

    Parameters
    ----------
    widths : (int, int, int, int)
        Channels at strides 2, 4, 8 and 16, multiples of 8.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        first, second, third, fourth = widths
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).view(shape), persistent=False)
        self.register_buffer("deviation", torch.tensor(PIXEL_STD).view(shape), persistent=False)
        self.inputs = InputChannels(PIXEL_MEAN, PIXEL_STD)
        self.stem = nn.Sequential(  # stride 2 at once: a third of the time of 3 x 3 on 2 x 2 pixels as channels
            nn.Conv2d(5, first, 6, stride=2, padding=2, bias=False), nn.GroupNorm(8, first), nn.ReLU()
        )  # fmt: skip
        self.stride4 = nn.Sequential(Down(first, second), Residual(second))
        self.down8 = Down(second, third)
        self.embedding = nn.Conv2d(CHANNELS, third, 1)
        self.stride8 = Residual(third)
        self.stride16 = nn.Sequential(Down(third, fourth), Residual(fourth))
        self.up8 = nn.Conv2d(fourth, third, 1)
        self.up4 = nn.Conv2d(third, second, 1)
        self.smooth4 = Smooth(second, second)
        self.up2 = nn.Conv2d(second, first, 1)
        self.smooth2 = Smooth(first, first)
        self.planar = nn.Conv2d(first, PLANAR, 1)
        self.pair = nn.Sequential(
            nn.Conv2d(2 * first, first, 1), nn.ReLU(),
            nn.Conv2d(first, first, 3, padding=1), nn.ReLU(), nn.Conv2d(first, 1, 1),
        )  # fmt: skip

    def features(self, pixels: Tensor, embeddings: Tensor) -> Tensor:
        """Compute what all maps are read off.

        Parameters
        ----------
        pixels : Tensor
            (b, 3, 256, 256) in 0..255.
        embeddings : Tensor
            (b, 128, 32, 32); no gradient reaches them.

        Returns
        -------
        Tensor
            (b, c, 128, 128).
        """
        views = self.inputs((pixels.float() - self.mean) / self.deviation)
        at2 = self.stem(views.contiguous(memory_format=torch.channels_last))
        at4 = self.stride4(at2)
        known = embeddings.detach().float().contiguous(memory_format=torch.channels_last)
        at8 = self.stride8(F.relu(self.down8(at4) + self.embedding(known)))
        at8 = at8 + _doubled(self.up8(self.stride16(at8)))
        at4 = self.smooth4(at4 + _doubled(self.up4(at8)))
        return self.smooth2(at2 + _doubled(self.up2(at4)))

    def between(self, here: Tensor, there: Tensor) -> Tensor:
        """Compute logits (b, 1, 128, 128) of affinities between features of neighbouring slices.

        It does not matter which of both comes first: they enter as their sum and the size of their difference, so
        that a volume turned upside down keeps its affinities.
        """
        return self.pair(torch.cat([here + there, (here - there).abs()], 1))

    def forward(self, pixels: Tensor, embeddings: Tensor) -> Tensor:
        """Compute logits (b, PLANAR, 128, 128) of the maps within slices, in the order of `dense.MAPS`."""
        return self.planar(self.features(pixels, embeddings))


def _doubled(x: Tensor) -> Tensor:
    """Twice the height and width, bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
