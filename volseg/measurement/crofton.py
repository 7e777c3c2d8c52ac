"""Surface areas by Crofton's formula: how often lines through the voxel grid enter or leave an
object.

Thirteen directions (four in 2D), weighted by the part of the sphere that each stands for, so that
anisotropic voxels are right. Method: Lehmann and Legland, Efficient N-dimensional surface
estimation using Crofton formula and run-length encoding, Insight Journal 2012.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

Offset = tuple[int, int, int]
_IGNORED = 1  # row after the strip: only its part in the plane before counts


def directions(flat: bool) -> list[Offset]:
    """The offsets to half of a voxel's neighbours: 13, or 4 in a single slice (`flat`)."""
    found = [d for d in product((0, 1), (-1, 0, 1), (-1, 0, 1)) if d > (0, 0, 0)]
    return [d for d in found if d[0] == 0] if flat else found


def factors(spacing: tuple[float, float, float], flat: bool) -> NDArray[np.float64]:
    """What one crossing along each direction adds to the surface (µm²), or perimeter (µm) if flat.

    Parameters
    ----------
    spacing : (z, y, x)
        Voxel size in micrometres.
    """
    steps = np.array(directions(flat), float) * np.array(spacing)
    lengths = np.linalg.norm(steps, axis=1)
    units = steps / lengths[:, None]
    if flat:
        area = spacing[1] * spacing[2]
        return np.pi / 2 * _circle_shares(units) * area / lengths
    voxel = float(np.prod(spacing))
    return 2 * _sphere_shares(units) * voxel / lengths


def _sphere_shares(units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the sphere that is nearest to each direction or its opposite."""
    from scipy.spatial import SphericalVoronoi

    areas = SphericalVoronoi(np.concatenate([units, -units])).calculate_areas()
    both = areas[: len(units)] + areas[len(units) :]
    return np.asarray(both / both.sum())


def _circle_shares(units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the circle that is nearest to each direction or its opposite."""
    angles = np.mod(np.arctan2(units[:, 1], units[:, 2]), np.pi)
    order = np.argsort(angles)
    ordered = angles[order]
    gaps = np.diff(ordered, append=ordered[0] + np.pi)
    shares = np.empty(len(units))
    shares[order] = (gaps + np.roll(gaps, 1)) / (2 * np.pi)
    return shares


class Crossings:
    """Counts crossings strip by strip: blocks must come in z, then y order, rows along x whole.

    Outside the selection there is background. Memory: one slice and one strip.

    Parameters
    ----------
    shape : (z, y, x)
        Of the selection.
    spacing : (z, y, x)
        Voxel size in micrometres.
    dtype : dtype
        Of the ids.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        dtype: np.dtype[np.generic],
    ) -> None:
        self.flat = shape[0] == 1
        self._shape = shape
        self._offsets = directions(self.flat)
        self._factors = factors(spacing, self.flat)
        self._below = np.zeros((shape[1] + 2, shape[2] + 2), dtype)
        self._above = self._below.copy()
        self._row = np.zeros((0, shape[2] + 2), dtype)

    def add(
        self, block: NDArray[np.integer], z: int, y: int
    ) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float64]]]:
        """Count the crossings of a block with what came before.

        Parameters
        ----------
        block : ndarray (z, y, x)
        z, y : int
            Where it begins.

        Yields
        ------
        ids : ndarray of uint64 (m,)
            With repetitions.
        amounts : ndarray (m,)
            What each crossing adds.
        """
        depth, rows, _ = block.shape
        ends = z + depth == self._shape[0] and not self.flat
        last = y + rows == self._shape[1]
        if y == 0:
            self._below, self._above = self._above, self._below
            self._row = np.zeros((depth + ends, self._shape[2] + 2), block.dtype)
        whole = np.zeros((depth + ends, rows + last, self._shape[2] + 2), block.dtype)
        whole[:depth, :rows, 1:-1] = block
        yield from self._count(whole, y)
        self._row = whole[:, -1].copy() if not last else self._row[:0]
        self._above[y + 1 : y + 1 + rows, 1:-1] = block[-1]

    def _count(
        self, new: NDArray[np.generic], y: int
    ) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float64]]]:
        """Crossings with at least one voxel in `new`."""
        depth, rows, width = new.shape
        block = np.zeros((depth + 1, rows + 1 + _IGNORED, width), new.dtype)
        block[1:, 1:-1] = new
        block[1:, 0] = self._row
        known = self._below[y : y + rows + 2]
        block[0, : len(known)] = known
        top = 0 if y == 0 else 1  # what lies before the first row is background, and new
        for offset, factor in zip(self._offsets, self._factors, strict=True):
            first, second = _pair(block.shape, offset)
            differ = np.argwhere(block[first] != block[second])
            if not len(differ):
                continue
            ends = [differ + [part.start for part in side] for side in (first, second)]
            fresh = [(p[:, 0] > 0) & (p[:, 1] >= top) & (p[:, 1] <= rows) for p in ends]
            unread = [(p[:, 0] > 0) & (p[:, 1] > rows) for p in ends]
            kept = (fresh[0] | fresh[1]) & ~(unread[0] | unread[1])
            ids = np.concatenate([block[tuple(p[kept].T)] for p in ends])
            ids = ids[ids != 0].astype(np.uint64)
            yield ids, np.full(len(ids), factor)


def _pair(shape: tuple[int, ...], offset: Offset) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The parts of a block that lie `offset` apart."""
    first = tuple(slice(max(0, -d), n - max(0, d)) for n, d in zip(shape, offset, strict=True))
    second = tuple(slice(max(0, d), n - max(0, -d)) for n, d in zip(shape, offset, strict=True))
    return first, second
