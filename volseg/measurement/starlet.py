"""Details of a slice by size: the starlet transform in whole numbers, which any cut into blocks gives alike.

Differences between ever smoother copies of a slice, smoothed by a cubic spline with holes (Starck and Murtagh 1994; for
spots in cells Olivo-Marin 2002).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_KERNEL = (1, 4, 6, 4, 1)


def reach(scales: int) -> int:
    """Return how far, in voxels, a value depends on its surroundings."""
    return sum(2 * 2**k for k in range(scales))


def details(steps: NDArray[np.int32], scales: int) -> Iterator[NDArray[np.int32]]:
    """Yield the details of a block of slices, finest first.

    Parameters
    ----------
    steps : ndarray (z, y, x) of int32
        From 0 to 2**16 - 1; `reach(scales)` voxels wider than what is asked for on each side, in the slice.
    scales
        How many bands.

    Yields
    ------
    ndarray of int32
        Shape of the part without the margin; sums of all bands and the smoothest copy are the slice itself.
    """
    margin = reach(scales)
    smooth, left = steps, margin
    for k in range(scales):
        hole = 2**k
        smoother = _smoothed(_smoothed(smooth, hole, 1), hole, 2)
        left -= 2 * hole
        inner = smooth[
            :, 2 * hole : smooth.shape[1] - 2 * hole, 2 * hole : smooth.shape[2] - 2 * hole
        ]
        band = inner - smoother
        yield band[:, left : band.shape[1] - left, left : band.shape[2] - left]
        smooth = smoother


def _smoothed(data: NDArray[np.int32], hole: int, axis: int) -> NDArray[np.int32]:
    """Smooth along an axis, rounded; the result is shorter by 4 * `hole`."""
    length = data.shape[axis] - 4 * hole

    def part(i: int) -> NDArray[np.int32]:
        where = [slice(None)] * 3
        where[axis] = slice(i * hole, i * hole + length)
        return data[tuple(where)]

    total = part(0) + part(4) + 4 * (part(1) + part(3)) + 6 * part(2)
    return (total + 8) >> 4
