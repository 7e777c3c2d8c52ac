"""What ``nano`` is validated on: slices with objects that never trained, cut into tiles as volseg
shows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray
from scipy import ndimage

from volseg.training import synthetic
from volseg.training.data import (
    Labels,
    Pixels,
    picture_names,
    read_picture,
    read_volume,
    slab,
    stretch,
)
from volseg.training.prompts import Mask, bounds

TILE = 256


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


def kinds(root: Path) -> dict[str, Iterator[CaseTile]]:
    """Return the tiles of each kind of image, made as they are asked for.

    Parameters
    ----------
    root : Path
        The folder of real data.
    """
    return {
        "nuclei_dsb2018": _pictures(root, rendered=True),
        "nuclei_dsb2018, as stored": _pictures(root, rendered=False),
        "nuclei_ovule_1136": _volume(root, "nuclei_ovule_1136", 4),
        "nuclei_stardist3d": _volume(root, "nuclei_stardist3d", 1),
        "fibsem_medulla": _volume(root, "fibsem_medulla", 4, smallest=100, most=25),
        "mr_cord_t1": _volume(root, "mr_cord_t1", 2),
        "synthetic nuclei": _synthetic(),
    }


def conditions(root: Path) -> dict[str, Iterator[CaseTile]]:
    """Return tiles of every fourth picture of ``nuclei_dsb2018``, as they are and changed in one
    way each.

    Parameters
    ----------
    root : Path
        The folder of real data.
    """
    changes: dict[str, Callable[[NDArray[np.float32]], NDArray[Any]]] = {
        "unchanged": lambda image: image,
        "inverted": lambda image: 255 - image,
        "blurred, sigma 1.5 px": lambda image: ndimage.gaussian_filter(image, (1.5, 1.5, 0)),
        "noise, sigma 10 %": lambda image: image + default_rng(5).normal(0, 25.5, image.shape),
        "a third as bright": lambda image: image / 3,
        "one colour": lambda image: image * np.array([0.15, 0.9, 0.3], np.float32),
    }
    found = {name: _changed(_pictures(root, rendered=True, every=4), changes[name])
             for name in changes}  # fmt: skip
    return found | {"filling the tile": _filling(root)}


def _changed(
    shown: Iterable[CaseTile], change: Callable[[NDArray[np.float32]], NDArray[Any]]
) -> Iterator[CaseTile]:
    for tile in shown:
        image = np.clip(np.rint(change(tile.image.astype(np.float32))), 0, 255).astype(np.uint8)
        yield CaseTile(image, tile.cases, tile.background)


def _filling(root: Path) -> Iterator[CaseTile]:
    """Show the largest nucleus of each fourth picture so closely that it spans three quarters of a
    tile.
    """
    for tile in _pictures(root, rendered=True, every=4):
        mask = max((case.mask for case in tile.cases), key=np.count_nonzero)
        y0, x0, y1, x1 = bounds(mask)
        side = math.ceil(max(y1 - y0, x1 - x0) / 0.75)
        top = min(max((y0 + y1 - side) // 2, 0), max(mask.shape[0] - side, 0))
        left = min(max((x0 + x1 - side) // 2, 0), max(mask.shape[1] - side, 0))
        window = (slice(top, top + side), slice(left, left + side))
        yield CaseTile(
            np.ascontiguousarray(tile.image[window]), [_case(mask[window])], np.zeros((0, 2), "f4")
        )


def _pictures(root: Path, *, rendered: bool, every: int = 1) -> Iterator[CaseTile]:
    for name in picture_names(root, validation=True)[::every]:
        pixels, labels = read_picture(root, name)
        if rendered and pixels.ndim == 2:
            low, high = np.percentile(pixels, (0.5, 99.5))
            pixels = stretch(pixels, float(low), float(high))
        yield from tiles(pixels, labels, smallest=30, most=12)


def _volume(
    root: Path, name: str, every: int, *, smallest: int = 30, most: int = 20
) -> Iterator[CaseTile]:
    pixels, labels = read_volume(root, name)
    part = slab(name, len(pixels), validation=True)
    for z in range(part.start, part.stop, every):
        yield from tiles(pixels[z], labels[z], smallest=smallest, most=most)


def _synthetic() -> Iterator[CaseTile]:
    for seed in range(6):
        image, labels = synthetic.nuclei(
            default_rng([77, seed]), (12, 256, 256), spacing=(3.0, 1.0, 1.0)
        )
        pixels = (image * 255).astype(np.uint8)
        for z in (3, 6, 9):
            yield from tiles(pixels[z], labels[z], smallest=60, most=15)


def tiles(pixels: Pixels, labels: Labels, *, smallest: int, most: int) -> Iterator[CaseTile]:
    """Cut a slice into tiles of 256 that overlap by half, each object in the tile whose middle is
    nearest.

    A slice smaller than a tile is one tile, which ``SamPredictor`` enlarges. An object that its
    tile would cut is shown on the whole slice.

    Parameters
    ----------
    pixels, labels : ndarray
        uint8 (y, x) or (y, x, 3), and int32 (y, x).
    smallest : int
        Components with fewer pixels are left out.
    most : int
        At most this many objects of a tile, evenly chosen.
    """
    image = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)
    corners = [_corners(n) for n in labels.shape]
    found: dict[tuple[int, int] | None, list[Mask]] = {}
    for mask in _components(labels, smallest):
        y0, x0, y1, x1 = bounds(mask)
        top = min(corners[0], key=lambda c: abs(c + TILE / 2 - (y0 + y1) / 2))
        left = min(corners[1], key=lambda c: abs(c + TILE / 2 - (x0 + x1) / 2))
        fits = y0 >= top and x0 >= left and y1 <= top + TILE and x1 <= left + TILE
        found.setdefault((top, left) if fits else None, []).append(mask)
    for corner, masks in found.items():
        window = (slice(None), slice(None))
        if corner is not None:
            window = (slice(corner[0], corner[0] + TILE), slice(corner[1], corner[1] + TILE))
        kept = masks[:: max(1, -(-len(masks) // most))]
        yield CaseTile(
            np.ascontiguousarray(image[window]),
            [_case(mask[window]) for mask in kept],
            _background(labels[window]),
        )


def _corners(size: int) -> list[int]:
    if size <= TILE:
        return [0]
    return sorted({*range(0, size - TILE, TILE // 2), size - TILE})


def _components(labels: Labels, smallest: int) -> Iterator[Mask]:
    for identity in np.unique(labels[labels > 0]):
        parts, count = ndimage.label(labels == identity)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        for part in range(1, count + 1):
            if sizes[part] >= smallest:
                yield parts == part


def _case(mask: Mask) -> Case:
    y0, x0, y1, x1 = bounds(mask)
    depth = ndimage.distance_transform_edt(np.pad(mask[y0:y1, x0:x1], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return Case(mask, (float(x0 + x), float(y0 + y)), (float(x0), float(y0), float(x1), float(y1)))


def _background(labels: Labels) -> NDArray[np.float32]:
    """Choose up to three places at least 6 pixels from every object."""
    depth = ndimage.distance_transform_edt(np.pad(labels == 0, 1))[1:-1, 1:-1]
    where = np.argwhere(depth >= 6)
    chosen = where[default_rng(labels.size).integers(len(where), size=3)] if len(where) else where
    return chosen[:, ::-1].astype(np.float32)


def otsu_component(image: Pixels, point: tuple[float, float]) -> Mask:
    """Return the connected component under a point on its side of Otsu's threshold: the baseline
    (y, x).
    """
    from skimage.filters import threshold_otsu

    grey = image.astype(np.float32).mean(-1)
    x, y = round(point[0]), round(point[1])
    threshold = threshold_otsu(grey) if grey.min() < grey.max() else float(grey.min())
    side = (grey > threshold) == (grey[y, x] > threshold)
    parts, _ = ndimage.label(side)
    return np.asarray(parts == parts[y, x])
