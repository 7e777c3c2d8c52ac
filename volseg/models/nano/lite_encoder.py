"""The image encoder ``lite0`` of ``nano``: EfficientNet-Lite0's features, joined at stride 8 after two transformer
layers at stride 16.

Like the first encoder it turns (b, 3, 256, 256) images, normalised as SAM does, into (b, 128, 32, 32) embeddings. How
its trunk comes by the weights of ImageNet lives in ``volseg.training.imagenet``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from volseg.models.nano.encoder import Attention, InputChannels, Residual
from volseg.models.nano.trunk import CHANNELS, LiteTrunk

WIDTH = 192
FINE = 64
TRUNK_MEAN, TRUNK_DEVIATION = 127.0, 128.0


class LiteEncoder(nn.Module):
    """Image encoder with the interface of SAM's ``ImageEncoderViT``: ``img_size`` and ``forward``.

    Parameters
    ----------
    img_size : int
        Side of the square input in pixels; a multiple of 32.
    out_chans : int
        Channels of the embedding.
    pixel_mean, pixel_std : list of float
        The normalisation that ``Sam.preprocess`` applies; the trunk has one of its own.
    """

    def __init__(
        self, img_size: int, out_chans: int, pixel_mean: list[float], pixel_std: list[float]
    ) -> None:
        super().__init__()
        self.img_size = img_size
        self.inputs = InputChannels(pixel_mean, pixel_std)
        self.trunk = LiteTrunk(5)
        with torch.no_grad():  # the two views of brightness come in as far as training wants them
            self.trunk.stem.weight[:, 3:] = 0
        self.fine = nn.Conv2d(CHANNELS[4], FINE, 1)
        self.down = nn.Conv2d(FINE, out_chans, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(CHANNELS[8], out_chans, 1)
        self.middle = nn.Conv2d(CHANNELS[16], WIDTH, 1)
        self.coarse = nn.Conv2d(CHANNELS[32], WIDTH, 1)
        side = img_size // 16
        self.position = nn.Parameter(torch.zeros(1, side * side, WIDTH))
        self.attention = nn.Sequential(
            *[Attention(WIDTH, 6, 2 * WIDTH) for _ in range(2)], nn.LayerNorm(WIDTH)
        )
        self.lateral = nn.Conv2d(WIDTH, out_chans, 1)
        self.fuse = nn.Sequential(
            Residual(out_chans), Residual(out_chans), nn.Conv2d(out_chans, out_chans, 1)
        )
        self.norm = nn.GroupNorm(out_chans, out_chans)

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
        features = self.trunk(self._trunk_inputs(x))
        middle = self.middle(features[16]) + _doubled(self.coarse(features[32]))
        tokens = middle.flatten(2).transpose(1, 2) + self.position
        seen = self.attention(tokens).transpose(1, 2).reshape(middle.shape)
        fine = self.down(F.relu(self.fine(features[4])))
        joined = self.skip(features[8]) + fine + _doubled(self.lateral(seen))
        return self.norm(self.fuse(F.relu(joined)))

    def _trunk_inputs(self, x: Tensor) -> Tensor:
        channels = self.inputs(x)
        colours = x.float() * self.inputs.deviation + self.inputs.mean
        scaled = (colours - TRUNK_MEAN) / TRUNK_DEVIATION
        both = torch.cat([scaled, channels[:, 3:]], 1)
        return both.contiguous(memory_format=torch.channels_last)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
