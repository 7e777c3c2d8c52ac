"""EfficientNet-Lite0 without its classifier: the image features at strides 4, 8, 16 and 32 that the ``lite0`` encoder
of ``nano`` stands on.

After Tan and Le (2019), in the variant for devices without squeeze-excitation and with ReLU6. Batch normalisations are
kept as what they are at inference, a factor and a sum for each channel: a step has too few images for statistics.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Stage(NamedTuple):
    """Blocks of one kind: how many, kernel, stride of the first, expansion, and channels out."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
CHANNELS = {4: 24, 8: 40, 16: 112, 32: 320}
"""Channels of the features by their stride."""
_LAST_STAGE = {4: 1, 8: 2, 16: 4, 32: 6}


class ConvAffine(nn.Module):
    """A convolution without bias, then a factor and a sum for each channel, then ReLU6 or nothing.

    Factor and weights are multiplied before they meet the image, which saves a pass over the activations in
    both directions.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel, stride : int
        Padded as TensorFlow's "same": where the stride is 2, one pixel more at the bottom and right.
    depthwise : bool
        One filter for each channel.
    rectify : bool
        Whether ReLU6 follows.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        rectify: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.rectify = stride, rectify
        self.groups = inputs if depthwise else 1
        self.weight = nn.Parameter(torch.empty(outputs, inputs // self.groups, kernel, kernel))
        self.scale = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))
        self.padding = kernel // 2 if stride == 1 else 0
        before = (kernel - stride) // 2
        self.around = (before, kernel - stride - before) * 2 if stride > 1 else None
        nn.init.kaiming_normal_(self.weight, mode="fan_in" if depthwise else "fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Turn (b, inputs, h, w) into (b, outputs, h / stride, w / stride); h and w are multiples of the stride."""
        if self.around is not None:
            x = F.pad(x, self.around)
        weight = self.weight * self.scale[:, None, None, None]
        x = F.conv2d(x, weight, self.shift, self.stride, self.padding, groups=self.groups)
        return F.relu6(x, inplace=True) if self.rectify else x


class MobileBlock(nn.Module):
    """An inverted bottleneck: widen, filter each channel, narrow; with a skip where the shape stays."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = inputs * stage.expansion
        self.expand = ConvAffine(inputs, wide) if stage.expansion > 1 else None
        self.depthwise = ConvAffine(wide, wide, stage.kernel, stride, depthwise=True)
        self.project = ConvAffine(wide, stage.channels, rectify=False)
        self.skips = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """Turn (b, inputs, h, w) into (b, channels, h / stride, w / stride)."""
        inner = x if self.expand is None else self.expand(x)
        inner = self.project(self.depthwise(inner))
        return x + inner if self.skips else inner


class LiteTrunk(nn.Module):
    """EfficientNet-Lite0 up to its last block.

    Parameters
    ----------
    inputs : int
        Channels in: red, green and blue first, as values v of 0..255 turned into (v - 127) / 128, which it was
        trained with; whatever else may follow.
    """

    def __init__(self, inputs: int = 3) -> None:
        super().__init__()
        self.stem = ConvAffine(inputs, STEM, 3, 2)
        stages, channels = [], STEM
        for stage in STAGES:
            blocks = []
            for index in range(stage.blocks):
                blocks.append(MobileBlock(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Return features by stride.

        Parameters
        ----------
        x : Tensor
            (b, inputs, h, w); h and w are multiples of 32.

        Returns
        -------
        dict of int to Tensor
            For each stride s of `CHANNELS`, (b, CHANNELS[s], h / s, w / s).
        """
        x = self.stem(x)
        features = {}
        strides = {stage: stride for stride, stage in _LAST_STAGE.items()}
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in strides:
                features[strides[index]] = x
        return features
