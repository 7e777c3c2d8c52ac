"""The fragments of one slice: what a watershed of its dense maps parts, each with its deepest place.

A slice is the cell in which a watershed is exact: its fragments depend on no other slice and on no block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volseg.models.dense import distance_of_depth
from volseg.predict.dense_objects import STEPS, WatershedSettings, watershed_objects

Bytes = NDArray[np.uint8]

FRAGMENT = np.dtype(
    [
        ("z", "<i4"), ("y", "<i4"), ("x", "<i4"), ("number", "<i4"), ("height", "u1"),
        ("radius", "<f4"), ("area", "<i8"), ("sure", "<f4"), ("box", "<i4", 4),
    ]
)  # fmt: skip
"""A fragment: its deepest voxel, its number in the slice from 1, depth × foreground there (0..255), distance from there
to the object's edge in voxels, voxels, mean foreground (0..1), box (y0, x0, y1, x1) half-open."""

SEPARATE = WatershedSettings()
"""Objects that lie apart: every fragment may be one."""
DENSE = WatershedSettings(prominence=0.04, seed=0.05, confidence=0.0, smallest=4)
"""Tissue without gaps: rather too many fragments, as joining them comes later."""


@dataclass(frozen=True)
class SliceMaps:
    """Dense maps of a slice, each (y, x) uint8: 0 for 0, 255 for 1."""

    foreground: Bytes
    boundary: Bytes
    depth: Bytes


def as_bytes(maps: NDArray[np.floating]) -> Bytes:
    """Round maps in 0..1 to bytes, so that last bits decide nothing; what is no number becomes 0."""
    known = np.nan_to_num(np.asarray(maps, np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(known.clip(0, 1) * np.float32(STEPS - 1)).astype(np.uint8)


def fragments_of(
    z: int, maps: SliceMaps, scale: float, settings: WatershedSettings
) -> tuple[NDArray[np.int32], NDArray[np.void]]:
    """Part a slice into fragments.

    Parameters
    ----------
    z
        Number of the slice.
    maps
        Its maps.
    scale
        Model pixels per voxel: depth is told in pixels.
    settings
        How.

    Returns
    -------
    labels
        (y, x) int32, fragments from 1 in the order of their first voxels.
    table
        (n,) of `FRAGMENT`, by number.
    """
    top = np.float32(STEPS - 1)
    foreground, boundary, depth = (
        m.astype(np.float32) / top for m in (maps.foreground, maps.boundary, maps.depth)
    )
    labels = watershed_objects(foreground, boundary, depth, settings)
    return labels, _table(z, labels, maps, scale)


def _table(z: int, labels: NDArray[np.int32], maps: SliceMaps, scale: float) -> NDArray[np.void]:
    from scipy.ndimage import find_objects

    count = int(labels.max())
    table = np.zeros(count, FRAGMENT)
    if not count:
        return table
    inside = np.flatnonzero(labels)
    numbers = labels.ravel()[inside]
    depth, foreground = maps.depth.ravel()[inside], maps.foreground.ravel()[inside]
    height = np.rint(depth.astype(np.float32) * foreground / (STEPS - 1)).astype(np.int64)
    # of equal heights the first voxel: a stable sort keeps their order
    order = np.lexsort((inside, -height, numbers))
    _, first = np.unique(numbers[order], return_index=True)
    peaks = order[first]
    table["z"], table["number"] = z, np.arange(1, count + 1)
    table["y"], table["x"] = np.divmod(inside[peaks], labels.shape[1])
    table["height"] = height[peaks]
    table["radius"] = distance_of_depth(depth[peaks].astype(np.float32) / (STEPS - 1)) / scale
    table["area"] = np.bincount(numbers, minlength=count + 1)[1:]
    sums = np.bincount(numbers, foreground.astype(np.int64), minlength=count + 1)[1:]
    table["sure"] = sums / table["area"] / (STEPS - 1)
    for i, (rows, columns) in enumerate(find_objects(labels)):
        table["box"][i] = rows.start, columns.start, rows.stop, columns.stop
    return table
