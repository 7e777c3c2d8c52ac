"""Sums, least and greatest values per object id, added up over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))[: len(ids)]
        shape = (len(first), 0)

        def reduced(ufunc: np.ufunc, columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
            if not columns or not len(first):
                return np.empty((shape[0], len(columns)))
            return np.stack([ufunc.reduceat(c[order], first) for c in columns], axis=1)

        return cls(
            ordered[first].astype(np.uint64),
            reduced(np.add, sums),
            reduced(np.minimum, least),
            reduced(np.maximum, greatest),
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
