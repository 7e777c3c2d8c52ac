"""PNG pictures: label slices in colour or as 16-bit ids, overlays, projections, contact sheets; slices of the image."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, StorageError
from volseg.exporting.painter import STYLES, Painter
from volseg.exporting.scale_bar import with_scale_bar
from volseg.exporting.selection import Selection
from volseg.images.objects import color_of
from volseg.progress import Progress

VIEWS = ("slices", "orthogonal", "projection", "contact")
_SHEET_WIDTH = 2048
_MOST_PIXELS = 8192
"""A side of a view whose voxels are no squares is at most this long, unless it has as many voxels."""


def write_pictures(
    selection: Selection,
    folder: Path,
    provenance: dict[str, Any],
    progress: Progress,
    *,
    style: str = "palette",
    view: str = "slices",
    opacity: float = 0.4,
    channel: int | None = None,
    scale_bar: bool | None = None,
) -> None:
    """Write PNG files into a folder, or the only one to `folder` itself where that is named as a picture.

    Parameters
    ----------
    style : {"palette", "ids", "overlay"}
        Colours per id (up to 255 as a palette whose index is the id, else RGB); 16-bit grey values that are ids, which
        look black; or the image with coloured objects over it.
    view : {"slices", "orthogonal", "projection", "contact"}
        One file per slice (`z00000.png`), a pixel per voxel; the three central planes; the first object met and the
        greatest brightness along z; all slices small on one sheet. But for slices, lengths in a picture are as in
        micrometres, whatever the shape of the voxels.
    opacity : float
        Of the objects in an overlay, 0 to 1.
    channel : int, optional
        Of the image in an overlay; default: the labels' own, all three of a colour image.
    scale_bar : bool, optional
        Draw one, which makes pictures RGB; default: in all views but slices, and not on ids.

    Raises
    ------
    UnsupportedFormatError
        If style "ids" meets an id beyond 65535.
    """
    if style not in STYLES or view not in VIEWS:
        raise InputError(
            f"style {style!r}, view {view!r}: expected {', '.join(STYLES)} and {', '.join(VIEWS)}"
        )
    if style == "ids" and scale_bar:
        raise InputError("a scale bar can't be drawn on ids; choose style palette or overlay")
    bar = scale_bar if scale_bar is not None else view != "slices" and style != "ids"
    painter = Painter(selection, style, opacity, channel)
    about = json.dumps(provenance, ensure_ascii=True)
    makers = {
        "slices": _slices,
        "orthogonal": _orthogonal,
        "projection": _projection,
        "contact": _contact,
    }
    for name, ids, image, pixel_um in makers[view](selection, painter, progress):
        size = pixel_um
        if view != "slices":
            ids, image, size = _isotropic(ids, image, pixel_um)
        pixels = painter.paint(ids, image)
        if bar:
            pixels = with_scale_bar(painter.in_colour(pixels, ids), size[1])
        path = folder / name if folder.is_dir() else folder
        _save(pixels, path, about, palette=pixels.dtype == np.uint8 and pixels.ndim == 2)


def is_one_picture(selection: Selection, *, view: str = "slices", **_: Any) -> bool:
    """Return whether `write_pictures` makes one picture only."""
    return view in ("projection", "contact") or (view == "slices" and selection.shape[0] == 1)


def write_images(selection: Selection, folder: Path, progress: Progress) -> dict[int, str]:
    """Write each slice of the image, as it is shown under the labels, as a PNG.

    Returns
    -------
    dict of z in the level to file name
    """
    painter = Painter(selection, "overlay", 0.0, None)
    names = {}
    blocks = list(selection.blocks(slabs=True))
    for done, region in enumerate(blocks, 1):
        image = painter.image(region)
        assert image is not None  # overlays have one
        for z, plane in enumerate(image, region[0][0] + selection.origin[0]):
            names[z] = f"z{z:05d}.png"
            _save(painter.image_pixels(plane), folder / names[z], "")
        progress("images", done, len(blocks))
    return names


Made = Iterator[tuple[str, NDArray[Any], NDArray[np.float32] | None, tuple[float, float]]]
"""File name, ids (y, x), brightness (y, x, c), and the sizes of a pixel (y, x) in micrometres."""


def _slices(selection: Selection, painter: Painter, progress: Progress) -> Made:
    blocks = list(selection.blocks(slabs=True))
    for done, region in enumerate(blocks, 1):
        ids, image = selection.read(region), painter.image(region)
        for at in range(ids.shape[0]):
            z = region[0][0] + selection.origin[0] + at
            yield (
                f"z{z:05d}.png",
                ids[at],
                None if image is None else image[at],
                selection.scale[1:],
            )
        progress("export", done, len(blocks))


def _orthogonal(selection: Selection, painter: Painter, progress: Progress) -> Made:
    for axis, name in enumerate("zyx"):
        middle = selection.shape[axis] // 2
        region: Any = [(0, n) for n in selection.shape]
        region[axis] = (middle, middle + 1)
        ids, image = selection.read(tuple(region)), painter.image(tuple(region))
        at = middle + selection.origin[axis]
        flat = None if image is None else image.reshape(*_without(image.shape[:3], axis), -1)
        sizes: Any = _without(selection.scale, axis)
        yield f"{name}{at:05d}.png", ids.reshape(_without(ids.shape, axis)), flat, sizes
        progress("export", axis + 1, 3)


def _projection(selection: Selection, painter: Painter, progress: Progress) -> Made:
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
    yield "projection_z.png", ids, image, selection.scale[1:]


def _contact(selection: Selection, painter: Painter, progress: Progress) -> Made:
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
    yield "contact.png", ids, image, (selection.scale[1] * step, selection.scale[2] * step)


def _isotropic(
    ids: NDArray[Any], image: NDArray[np.float32] | None, pixel_um: tuple[float, float]
) -> tuple[NDArray[Any], NDArray[np.float32] | None, tuple[float, float]]:
    """Repeat (or, where it would become too large, skip) rows and columns, so that pixels are squares."""
    lengths = [n * size for n, size in zip(ids.shape, pixel_um, strict=True)]
    size = max(min(pixel_um), max(lengths) / max(_MOST_PIXELS, *ids.shape))
    places = []
    for n, length in zip(ids.shape, lengths, strict=True):
        count = max(1, round(length / size))
        places.append(((np.arange(count) + 0.5) * n / count).astype(np.intp))
    where = np.ix_(*places)
    return ids[where], None if image is None else image[where], (size, size)


def _without(shape: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    return tuple(n for at, n in enumerate(shape) if at != axis)


def _save(pixels: NDArray[Any], path: Path, about: str, *, palette: bool = False) -> None:
    """Write a PNG, with a text about it if there is one, and read it back.

    Parameters
    ----------
    pixels : ndarray (y, x) or (y, x, 3)
    palette : bool
        The bytes (y, x) are ids that get their colours, not grey values.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    if about:
        text.add_itxt("volseg", about)
    picture = _with_palette(pixels) if palette else Image.fromarray(pixels)
    picture.save(path, format="PNG", pnginfo=text, compress_level=3)
    with Image.open(path) as found:
        if not np.array_equal(np.asarray(found), pixels):
            raise StorageError(f"{path}: reads back differently than it was written; try again")


def _with_palette(pixels: NDArray[np.uint8]) -> Any:
    from PIL import Image

    picture = Image.frombytes("P", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    palette = [0, 0, 0] + [part for i in range(1, 256) for part in color_of(i)[:3]]
    picture.putpalette(palette)
    return picture
