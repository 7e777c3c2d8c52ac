"""PNG pictures: label slices as 16-bit ids or in colour, overlays, projections, contact sheets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, StorageError, UnsupportedFormatError
from volseg.exporting.selection import Selection
from volseg.progress import Progress
from volseg.volume.objects import color_of

STYLES = ("ids", "palette", "overlay")
VIEWS = ("slices", "orthogonal", "projection", "contact")
_SHEET_WIDTH = 2048


def write_pictures(
    selection: Selection,
    folder: Path,
    provenance: dict[str, Any],
    progress: Progress,
    *,
    style: str = "ids",
    view: str = "slices",
    opacity: float = 0.4,
    channel: int | None = None,
) -> None:
    """Write PNG files into a folder.

    Parameters
    ----------
    style : {"ids", "palette", "overlay"}
        16-bit grey values that are ids; colours per id (up to 255 as a palette whose index is the
        id, else RGB); or the image with coloured objects over it.
    view : {"slices", "orthogonal", "projection", "contact"}
        One file per slice (`z00000.png`); the three central planes; the first object met and the
        greatest brightness along z; all slices small on one sheet.
    opacity : float
        Of the objects in an overlay, 0 to 1.
    channel : int, optional
        Of the image in an overlay; default: the labels' own, all three of a colour image.

    Raises
    ------
    UnsupportedFormatError
        If style "ids" meets an id beyond 65535.
    """
    if style not in STYLES or view not in VIEWS:
        raise InputError(
            f"style {style!r}, view {view!r}: expected {', '.join(STYLES)} and {', '.join(VIEWS)}"
        )
    painter = _Painter(selection, style, opacity, channel)
    about = json.dumps(provenance, ensure_ascii=True)
    makers = {
        "slices": _slices,
        "orthogonal": _orthogonal,
        "projection": _projection,
        "contact": _contact,
    }
    for name, ids, image in makers[view](selection, painter, progress):
        _save(painter.paint(ids, image), folder / name, about)


Made = Iterator[tuple[str, NDArray[Any], NDArray[np.float32] | None]]


def _slices(selection: Selection, painter: _Painter, progress: Progress) -> Made:
    blocks = list(selection.blocks(slabs=True))
    for done, region in enumerate(blocks, 1):
        ids, image = selection.read(region), painter.image(region)
        for at in range(ids.shape[0]):
            z = region[0][0] + selection.origin[0] + at
            yield f"z{z:05d}.png", ids[at], None if image is None else image[at]
        progress("export", done, len(blocks))


def _orthogonal(selection: Selection, painter: _Painter, progress: Progress) -> Made:
    for axis, name in enumerate("zyx"):
        middle = selection.shape[axis] // 2
        region: Any = [(0, n) for n in selection.shape]
        region[axis] = (middle, middle + 1)
        ids, image = selection.read(tuple(region)), painter.image(tuple(region))
        at = middle + selection.origin[axis]
        flat = None if image is None else image.reshape(*_without(image.shape[:3], axis), -1)
        yield f"{name}{at:05d}.png", ids.reshape(_without(ids.shape, axis)), flat
        progress("export", axis + 1, 3)


def _projection(selection: Selection, painter: _Painter, progress: Progress) -> Made:
    shape = selection.shape[1:]
    ids = np.zeros(shape, selection.labels.dtype)
    image: NDArray[np.float32] | None = None
    blocks = list(selection.blocks(slabs=True))
    for done, region in enumerate(blocks, 1):
        for plane in selection.read(region):
            np.copyto(ids, plane, where=(ids == 0))
        part = painter.image(region)
        if part is not None:
            top = part.max(axis=0)
            image = top if image is None else np.maximum(image, top)
        progress("export", done, len(blocks))
    yield "projection_z.png", ids, image


def _contact(selection: Selection, painter: _Painter, progress: Progress) -> Made:
    depth, height, width = selection.shape
    columns = max(1, math.ceil(math.sqrt(depth * height / max(1, width))))
    step = max(1, math.ceil(columns * width / _SHEET_WIDTH))
    small = (math.ceil(height / step), math.ceil(width / step))
    rows = math.ceil(depth / columns)
    ids = np.zeros((rows * small[0], columns * small[1]), selection.labels.dtype)
    image: NDArray[np.float32] | None = None
    blocks = list(selection.blocks(slabs=True))
    for done, region in enumerate(blocks, 1):
        found, part = selection.read(region), painter.image(region)
        for at in range(found.shape[0]):
            row, column = divmod(region[0][0] + at, columns)
            place = (
                slice(row * small[0], (row + 1) * small[0]),
                slice(column * small[1], (column + 1) * small[1]),
            )
            ids[place] = found[at, ::step, ::step]
            if part is not None:
                if image is None:
                    image = np.zeros((*ids.shape, part.shape[-1]), np.float32)
                image[place] = part[at, ::step, ::step]
        progress("export", done, len(blocks))
    yield "contact.png", ids, image


class _Painter:
    """Turns ids and brightness into pixels."""

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

    def image(self, region: Any) -> NDArray[np.float32] | None:
        """Brightness (z, y, x, c) from 0 to 1, for overlays."""
        if self._style != "overlay":
            return None
        parts = [self._selection.read_image(region, c) for c in self._channels]
        low, high = self._window
        stacked = np.stack(parts, axis=-1).astype(np.float32)
        return np.clip((stacked - low) / max(high - low, 1e-12), 0, 1)

    def paint(self, ids: NDArray[Any], image: NDArray[np.float32] | None) -> NDArray[Any]:
        """Pixels of a slice: (y, x) uint16, (y, x) uint8 for a palette, or (y, x, 3) uint8."""
        largest = int(ids.max(initial=0))
        if self._style == "ids":
            if largest > 65535:
                raise UnsupportedFormatError(
                    f"id {largest} does not fit a 16-bit PNG; use style 'palette', or TIFF"
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
        region: Any = tuple((0, n) for n in coarse.shape)
        if math.prod(coarse.shape) > 2**27:
            z = coarse.shape[0] // 2
            region = ((z, z + 1), *region[1:])
        values = volume.read(
            region, level=coarse.index, time=selection.time, channel=self._channels[0]
        )
        low, high = np.percentile(values, (0.5, 99.8))
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


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(n for at, n in enumerate(shape) if at != axis)


def _save(pixels: NDArray[Any], path: Path, about: str) -> None:
    """Write a PNG with its provenance as text, and read it back."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    indexed = pixels.ndim == 2 and pixels.dtype == np.uint8
    picture = _with_palette(pixels) if indexed else Image.fromarray(pixels)
    text = PngInfo()
    text.add_itxt("volseg", about)
    picture.save(path, pnginfo=text, compress_level=3)
    with Image.open(path) as found:
        if not np.array_equal(np.asarray(found), pixels):
            raise StorageError(f"{path}: reads back differently than it was written; try again")


def _with_palette(pixels: NDArray[np.uint8]) -> Any:
    from PIL import Image

    picture = Image.frombytes("P", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    palette = [0, 0, 0] + [part for i in range(1, 256) for part in color_of(i)[:3]]
    picture.putpalette(palette)
    return picture
