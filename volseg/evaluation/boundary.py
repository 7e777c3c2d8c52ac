"""Distances between the surfaces of two objects: Hausdorff 95 and average symmetric surface
distance, in micrometres.

Reads only the objects' bounding box, block by block; memory grows with the surfaces, not with the
volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.geometry import Region, slices, whole_region

ReadMask = Callable[[Region], NDArray[np.bool_]]


@dataclass(frozen=True)
class SurfaceDistance:
    """Distances between two surfaces in micrometres.

    Attributes
    ----------
    hausdorff95_um
        The larger of the two directed 95th percentiles (as Metrics Reloaded, Maier-Hein et al.
        2024, defines it).
    assd_um
        Mean over the surface voxels of both (Heimann et al. 2009).
    """

    hausdorff95_um: float
    assd_um: float


def surface_distance(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing_um: tuple[float, float, float]
) -> SurfaceDistance:
    """Distances between the surfaces of two masks in memory.

    Parameters
    ----------
    first, second : ndarray of bool, shape (z, y, x)
        Both with at least one voxel set. A surface voxel has a face towards a voxel that is not
        set; outside the array nothing is set.
    spacing_um : (z, y, x)

    Raises
    ------
    InputError
        If one mask is empty: there is no distance to nothing.
    """
    whole = whole_region(first.shape)
    return distance_between(
        surface_points(lambda region: first[slices(region)], whole, first.shape),
        surface_points(lambda region: second[slices(region)], whole, second.shape),
        spacing_um,
    )


def surface_points(
    read: ReadMask, box: Region, shape: tuple[int, ...], block_voxels: int = 2**22
) -> NDArray[np.int32]:
    """Surface voxels of one object.

    Parameters
    ----------
    read : callable
        Reads a region of the object's mask.
    box : Region
        Holds the whole object.
    shape : (z, y, x)
        Of the volume; beyond it nothing is set.

    Returns
    -------
    ndarray of int32, shape (n, 3)
        z, y, x in voxels.
    """
    found = [np.empty((0, 3), np.int32)]
    for block in _slabs(box, block_voxels):
        z, y, x = (
            (max(0, low - 1), min(size, high + 1))
            for (low, high), size in zip(block, shape, strict=True)
        )
        wide = (z, y, x)
        pad = [
            (1 - (low - lo), 1 - (hi - high))
            for (low, high), (lo, hi) in zip(block, wide, strict=True)
        ]
        mask = np.pad(read(wide), pad)
        centre = mask[1:-1, 1:-1, 1:-1]
        inner = centre.copy()
        for axis in range(3):
            for side in (slice(None, -2), slice(2, None)):
                at = [slice(1, -1)] * 3
                at[axis] = side
                inner &= mask[tuple(at)]
        points = np.argwhere(centre & ~inner).astype(np.int32)
        found.append(points + np.array([low for low, _ in block], np.int32))
    return np.concatenate(found)


def distance_between(
    first: NDArray[np.int32], second: NDArray[np.int32], spacing_um: tuple[float, float, float]
) -> SurfaceDistance:
    """Distances between two sets of surface voxels (n, 3), z, y, x in voxels."""
    if len(first) == 0 or len(second) == 0:
        raise InputError("a surface distance needs two objects with at least one voxel each")
    from scipy.spatial import cKDTree

    left, right = first * np.array(spacing_um), second * np.array(spacing_um)
    there = cKDTree(right).query(left)[0]
    back = cKDTree(left).query(right)[0]
    return SurfaceDistance(
        float(max(np.percentile(there, 95), np.percentile(back, 95))),
        float((there.sum() + back.sum()) / (there.size + back.size)),
    )


def _slabs(box: Region, voxels: int) -> Iterator[Region]:
    (z0, z1), (y0, y1), (x0, x1) = box
    rows = max(1, min(y1 - y0, voxels // max(1, x1 - x0)))
    depth = max(1, voxels // max(1, rows * (x1 - x0)))
    for z in range(z0, z1, depth):
        for y in range(y0, y1, rows):
            yield (z, min(z + depth, z1)), (y, min(y + rows, y1)), (x0, x1)
