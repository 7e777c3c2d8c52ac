"""What ``nano`` is validated on: slices with objects that never trained, cut into tiles as volseg
shows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray
from scipy import ndimage

from volseg.geometry import evenly
from volseg.training import synthetic
from volseg.training.pictures import Pixels, entries, picture_files, read_picture, rendered
from volseg.training.prompts import Mask, bounds
from volseg.training.sets import SETS, DataSet, data_set, family
from volseg.training.split import HALVES, Half, Split, read_split

TILE = 256
FOLD_TILES = 24
FOLD_OBJECTS = 12
CONDITIONS_EVERY = 8  # pictures: seven changes of each take as long as all kinds do


@dataclass(frozen=True)
class Case:
    """One object on one tile.

    Attributes
    ----------
    mask : ndarray of bool
        (y, x) the object within the tile.
    point : tuple of float
        x, y in pixels of the tile: the place farthest from the object's edge.
    box : tuple of float
        x0, y0, x1, y1 in pixels of the tile, half-open.
    """

    mask: Mask
    point: tuple[float, float]
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class CaseTile:
    """A tile (y, x, 3) uint8 with its objects and places that are background for certain (n, 2) x,
    y.
    """

    image: Pixels
    cases: list[Case]
    background: NDArray[np.float32]


def kinds(root: Path, fold: str | None = None) -> dict[str, Iterator[CaseTile]]:
    """Return the tiles of each kind of image, made as they are asked for.

    Without a fold these are the sets that validate by ``split.json``, one kind each. With a fold,
    the sets of that family, **both halves of the split**: in the training that left the family out
    neither half trained, several of the sets have under ten objects that validate, and what chooses
    a recipe should not lean on the few that the result is measured on. The pictures that lie
    between the halves are used by neither.

    Parameters
    ----------
    root : Path
        The folder of real data, with ``split.json``.
    fold : str, optional
        A family of kinds, see ``sets.FAMILIES``.
    """
    split = read_split(root)
    if fold is None:
        chosen = [one for one in SETS if _has(root, split, one, "validate")]
        return {one.name: _set_tiles(root, split, one, ("validate",)) for one in chosen}
    left_out = family(fold)
    return {
        one.name: _set_tiles(root, split, one, HALVES, capped=True)
        for one in SETS
        if one.family == left_out
    }


def _has(root: Path, split: Split, declared: DataSet, half: Half) -> bool:
    """Tell whether something of a set belongs to a half, by names alone; a volume's depth is taken
    to be large.
    """
    names = picture_files(root / declared.name)
    return any(split.slices(declared.name, name, 1 << 20, half) for name in names)


def conditions(root: Path) -> dict[str, Iterator[CaseTile]]:
    """Return tiles of every eighth picture of ``nuclei_dsb2018``, as they are and changed in one
    way each, and tiles of procedural nuclei.

    Parameters
    ----------
    root : Path
        The folder of real data.
    """
    changes: dict[str, Callable[[NDArray[np.float32]], NDArray[np.generic]]] = {
        "unchanged": lambda image: image,
        "inverted": lambda image: 255 - image,
        "blurred, sigma 1.5 px": lambda image: ndimage.gaussian_filter(image, (1.5, 1.5, 0)),
        "noise, sigma 10 %": lambda image: image + default_rng(5).normal(0, 25.5, image.shape),
        "a third as bright": lambda image: image / 3,
        "one colour": lambda image: image * np.array([0.15, 0.9, 0.3], np.float32),
    }
    found = {name: _changed(_nuclei(root), change) for name, change in changes.items()}
    return found | {
        "as stored, not stretched": _nuclei(root, stretched=False),
        "filling the tile": _filling(root),
        "procedural nuclei": _synthetic(),
    }


def _changed(
    shown: Iterable[CaseTile], change: Callable[[NDArray[np.float32]], NDArray[np.generic]]
) -> Iterator[CaseTile]:
    for tile in shown:
        image = np.clip(np.rint(change(tile.image.astype(np.float32))), 0, 255).astype(np.uint8)
        yield CaseTile(image, tile.cases, tile.background)


def _filling(root: Path) -> Iterator[CaseTile]:
    """Show the largest nucleus of each eighth picture so closely that it spans three quarters of a
    tile.
    """
    for tile in _nuclei(root):
        mask = max((case.mask for case in tile.cases), key=np.count_nonzero)
        y0, x0, y1, x1 = bounds(mask)
        side = math.ceil(max(y1 - y0, x1 - x0) / 0.75)
        top = min(max((y0 + y1 - side) // 2, 0), max(mask.shape[0] - side, 0))
        left = min(max((x0 + x1 - side) // 2, 0), max(mask.shape[1] - side, 0))
        window = (slice(top, top + side), slice(left, left + side))
        yield CaseTile(
            np.ascontiguousarray(tile.image[window]), [_case(mask[window])], np.zeros((0, 2), "f4")
        )


def _nuclei(root: Path, *, stretched: bool = True) -> Iterator[CaseTile]:
    """Yield tiles of every eighth picture of nuclei that validates."""
    declared = data_set("nuclei_dsb2018")
    for entry in entries(root, declared, "validate")[::CONDITIONS_EVERY]:
        picture = read_picture(declared, entry)
        pixels = rendered(picture.pixels) if stretched else picture.pixels
        yield from tiles(pixels, picture.labels, smallest=30, most=12)


def _set_tiles(
    root: Path, split: Split, declared: DataSet, halves: Sequence[Half], *, capped: bool = False
) -> Iterator[CaseTile]:
    """Yield the tiles of a set: of every so manieth slice, evenly chosen where there are many."""
    shown = declared.shown
    limit = shown.tiles
    most = shown.most
    if capped:
        limit, most = min(limit or FOLD_TILES, FOLD_TILES), min(most, FOLD_OBJECTS)
    found = [entry for half in halves for entry in entries(root, declared, half, split)]
    planes = [
        (number, place)
        for number, entry in enumerate(found)
        for place in range(len(entry.slices[:: shown.every]))
    ]
    chosen = planes if limit is None else evenly(planes, limit)
    for number, entry in enumerate(found):
        places = [place for one, place in chosen if one == number]
        if not places:
            continue
        picture = read_picture(declared, entry)
        planes_of_it = list(picture.planes(shown.every))
        for place in places:
            pixels, labels = planes_of_it[place]
            cut = tiles(
                pixels if picture.is_volume else rendered(pixels),
                labels,
                smallest=shown.smallest,
                most=most,
                certain=declared.background,
            )
            yield from cut if limit is None else evenly(list(cut), max(1, limit // len(chosen)))


def _synthetic() -> Iterator[CaseTile]:
    for seed in range(6):
        image, labels = synthetic.nuclei(
            default_rng([77, seed]), (12, 256, 256), spacing=(3.0, 1.0, 1.0)
        )
        pixels = (image * 255).astype(np.uint8)
        for z in (3, 6, 9):
            yield from tiles(pixels[z], labels[z], smallest=60, most=15)


def tiles(
    pixels: Pixels,
    labels: NDArray[np.integer[Any]],
    *,
    smallest: int,
    most: int,
    certain: bool = True,
) -> Iterator[CaseTile]:
    """Cut a slice into tiles of 256 that overlap by half, each object in the tile whose middle is
    nearest.

    A slice smaller than a tile is one tile, which ``SamPredictor`` enlarges. An object that its
    tile would cut is shown on the whole slice.

    Parameters
    ----------
    pixels, labels : ndarray
        uint8 (y, x) or (y, x, 3), and integers (y, x).
    smallest : int
        Components with fewer pixels are left out.
    most : int
        At most this many objects of a tile, evenly chosen.
    certain : bool
        Whether what is unlabelled is background for certain.
    """
    image = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)
    corners = [_corners(n) for n in labels.shape]
    found: dict[tuple[int, int] | None, list[Component]] = {}
    for component in components(labels, smallest):
        y0, x0, y1, x1 = component.bounds
        top = min(corners[0], key=lambda c: abs(c + TILE / 2 - (y0 + y1) / 2))
        left = min(corners[1], key=lambda c: abs(c + TILE / 2 - (x0 + x1) / 2))
        fits = y0 >= top and x0 >= left and y1 <= top + TILE and x1 <= left + TILE
        found.setdefault((top, left) if fits else None, []).append(component)
    for corner, inside in found.items():
        top, left = corner or (0, 0)
        height, width = (TILE, TILE) if corner is not None else labels.shape
        shown = image[top : top + height, left : left + width]
        kept = inside[:: max(1, -(-len(inside) // most))]
        near = labels[top : top + height, left : left + width]
        yield CaseTile(
            np.ascontiguousarray(shown),
            [_case(one.within(top, left, shown.shape[:2])) for one in kept],
            _background(near) if certain else np.zeros((0, 2), np.float32),
        )


@dataclass(frozen=True)
class Component:
    """A connected part of an object: its mask (y, x) within its bounds y0, x0, y1, x1 of the
    slice.
    """

    mask: Mask
    bounds: tuple[int, int, int, int]

    def within(self, top: int, left: int, shape: Sequence[int]) -> Mask:
        """Return the mask on a window of this shape whose corner is at ``top``, ``left``."""
        y0, x0, y1, x1 = self.bounds
        mask = np.zeros(tuple(shape), bool)
        mask[y0 - top : y1 - top, x0 - left : x1 - left] = self.mask
        return mask


def _corners(size: int) -> list[int]:
    if size <= TILE:
        return [0]
    return sorted({*range(0, size - TILE, TILE // 2), size - TILE})


def components(labels: NDArray[np.integer[Any]], smallest: int) -> Iterator[Component]:
    """Yield the connected components (y, x) of every object, by its number."""
    for number, window in enumerate(ndimage.find_objects(labels.astype(np.int32)), start=1):
        if window is None:
            continue
        top, left = window[0].start, window[1].start
        parts, count = ndimage.label(labels[window] == number)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        for part, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
            if sizes[part] >= smallest:
                edges = (
                    top + rows.start, left + columns.start, top + rows.stop, left + columns.stop,
                )  # fmt: skip
                yield Component(parts[rows, columns] == part, edges)


def _case(mask: Mask) -> Case:
    y0, x0, y1, x1 = bounds(mask)
    depth = ndimage.distance_transform_edt(np.pad(mask[y0:y1, x0:x1], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return Case(mask, (float(x0 + x), float(y0 + y)), (float(x0), float(y0), float(x1), float(y1)))


def _background(labels: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Choose up to three places at least 6 pixels from every object."""
    depth = ndimage.distance_transform_edt(np.pad(labels == 0, 1))[1:-1, 1:-1]
    where = np.argwhere(depth >= 6)
    chosen = where[default_rng(labels.size).integers(len(where), size=3)] if len(where) else where
    return chosen[:, ::-1].astype(np.float32)


def otsu_sides(image: Pixels) -> NDArray[np.int32]:
    """Number the connected components (y, x) on both sides of Otsu's threshold of an image (y, x,
    3).
    """
    from skimage.filters import threshold_otsu

    grey = image.astype(np.float32).mean(-1)
    threshold = threshold_otsu(grey) if grey.min() < grey.max() else float(grey.min())
    bright, count = ndimage.label(grey > threshold)
    dark, _ = ndimage.label(grey <= threshold)
    return np.where(bright > 0, bright, dark + count).astype(np.int32)


def otsu_component(sides: NDArray[np.int32], point: tuple[float, float]) -> Mask:
    """Return the component under a point x, y out of `otsu_sides`: the baseline (y, x)."""
    return np.asarray(sides == sides[round(point[1]), round(point[0])])
