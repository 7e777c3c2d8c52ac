"""Whole-number sums, least and greatest values by object, added up over blocks in any order alike."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[np.int64]]
_KINDS = ("add", "low", "high")
_UFUNCS = {"add": np.add, "low": np.minimum, "high": np.maximum}


@dataclass(frozen=True)
class ObjectSums:
    """One row per object.

    Attributes
    ----------
    ids : ndarray of int64 (n,)
        Sorted.
    add, low, high : dict of ndarray of int64 (n,) or (n, k)
        Columns that add up, and of which the least and the greatest count.
    pairs : ndarray of int64 (m, 2)
        Ids of objects that touch, the lower one first; sorted, without repetitions.
    """

    ids: NDArray[np.int64]
    add: Columns = field(default_factory=dict)
    low: Columns = field(default_factory=dict)
    high: Columns = field(default_factory=dict)
    pairs: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))

    @classmethod
    def joined(cls, parts: Sequence[ObjectSums]) -> ObjectSums:
        """Join the sums of several blocks, which have the same columns."""
        parts = [part for part in parts if len(part.ids)]
        if not parts:
            return cls(np.empty(0, np.int64))
        ids = np.concatenate([part.ids for part in parts])
        order = np.argsort(ids, kind="stable")
        starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
        found: dict[str, Columns] = {}
        for kind in _KINDS:
            tables = [getattr(part, kind) for part in parts]
            found[kind] = {
                name: _UFUNCS[kind].reduceat(
                    np.concatenate([t[name] for t in tables])[order], starts
                )
                for name in tables[0]
            }
        pairs = unique_pairs(np.concatenate([part.pairs for part in parts]))
        return cls(ids[order][starts], found["add"], found["low"], found["high"], pairs)

    def between(self, first: int, last: int) -> ObjectSums:
        """Return the objects with ids from `first` to `last`, the last included, and the pairs that name one."""
        a, b = np.searchsorted(self.ids, [first, last + 1])
        inside = ((self.pairs >= first) & (self.pairs <= last)).any(axis=1)
        parts: Mapping[str, Columns] = {
            kind: {name: values[a:b] for name, values in getattr(self, kind).items()}
            for kind in _KINDS
        }
        return ObjectSums(self.ids[a:b], **parts, pairs=self.pairs[inside])

    def to_bytes(self) -> bytes:
        """Serialise as a NumPy archive."""
        arrays: dict[str, Any] = {"ids": self.ids, "pairs": self.pairs}
        for kind in _KINDS:
            arrays |= {f"{kind}:{name}": values for name, values in getattr(self, kind).items()}
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> ObjectSums:
        """Read what `to_bytes` wrote."""
        found: dict[str, Columns] = {kind: {} for kind in _KINDS}
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            for key in archive.files:
                kind, told, name = key.partition(":")
                if told:
                    found[kind][name] = archive[key]
            return cls(archive["ids"], found["add"], found["low"], found["high"], archive["pairs"])


def unique_pairs(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the different pairs (m, 2) of ids above 0, the lower id first, sorted."""
    if not len(pairs):
        return np.empty((0, 2), np.int64)
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    order = np.lexsort((high, low))
    found = np.stack([low[order], high[order]], axis=1)
    return found[np.concatenate([[True], (found[1:] != found[:-1]).any(axis=1)])]


class Grouping:
    """Voxels grouped by object: reduces a value per voxel to one per object.

    Parameters
    ----------
    owners : ndarray of integers (m,)
        The object of each voxel, as a place from 0 to `count` - 1; every one occurs.
    count
        Number of objects.
    """

    def __init__(self, owners: NDArray[np.integer], count: int) -> None:
        self.count = count
        self.order = np.argsort(owners, kind="stable")
        self.owners = owners[self.order]
        self._starts = np.searchsorted(self.owners, np.arange(count))

    def sorted(self, values: NDArray[np.generic]) -> NDArray[np.int64]:
        """Return values of all voxels (m,) in the order in which objects follow each other."""
        return values[self.order].astype(np.int64)

    def add(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return sums by object (n,) of sorted values."""
        return np.add.reduceat(values, self._starts)

    def low(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the least by object (n,) of sorted values."""
        return np.minimum.reduceat(values, self._starts)

    def high(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the greatest by object (n,) of sorted values."""
        return np.maximum.reduceat(values, self._starts)
