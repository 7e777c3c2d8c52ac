"""Regions of a volume that a next stroke would help in: a fixed lattice, scored from maps, block by block.

A region's score is the mean entropy of its voxels, so that it grows with neither the image nor the region.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.geometry import Grid, Region, Triple, region_origin, region_shape

if TYPE_CHECKING:
    from volseg.classify.voxels.maps import Maps
    from volseg.images.labels import Labels

SIDE = 48
"""Side of a region in voxels of level 0, along the finest axis; the others are as long in micrometres."""
BLOCK_BYTES = 32 << 20


@dataclass(frozen=True)
class Regions:
    """Every region of a time point, in the order of z, y, x.

    Parameters
    ----------
    grid
        The lattice, in voxels of level 0.
    entropy
        (n,) mean entropy, 0 to 1.
    shares
        (n, classes) mean probability of each class.
    annotated
        (n,) whether a voxel of it is labelled.
    """

    grid: Grid
    entropy: NDArray[np.float64]
    shares: NDArray[np.float64]
    annotated: NDArray[np.bool_]

    def region(self, number: int) -> Region:
        """Return the voxels of a region of level 0."""
        _, rows, columns = self.grid.counts
        return self.grid.region(
            (number // (rows * columns), number // columns % rows, number % columns)
        )


def lattice(shape: Triple, scale_um: tuple[float, float, float]) -> Grid:
    """Return the regions of a volume."""
    finest = min(s for n, s in zip(shape, scale_um, strict=True) if n > 1 or s == min(scale_um))
    z, y, x = (
        max(1, min(n, round(SIDE * finest / s))) for n, s in zip(shape, scale_um, strict=True)
    )
    return Grid(shape, (z, y, x))


def score(maps: Maps, labels: Labels, time: int = 0) -> Regions:
    """Score every region of a time point.

    Parameters
    ----------
    maps
        Probabilities and entropy.
    labels
        The scribbles; their strokes make regions annotated.
    """
    grid = lattice(labels.shape, labels.scale)
    n, classes = int(np.prod(grid.counts)), len(maps.classes)
    level = _level(maps, grid)
    factors = _factors(maps, level)
    sums, counts = np.zeros((n, classes + 1)), np.zeros(n)
    for region in _blocks(maps, level):
        data = maps.read(region, level=level, time=time)
        at = _numbers(region, factors, grid)
        counts += np.bincount(at, minlength=n)
        for i, one in enumerate(data):
            sums[:, i] += np.bincount(at, one.ravel(), n)
    mean = sums / (255 * np.maximum(counts, 1)[:, None])
    return Regions(grid, mean[:, -1], mean[:, :-1], _annotated(labels, grid, time))


def _level(maps: Maps, grid: Grid) -> int:
    """Return the coarsest level in which every region still has a few voxels along each axis that it is long."""
    found = 0
    for level in range(1, len(maps.volume.levels)):
        factors = _factors(maps, level)
        if all(f == 1 or c >= 4 * f for f, c in zip(factors, grid.chunk, strict=True)):
            found = level
    return found


def _factors(maps: Maps, level: int) -> Triple:
    fine, coarse = maps.volume.levels[0], maps.volume.levels[level]
    z, y, x = (max(1, round(b / a)) for a, b in zip(fine.scale, coarse.scale, strict=True))
    return (z, y, x)


def _blocks(maps: Maps, level: int) -> Iterator[Region]:
    """Yield regions of whole storage objects that are read at once."""
    grid = maps.volume.levels[level].grid
    object_bytes = int(np.prod(grid.chunk)) * maps.n_maps
    along = max(1, BLOCK_BYTES // max(1, object_bytes))
    yield from grid.blocks((1, 1, along))


def _numbers(region: Region, factors: Triple, grid: Grid) -> NDArray[np.int64]:
    """Return the region that each voxel of a part of a level belongs to: the one of its first voxel of level 0."""
    axes = [
        np.minimum(np.arange(low, high) * f, n - 1) // c
        for (low, high), f, c, n in zip(region, factors, grid.chunk, grid.shape, strict=True)
    ]
    _, rows, columns = grid.counts
    z, y, x = np.ix_(*axes)
    return np.asarray(((z * rows + y) * columns + x).ravel())


def _annotated(labels: Labels, grid: Grid, time: int) -> NDArray[np.bool_]:
    """Tell which regions hold a labelled voxel."""
    found = np.zeros(grid.counts, bool)
    for block in labels.grid.blocks():
        at = np.argwhere(labels.read(block, time=time) > 0) + region_origin(block)
        found[tuple((at // grid.chunk).T)] = True
    return found.ravel()


def centre(region: Region) -> Triple:
    """Return the middle voxel of a region."""
    z, y, x = (low + (n - 1) // 2 for (low, _), n in zip(region, region_shape(region), strict=True))
    return (z, y, x)
