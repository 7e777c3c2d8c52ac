"""Runs: stretches of one id along x. Labels are piecewise constant, so sums over runs cost a tenth
of sums over voxels, and whole moments have closed forms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Runs:
    """The runs of a block, background left out.

    Attributes
    ----------
    ids : ndarray (n,)
    z, y, x : ndarray of int64 (n,)
        First voxel of each run, counted from the volume's corner.
    length : ndarray of int64 (n,)
    start : ndarray of int64 (n,)
        Its place in the flattened block.
    """

    ids: NDArray[np.generic]
    z: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    length: NDArray[np.int64]
    start: NDArray[np.int64]


def runs_of(block: NDArray[np.generic], origin: tuple[int, int, int] = (0, 0, 0)) -> Runs:
    """Find the runs of a block.

    Parameters
    ----------
    block : ndarray, shape (z, y, x)
        Ids, 0 being background.
    origin : (z, y, x)
        Where the block begins.
    """
    _, height, width = block.shape
    flat = np.ascontiguousarray(block).reshape(-1)
    if flat.size == 0:
        empty = np.empty(0, np.int64)
        return Runs(flat, empty, empty, empty, empty, empty)
    change = np.empty(flat.size, bool)
    change[0] = True
    np.not_equal(flat[1:], flat[:-1], out=change[1:])
    change[::width] = True
    starts = np.flatnonzero(change)
    lengths = np.diff(starts, append=flat.size)
    ids = flat[starts]
    kept = ids != 0
    starts, lengths, ids = starts[kept], lengths[kept], ids[kept]
    rows, x = np.divmod(starts, width)
    z, y = np.divmod(rows, height)
    return Runs(ids, z + origin[0], y + origin[1], x + origin[2], lengths, starts)
