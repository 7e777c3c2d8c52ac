"""Sums, least and greatest values per object id, added up over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TABLE = 1 << 22  # ids below this are looked up in a table, which is faster than sorting


def numbered(ids: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Return the different ids, sorted, and the place of each of `ids` among them.

    Parameters
    ----------
    ids : ndarray of integers (m,)
        With repetitions; not negative.

    Returns
    -------
    known : ndarray (n,)
    places : ndarray of int64 (m,)
    """
    top = int(ids.max(initial=0))
    if top >= _TABLE:
        known, places = np.unique(ids, return_inverse=True)
        return known, places.astype(np.int64, copy=False)
    there = np.zeros(top + 1, bool)
    there[ids] = True
    numbers = np.cumsum(there, dtype=np.int64) - 1
    return np.flatnonzero(there).astype(ids.dtype), numbers[ids]


@dataclass(frozen=True)
class Tally:
    """One row per id.

    Attributes
    ----------
    ids : ndarray of uint64 (n,)
        Sorted.
    sums : ndarray of float64 (n, a)
    least, greatest : ndarray of float64 (n, b)
    """

    ids: NDArray[np.uint64]
    sums: NDArray[np.float64]
    least: NDArray[np.float64]
    greatest: NDArray[np.float64]

    @classmethod
    def grouped(
        cls,
        ids: NDArray[np.uint64],
        sums: Sequence[NDArray[np.float64]],
        least: Sequence[NDArray[np.float64]],
        greatest: Sequence[NDArray[np.float64]],
    ) -> Tally:
        """Group rows by id.

        Parameters
        ----------
        ids : ndarray (m,)
            With repetitions.
        sums, least, greatest : sequences of ndarray (m,)
            Columns to add up, and to take the minimum and maximum of.
        """
        known, places = numbered(ids)
        shape = (len(known), 0)

        def sums_of(column: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(places, column, len(known)).astype(np.float64, copy=False)

        def reduced(
            ufunc: np.ufunc, columns: Sequence[NDArray[np.float64]], start: float
        ) -> NDArray[np.float64]:
            found = np.full((len(columns), len(known)), start)
            for row, column in zip(found, columns, strict=True):
                ufunc.at(row, places, column)
            return found.T

        return cls(
            known.astype(np.uint64),
            np.stack([sums_of(c) for c in sums], axis=1) if sums else np.empty(shape),
            reduced(np.minimum, least, np.inf),
            reduced(np.maximum, greatest, -np.inf),
        )

    @classmethod
    def joined(cls, parts: Sequence[Tally]) -> Tally:
        """Add up tallies of the same columns; at least one."""
        stacked = [
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("sums", "least", "greatest")
        ]
        columns = [[np.ascontiguousarray(c) for c in matrix.T] for matrix in stacked]
        return cls.grouped(np.concatenate([part.ids for part in parts]), *columns)
