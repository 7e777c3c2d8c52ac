"""Contingency counts: how many voxels carry each (truth id, predicted id) pair.

Every overlap metric follows from these counts, and counts of blocks add up to the counts of the
whole, which is what lets volumes beyond memory be evaluated exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volseg.errors import InputError

IdArray = NDArray[np.uint64]
CountArray = NDArray[np.int64]


@dataclass(frozen=True)
class Contingency:
    """Voxel counts of id pairs; background is id 0 on either side.

    Attributes
    ----------
    truth, predicted : ndarray of uint64, shape (n,)
        The ids of each pair, sorted by truth, then predicted; no pair occurs twice.
    counts : ndarray of int64, shape (n,)
        Voxels that carry the pair; all positive.
    """

    truth: IdArray
    predicted: IdArray
    counts: CountArray

    @classmethod
    def empty(cls) -> Contingency:
        """Counts of no voxels at all."""
        ids = np.empty(0, np.uint64)
        return cls(ids, ids.copy(), np.empty(0, np.int64))

    @classmethod
    def of(cls, truth: ArrayLike, predicted: ArrayLike) -> Contingency:
        """Count the id pairs of two arrays.

        Parameters
        ----------
        truth, predicted : array_like of int or bool, same shape
            Labels, 0 being background. Any number of axes.

        Raises
        ------
        InputError
            If the shapes differ, or an array holds negative or fractional ids.
        """
        left, right = as_ids(truth, "truth"), as_ids(predicted, "predicted")
        if left.shape != right.shape:
            raise InputError(
                f"truth has shape {left.shape}, the labels {right.shape}: "
                "both must lie on one grid (choose --level, or crop one of them)"
            )
        left, right = left.reshape(-1), right.reshape(-1)
        if left.size == 0:
            return cls.empty()
        # Runs of one pair instead of voxels: labels are piecewise constant, so this is what makes
        # it fast.
        change = left[1:] != left[:-1]
        change |= right[1:] != right[:-1]
        starts = np.concatenate(([0], np.flatnonzero(change) + 1))
        lengths = np.diff(np.append(starts, left.size))
        return _collect(left[starts].astype(np.uint64), right[starts].astype(np.uint64), lengths)

    @classmethod
    def sum(cls, parts: Iterable[Contingency]) -> Contingency:
        """Add counts of disjoint sets of voxels."""
        total = cls.empty()
        for part in parts:
            total = total + part
        return total

    def __add__(self, other: Contingency) -> Contingency:
        return _collect(
            np.concatenate([self.truth, other.truth]),
            np.concatenate([self.predicted, other.predicted]),
            np.concatenate([self.counts, other.counts]),
        )

    @property
    def voxels(self) -> int:
        """Number of voxels counted."""
        return int(self.counts.sum())

    def truth_sizes(self) -> dict[int, int]:
        """Voxels per truth object (without background)."""
        return _sizes(self.truth, self.counts)

    def predicted_sizes(self) -> dict[int, int]:
        """Voxels per predicted object (without background)."""
        return _sizes(self.predicted, self.counts)

    def foreground(self) -> Contingency:
        """The counts of voxels that are object in both (the overlaps)."""
        return self._where((self.truth != 0) & (self.predicted != 0))

    def without_truth_background(self) -> Contingency:
        """The counts of voxels that belong to a truth object."""
        return self._where(self.truth != 0)

    def binary(self) -> Contingency:
        """The counts of object (1) against background (0), whatever the ids."""
        truth = (self.truth != 0).astype(np.uint64)
        return _collect(truth, (self.predicted != 0).astype(np.uint64), self.counts)

    def of_truth_ids(self, ids: Iterable[int]) -> Contingency:
        """The counts with every other truth object turned into background."""
        keep = np.isin(self.truth, np.fromiter(ids, np.uint64))
        return _collect(
            np.where(keep, self.truth, 0).astype(np.uint64), self.predicted, self.counts
        )

    def _where(self, keep: NDArray[np.bool_]) -> Contingency:
        return Contingency(self.truth[keep], self.predicted[keep], self.counts[keep])


def as_ids(labels: ArrayLike, what: str) -> NDArray[np.integer]:
    """Check that an array holds object ids, and return it (bool becomes uint8).

    Raises
    ------
    InputError
        If the values are fractional, complex or negative.
    """
    array = np.asarray(labels)
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind not in "iu":
        raise InputError(
            f"{what}: values of type {array.dtype} are no object ids (whole numbers from 0)"
        )
    if array.dtype.kind == "i" and array.size and int(array.min()) < 0:
        raise InputError(
            f"{what}: negative ids ({int(array.min())}); ids start at 1, background is 0"
        )
    return array


def _collect(truth: IdArray, predicted: IdArray, counts: CountArray) -> Contingency:
    """Add up equal pairs and sort them."""
    if truth.size == 0:
        return Contingency.empty()
    truth_ids, truth_at = np.unique(truth, return_inverse=True)
    predicted_ids, predicted_at = np.unique(predicted, return_inverse=True)
    key = truth_at.astype(np.int64) * predicted_ids.size + predicted_at
    keys, where = np.unique(key, return_inverse=True)
    total = np.zeros(keys.size, np.int64)
    np.add.at(total, where, counts)
    return Contingency(
        truth_ids[keys // predicted_ids.size], predicted_ids[keys % predicted_ids.size], total
    )


def _sizes(ids: IdArray, counts: CountArray) -> dict[int, int]:
    values, where = np.unique(ids, return_inverse=True)
    total = np.zeros(values.size, np.int64)
    np.add.at(total, where, counts)
    return {int(i): int(n) for i, n in zip(values, total, strict=True) if i}
