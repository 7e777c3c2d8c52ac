"""The crossings of `crofton` counted over runs in one compiled loop, for label images so large that compiling pays.

A pair of voxels is crossed by an object's surface if one of them is the object's and the other is not. So two rows of
voxels, seen through an offset, hold for each object its voxels in both less twice the overlap of its runs. Importing
this module imports Numba.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volseg.images.mode_loop import compiled
from volseg.measurement.crofton import directions, factors
from volseg.measurement.runs import Runs
from volseg.measurement.tally import numbered


@compiled
def _count_rows(
    x0: Any, x1: Any, ids: Any, i: int, stop: int, j: int, other_stop: int, shift: int, counts: Any
) -> None:
    """Count the pairs of runs i…stop with runs j…other_stop, whose partners lie `shift` voxels on."""
    for at in range(i, stop):
        counts[ids[at]] += x1[at] - x0[at]
    for at in range(j, other_stop):
        counts[ids[at]] += x1[at] - x0[at]
    while i < stop and j < other_stop:
        begin = max(x0[i], x0[j] - shift)
        end = min(x1[i], x1[j] - shift)
        if end > begin and ids[i] == ids[j]:
            counts[ids[i]] -= 2 * (end - begin)
        if x1[i] < x1[j] - shift:
            i += 1
        else:
            j += 1


@compiled
def _count(
    x0: Any,
    x1: Any,
    ids: Any,
    start: Any,
    stop: Any,
    offsets: Any,
    top: int,
    rows: int,
    counts: Any,
) -> None:
    depth, height = start.shape
    for direction in range(len(offsets)):
        dz, dy, dx = offsets[direction]
        for z in range(depth - dz):
            for y in range(max(0, -dy), height - max(0, dy)):
                fresh = (z > 0 and top <= y <= rows) or (z + dz > 0 and top <= y + dy <= rows)
                unread = (z > 0 and y > rows) or (z + dz > 0 and y + dy > rows)
                if fresh and not unread:
                    first, second = (z, y), (z + dz, y + dy)
                    _count_rows(
                        x0, x1, ids, start[first], stop[first], start[second], stop[second], dx,
                        counts[direction],
                    )  # fmt: skip


class _Rows(NamedTuple):
    """Runs by rows: those of row r are from start[r] to stop[r]."""

    x0: NDArray[np.int64]
    x1: NDArray[np.int64]
    ids: NDArray[np.generic]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]

    def chosen(self, rows: slice) -> _Rows:
        """Some rows, without the runs of the others; they must lie beside each other."""
        start, stop = self.start[rows], self.stop[rows]
        low, high = (int(start[0]), int(stop[-1])) if len(start) else (0, 0)
        part = slice(low, high)
        return _Rows(self.x0[part], self.x1[part], self.ids[part], start - low, stop - low)


def _nothing(dtype: np.dtype[np.generic]) -> _Rows:
    none = np.empty(0, np.int64)
    return _Rows(none, none, np.empty(0, dtype), none, none)


def _together(parts: list[_Rows]) -> _Rows:
    """Rows of several parts, one after the other."""
    x0, x1, ids = (np.concatenate([part[at] for part in parts]) for at in range(3))
    shifts = np.cumsum([0] + [len(part.ids) for part in parts[:-1]])
    moved = [
        np.concatenate([part[at] + shift for part, shift in zip(parts, shifts, strict=True)])
        for at in (3, 4)
    ]
    return _Rows(x0, x1, ids, *moved)


class RunCrossings:
    """Counts as `Crossings` does, from the runs of its blocks; to be fed in the same order.

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
        self._offsets = np.array(directions(self.flat), np.int64)
        self._factors = factors(spacing, self.flat)
        self._nothing = _nothing(dtype)
        self._below = self._nothing
        self._above: list[_Rows] = []
        self._before: list[_Rows] = []

    def add(
        self, runs: Runs, origin: tuple[int, int], depth: int, rows: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
        """Count the crossings of a block with what came before.

        Parameters
        ----------
        runs : Runs
            Of the block, its rows along x whole.
        origin : (z, y)
            Where the block begins.
        depth, rows : int
            Its size.

        Returns
        -------
        ids : ndarray of uint64 (n,)
        amounts : ndarray (n,)
            What all crossings of each add.
        """
        z, y = origin
        if y == 0:
            self._below = _together(self._above) if self._above else self._nothing
            self._above, self._before = [], []
        new = _rows_of(runs, origin, depth, rows)
        ends = z + depth == self._shape[0] and not self.flat
        last = y + rows == self._shape[1]
        table = np.zeros((2, depth + 1 + ends, rows + 2 + last), np.int64)
        under = self._below.chosen(slice(max(0, y - 1), y + rows + 1))
        whole = _together([new, under, *self._before])
        places = np.stack([whole.start, whole.stop])
        grid, count = depth * rows, len(under.start)
        table[:, 1 : depth + 1, 1 : rows + 1] = places[:, :grid].reshape(2, depth, rows)
        first = 0 if y else 1
        table[:, 0, first : first + count] = places[:, grid : grid + count]
        table[:, 1 : 1 + len(self._before), 0] = places[:, grid + count :]
        found = self._counted(whole, table, 0 if y == 0 else 1, rows + last)
        self._before = [new.chosen(slice(r, r + 1)) for r in range(rows - 1, grid, rows)]
        self._above.append(new.chosen(slice(grid - rows, grid)))
        return found

    def _counted(
        self, whole: _Rows, table: NDArray[np.int64], top: int, rows: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
        known, ids = numbered(whole.ids)
        counts = np.zeros((len(self._offsets), len(known)), np.int64)
        start, stop = table
        _count(whole.x0, whole.x1, ids, start, stop, self._offsets, top, rows, counts)
        return known.astype(np.uint64), self._factors @ counts


def _rows_of(runs: Runs, origin: tuple[int, int], depth: int, rows: int) -> _Rows:
    of = (runs.z - origin[0]) * rows + (runs.y - origin[1])
    borders = np.searchsorted(of, np.arange(depth * rows + 1))
    return _Rows(runs.x, runs.x + runs.length, runs.ids, borders[:-1], borders[1:])
