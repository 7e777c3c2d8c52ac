"""Ids and brightness as pixels: 16-bit ids, colours per id, or the image with coloured objects over it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, UnsupportedFormatError
from volseg.exporting.selection import Selection
from volseg.geometry import Region, plane_region, whole_region
from volseg.images.objects import color_of

STYLES = ("palette", "ids", "overlay")


class Painter:
    """Turns ids and brightness into pixels.

    Parameters
    ----------
    style : {"palette", "ids", "overlay"}
    opacity : float
        Of the objects in an overlay, 0 to 1.
    channel : int, optional
        Of the image; default: the labels' own, all three of a colour image.
    """

    def __init__(
        self, selection: Selection, style: str, opacity: float, channel: int | None
    ) -> None:
        self._selection, self._style, self._opacity = selection, style, opacity
        volume = selection.volume
        if channel is not None and not 0 <= channel < volume.n_channels:
            raise InputError(f"channel {channel}: the image has 0 to {volume.n_channels - 1}")
        own = selection.labels.channel
        several = [own] if isinstance(own, int) else list(own or [])
        if channel is not None:
            self._channels = [channel]
        elif volume.is_rgb:
            self._channels = [0, 1, 2]
        else:
            self._channels = several[:1] or [0]
        self._window = self._measured() if style == "overlay" else (0.0, 1.0)

    def image(self, region: Region) -> NDArray[np.float32] | None:
        """Brightness (z, y, x, c) from 0 to 1, for overlays."""
        if self._style != "overlay":
            return None
        parts = [self._selection.read_image(region, c) for c in self._channels]
        low, high = self._window
        stacked = np.nan_to_num(np.stack(parts, axis=-1).astype(np.float32), nan=low)
        return np.clip((stacked - low) / max(high - low, 1e-12), 0, 1)

    def image_pixels(self, image: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return brightness (…, c) as bytes (…) of grey, or (…, 3) of a colour image."""
        pixels = np.round(image * 255).astype(np.uint8)
        return pixels if pixels.shape[-1] == 3 else pixels[..., 0]

    def in_colour(self, pixels: NDArray[Any], ids: NDArray[Any]) -> NDArray[np.uint8]:
        """Return painted pixels as RGB (y, x, 3), also where they are a palette's indices."""
        return pixels if pixels.ndim == 3 else _colours(ids)

    def paint(self, ids: NDArray[Any], image: NDArray[np.float32] | None) -> NDArray[Any]:
        """Pixels of a slice: (y, x) uint16, (y, x) uint8 for a palette, or (y, x, 3) uint8."""
        largest = int(ids.max(initial=0))
        if self._style == "ids":
            if largest > 65535:
                raise UnsupportedFormatError(
                    f"id {largest} does not fit a 16-bit PNG, whose ids end at 65535; use style 'palette', or TIFF"
                )
            return ids.astype(np.uint16)
        if self._style == "palette" and self._palette():
            return ids.astype(np.uint8)
        colours = _colours(ids)
        if self._style == "palette" or image is None:
            return colours
        grey = np.broadcast_to(image, (*ids.shape, 3)) * 255
        mixed = np.where(
            (ids != 0)[..., None], grey * (1 - self._opacity) + colours * self._opacity, grey
        )
        mixed[_outline(ids)] = colours[_outline(ids)]
        return np.round(mixed).astype(np.uint8)

    def _palette(self) -> bool:
        """Whether all ids are known to fit a palette."""
        rows = self._selection.rows
        return bool(rows) and max(rows) <= 255

    def _measured(self) -> tuple[float, float]:
        """Brightness that becomes black and white: percentiles of the coarsest level."""
        volume, selection = self._selection.volume, self._selection
        if volume.is_rgb:
            return 0.0, 255.0
        coarse = volume.levels[-1]
        region = whole_region(coarse.grid.shape)
        if math.prod(coarse.grid.shape) > 2**27:
            z = coarse.grid.shape[0] // 2
            region = plane_region(z, coarse.grid.shape)
        values = volume.read(
            region, level=coarse.index, time=selection.time, channel=self._channels[0]
        )
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, (0.5, 99.8)) if finite.size else (0.0, 1.0)
        return float(low), float(high)


def _colours(ids: NDArray[Any]) -> NDArray[np.uint8]:
    import fastremap

    small, new_of = fastremap.renumber(np.ascontiguousarray(ids), preserve_zero=True)
    table = np.zeros((len(new_of) + 1, 3), np.uint8)
    for one, number in new_of.items():
        if one:
            table[int(number)] = color_of(int(one))[:3]
    painted: NDArray[np.uint8] = table[small]
    return painted


def _outline(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Voxels of objects next to another id."""
    edge = np.zeros(ids.shape, bool)
    edge[1:] |= ids[1:] != ids[:-1]
    edge[:-1] |= ids[1:] != ids[:-1]
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    return edge & (ids != 0)
