"""How ``nano`` is put together: our encoders around SAM's mask decoder, as a
``segment_anything.modeling.Sam``.

Sizes stand here, once. Weights and their checks live in the package's ``__init__``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from segment_anything.modeling import MaskDecoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from volseg.errors import InputError
from volseg.models.nano.encoder import NanoEncoder
from volseg.models.nano.lite_encoder import LiteEncoder
from volseg.models.nano.prompt_encoder import DensePromptEncoder
from volseg.models.sam.attention import fuse

IMAGE_SIZE = 256
EMBEDDING_SIZE = 32
CHANNELS = 128
PIXEL_MEAN = [123.675, 116.28, 103.53]
PIXEL_STD = [58.395, 57.12, 57.375]


class LocalMix(nn.Module):
    """A bottleneck of 3 x 3 convolutions with a skip, which spreads a prompt to neighbouring
    positions.

    Parameters
    ----------
    channels, hidden : int
        Channels outside and inside the bottleneck.
    dilations : tuple of int
        One 3 x 3 convolution for each.
    """

    def __init__(self, channels: int, hidden: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation)
            for dilation in dilations
        )
        self.norm = nn.GroupNorm(8, hidden)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return an array of the shape of ``x`` (b, c, h, w)."""
        inner = F.relu(self.norm(self.reduce(x)))
        for conv in self.convs:
            inner = F.relu(conv(inner))
        return x + self.expand(inner)


def _channels_last(x: Tensor) -> Tensor:
    """``x`` (b, c, h, w) with channels last in memory; one by one, a CPU turns matrices five times as fast."""
    if x.device.type != "cpu":
        return x.contiguous(memory_format=torch.channels_last)
    turned = torch.stack([image.flatten(1).t().contiguous() for image in x])
    return turned.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)


class LocalTwoWayTransformer(nn.Module):
    """SAM's two-way transformer between two local mixes of the image's positions.

    SAM's own lets image positions talk only through the prompt's tokens. The mixes let a click's
    dense map spread within an object before, and smooth the decision after.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = LocalMix(channels, 64, (1, 2))
        self.two_way = TwoWayTransformer(depth=2, embedding_dim=channels, mlp_dim=512, num_heads=4)
        self.after = LocalMix(channels, 64, (1,))

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return tokens (b, n, c) and image positions (b, h * w, c), as SAM's ``TwoWayTransformer``
        does.

        ``image_pe`` repeats one encoding for the whole batch, so one row of it is enough. Channels
        come last in memory: the two-way transformer flattens positions, and would copy otherwise.
        """
        mixed = self.before(_channels_last(image_embedding))
        code = _channels_last(image_pe[:1])
        tokens, positions = self.two_way(mixed, code, point_embedding)
        batch, channels, height, width = mixed.shape
        grid = positions.view(batch, height, width, channels).permute(0, 3, 1, 2)
        return tokens, self.after(grid).permute(0, 2, 3, 1).flatten(1, 2)


class Upscaling(nn.Module):
    """From positions at stride 8 to mask features at stride 2: the part of SAM's decoder of the
    same purpose.

    Parameters
    ----------
    channels : int
        Channels in; an eighth of them come out, as ``MaskDecoder`` expects.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle, last = channels // 4, channels // 8
        self.first = nn.ConvTranspose2d(channels, middle, 2, stride=2)
        self.refine = nn.Conv2d(middle, middle, 3, padding=1)
        self.second = nn.ConvTranspose2d(middle, last, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (b, c, h, w) into (b, c / 8, 4 h, 4 w), contiguous as ``MaskDecoder`` needs it."""
        x = F.relu(self.first(x.contiguous(memory_format=torch.channels_last)))
        x = x + F.relu(self.refine(x))
        return F.relu(self.second(x)).contiguous()


ENCODERS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"pyramid": NanoEncoder, "lite0": LiteEncoder}
)
"""Image encoders by the names that records of weights know them by; a name never changes its meaning."""


def encoder_of(sam: Sam) -> str:
    """Return the name in ``ENCODERS`` of the image encoder of a ``nano``.

    Raises
    ------
    ValueError
        It is not one of them.
    """
    for name, kind in ENCODERS.items():
        if type(sam.image_encoder) is kind:
            return name
    raise ValueError(f"{type(sam.image_encoder).__name__} is no image encoder of nano")


def assemble(encoder: str = "pyramid") -> Sam:
    """Build ``nano`` with random weights.

    Parameters
    ----------
    encoder : str
        A key of ``ENCODERS``.

    Returns
    -------
    segment_anything.modeling.Sam
        In training mode, float32, on the CPU. 256 x 256 pixels in, 128 x 128 mask logits out.

    Raises
    ------
    InputError
        There is no such encoder.
    """
    if encoder not in ENCODERS:
        known = ", ".join(ENCODERS)
        raise InputError(f"nano has no image encoder called {encoder!r}; there are {known}")
    size = (EMBEDDING_SIZE, EMBEDDING_SIZE)
    decoder = MaskDecoder(
        transformer_dim=CHANNELS,
        transformer=LocalTwoWayTransformer(CHANNELS),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=CHANNELS,
    )
    decoder.output_upscaling = Upscaling(CHANNELS)
    fuse(decoder)
    return Sam(
        image_encoder=ENCODERS[encoder](IMAGE_SIZE, CHANNELS, PIXEL_MEAN, PIXEL_STD),
        prompt_encoder=DensePromptEncoder(CHANNELS, size, (IMAGE_SIZE, IMAGE_SIZE)),
        mask_decoder=decoder,
        pixel_mean=PIXEL_MEAN,
        pixel_std=PIXEL_STD,
    )
