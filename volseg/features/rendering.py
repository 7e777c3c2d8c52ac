"""Voxels to the pixels that a model looks at: contrast measured once over the volume, filters,
resizing to tiles.

Per-slice or per-tile contrast would jump at seams, so that the same `Rendering` is used everywhere
and is part of every cache key and plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from volseg.errors import InputError
from volseg.features.preprocessing import PREPROCESSING, Place
from volseg.images.contrast import contrast_limits, measure_contrast, widened

if TYPE_CHECKING:
    from volseg.features.tiling import Tile
    from volseg.geometry import Region
    from volseg.images.image import Volume


class Rendering(BaseModel):
    """How channels become three uint8 pixels, the same for the whole volume.

    Parameters
    ----------
    channels : tuple of int
        One to three channels of the image. One fills all three colours, of two the third colour is
        their mean.
    low, high : tuple of float
        Per channel the values shown as black and as full brightness.
    is_rgb : bool
        A colour image, whose values stand as they are.
    preprocess : tuple of str
        Filters in the order in which they are applied; features (edges, spots) fill the second and
        third colour.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Annotated[tuple[int, ...], Field(min_length=1, max_length=3)]
    low: tuple[float, ...]
    high: tuple[float, ...]
    is_rgb: bool = False
    preprocess: tuple[str, ...] = ()

    @property
    def halo(self) -> tuple[int, int, int]:
        """Voxels (z, y, x) to be read around what is rendered; filters work on single slices, so z
        is 0.
        """
        reach = sum(PREPROCESSING[name].halo for name in self.preprocess)
        return 0, reach, reach

    def render(
        self,
        block: NDArray[Any],
        *,
        origin: tuple[int, int] = (0, 0),
        slice_shape: tuple[int, int] | None = None,
    ) -> NDArray[np.uint8]:
        """Render voxels.

        Parameters
        ----------
        block : ndarray (c, z, y, x)
            The channels of `channels`, in that order. With filters it includes the halo, cut at
            the slice's edges.
        origin : (int, int)
            First voxel (y, x) of the block in the slice; only filters that keep to a lattice look
            at it.
        slice_shape : (int, int), optional
            Height and width of the whole slice; the block's by default.

        Returns
        -------
        ndarray (z, 3, y, x) uint8
            Of the whole block, its halo included.
        """
        if block.ndim != 4 or block.shape[0] != len(self.channels):
            raise InputError(
                f"a block to render has shape (c, z, y, x) with c = {len(self.channels)}, "
                f"not {block.shape}"
            )
        if not self.preprocess:
            return self._colours([self._scaled(part, i) for i, part in enumerate(block)])
        place = Place(origin, slice_shape or (block.shape[2], block.shape[3]))
        planes = [np.stack(self._filtered(block[:, z], place)) for z in range(block.shape[1])]
        return np.stack(planes)

    def _scaled(self, values: NDArray[Any], index: int) -> NDArray[np.uint8]:
        """Values of one channel as uint8."""
        if self.is_rgb and values.dtype == np.uint8:
            return values
        if values.dtype in (np.uint8, np.uint16):
            table = _to_uint8(self._unit(np.arange(np.iinfo(values.dtype).max + 1), index))
            return table[values]
        return _to_uint8(self._unit(values, index))

    def _unit(self, values: NDArray[Any], index: int) -> NDArray[np.float32]:
        low, high = self.low[index], self.high[index]
        with np.errstate(over="ignore", invalid="ignore"):  # fill values, and what is no number
            scaled = (values.astype(np.float64) - low) / (high - low)
        return np.asarray(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 1), np.float32)

    def _colours(self, parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        if len(parts) == 2:
            parts = [*parts, ((parts[0].astype(np.uint16) + parts[1] + 1) // 2).astype(np.uint8)]
        if len(parts) == 1:
            return np.repeat(parts[0][:, None], 3, axis=1)
        return np.stack(parts, axis=1)

    def _filtered(self, planes: NDArray[Any], place: Place) -> list[NDArray[np.uint8]]:
        """The three colours (y, x) of one slice, given as (c, y, x)."""
        images = [self._unit(plane, i) for i, plane in enumerate(planes)]
        features: list[NDArray[np.float32]] = []
        for name in self.preprocess:
            filtering = PREPROCESSING[name]
            if filtering.feature:
                features.append(filtering.apply(images[0], place))
            else:
                images = [filtering.apply(image, place) for image in images]
        parts = [_to_uint8(image)[None] for image in images + features][:3]
        return list(self._colours(parts)[0])


def make_rendering(
    channels: Sequence[int],
    low: Sequence[float],
    high: Sequence[float],
    *,
    is_rgb: bool = False,
    preprocess: Sequence[str] = (),
) -> Rendering:
    """A checked `Rendering`.

    Raises
    ------
    InputError
        An unknown filter, or more channels and features than the three colours hold.
    """
    unknown = [name for name in preprocess if name not in PREPROCESSING]
    if unknown:
        raise InputError(
            f"no preprocessing is called {unknown[0]!r}; there are {', '.join(PREPROCESSING)}"
        )
    features = sum(PREPROCESSING[name].feature for name in preprocess)
    if len(channels) + features > 3:
        raise InputError(
            f"{len(channels)} channels and {features} features are more than the three colours "
            "that a model sees"
        )
    limits = [widened(float(b), float(h)) for b, h in zip(low, high, strict=True)]
    return Rendering(
        channels=tuple(channels),
        low=tuple(b for b, _ in limits),
        high=tuple(h for _, h in limits),
        is_rgb=is_rgb,
        preprocess=tuple(preprocess),
    )


def measure_rendering(
    volume: Volume,
    level: int = 0,
    time: int = 0,
    channels: Sequence[int] | int | None = None,
    preprocess: Sequence[str] = (),
) -> Rendering:
    """Measure the contrast of a volume: its 0.5 and 99.5 percentiles per channel.

    Defects, fill values and the way in which the array is chunked do not move them; see
    `volseg.images.contrast`.

    Parameters
    ----------
    volume : Volume
        The image.
    level, time : int
        What is measured.
    channels : int, sequence of int, or None
        None: all three of a colour image, else the first.
    preprocess : sequence of str
        Names of `volseg.features.preprocessing.PREPROCESSING`.

    Returns
    -------
    Rendering
    """
    wanted = _wanted_channels(volume, channels)
    if volume.is_rgb and wanted == (0, 1, 2):
        return make_rendering(wanted, [0] * 3, [255] * 3, is_rgb=True, preprocess=preprocess)
    limits = [measure_contrast(volume, level, time, channel) for channel in wanted]
    low, high = zip(*limits, strict=True)
    return make_rendering(wanted, low, high, preprocess=preprocess)


def rendering_of(
    array: NDArray[Any], *, is_rgb: bool = False, preprocess: Sequence[str] = ()
) -> Rendering:
    """The rendering of an array in memory, (z, y, x) or (c, z, y, x); for images that lie on no
    store.
    """
    stack = array[None] if array.ndim == 3 else array
    channels = tuple(range(len(stack)))
    if is_rgb:
        return make_rendering(
            channels, [0] * len(stack), [255] * len(stack), is_rgb=True, preprocess=preprocess
        )

    limits = [contrast_limits(lambda part=part: [part], part.dtype) for part in stack]  # type: ignore[misc]
    low, high = zip(*limits, strict=True)
    return make_rendering(channels, low, high, preprocess=preprocess)


def render_tile(
    rendering: Rendering, block: NDArray[Any], region: Region, tile: Tile,
    slice_shape: tuple[int, int], img_size: int,
) -> NDArray[np.uint8]:  # fmt: skip
    """One tile of some slices as the model's input.

    Parameters
    ----------
    rendering : Rendering
        How to show the voxels.
    block : ndarray (c, z, y, x)
        Voxels of `region`.
    region : ((z0, z1), (y0, y1), (x0, x1))
        As `tile_region` gives it: the tile with its halo.
    tile : Tile
        The tile.
    slice_shape : (int, int)
        Height and width of the slice in voxels.
    img_size : int
        Side of the model's input in pixels.

    Returns
    -------
    ndarray (z, 3, img_size, img_size) uint8
        What lies beyond a narrow slice is 0.
    """
    origin = (region[1][0], region[2][0])
    pixels = rendering.render(block, origin=origin, slice_shape=slice_shape)
    top, left = tile.y0 - origin[0], tile.x0 - origin[1]
    pixels = pixels[:, :, top : top + tile.height, left : left + tile.width]
    scale = img_size / tile.size
    out = np.zeros((len(pixels), 3, img_size, img_size), np.uint8)
    height = min(img_size, max(1, round(tile.height * scale)))
    width = min(img_size, max(1, round(tile.width * scale)))
    out[:, :, :height, :width] = _resized(pixels, height, width)
    return out


def tile_region(
    tile: Tile, z_range: tuple[int, int], halo: int, shape_yx: tuple[int, int]
) -> Region:
    """The voxels to be read for a tile of some slices: with a halo, cut at the slice's edges."""
    y0, x0, y1, x1 = tile.box
    return (
        z_range,
        (max(0, y0 - halo), min(shape_yx[0], y1 + halo)),
        (max(0, x0 - halo), min(shape_yx[1], x1 + halo)),
    )


def _wanted_channels(volume: Volume, channels: Sequence[int] | int | None) -> tuple[int, ...]:
    if channels is None:
        return (0, 1, 2) if volume.is_rgb else (0,)
    wanted = (channels,) if isinstance(channels, int) else tuple(int(c) for c in channels)
    for channel in wanted:
        if not 0 <= channel < volume.n_channels:
            raise InputError(
                f"channel {channel} is out of range; the image has {volume.n_channels}, from 0"
            )
    return wanted


def _to_uint8(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(values * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _resized(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bilinear, with antialiasing where it shrinks; (n, 3, y, x)."""
    if pixels.shape[2:] == (height, width):
        return pixels
    import torch

    values = torch.from_numpy(np.ascontiguousarray(pixels)).float()
    resized = torch.nn.functional.interpolate(
        values, size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return np.asarray(resized.round_().clamp_(0, 255).to(torch.uint8).numpy())
