"""NumPy keys over a volume that is never whole in memory: which voxels of which chunk, and which of the value's.

Any key that NumPy takes for a (z, y, x) array is taken here, with the same meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from volseg.errors import InputError
from volseg.geometry import Region, Triple, region_at


@dataclass(frozen=True)
class Piece:
    """What a selection means in one chunk.

    Parameters
    ----------
    index
        The chunk.
    inner
        Key into the chunk's voxels.
    outer
        Key into the selected voxels' array (`Selection.spread`).
    region
        Of the chunk, from its own origin, that `inner` lies in.
    """

    index: Triple
    inner: Any
    outer: Any
    region: Region


class Selection:
    """A NumPy key applied to a volume of a given shape.

    Parameters
    ----------
    key
        What stood between the brackets.
    shape
        Of the volume, z, y, x.
    chunks
        Of its storage objects, z, y, x.

    Raises
    ------
    IndexError
        As NumPy does.
    """

    def __init__(self, key: Any, shape: Triple, chunks: Triple) -> None:
        self._chunks = chunks
        self._ranges = _basic(key, shape)
        self._coordinates: list[np.ndarray] = []
        if self._ranges is not None:
            self._sizes = tuple(len(r) for r in self._ranges)
            dropped = _whole_numbers(key)
            self.shape = tuple(n for n, gone in zip(self._sizes, dropped, strict=True) if not gone)
            self._expand = tuple(0 if gone else slice(None) for gone in dropped)
        else:
            for axis, size in enumerate(shape):
                line = np.arange(size).reshape([-1 if a == axis else 1 for a in range(3)])
                chosen = np.asarray(np.broadcast_to(line, shape)[key])
                self.shape = chosen.shape
                self._coordinates.append(chosen.reshape(-1))

    def spread(self, value: Any) -> np.ndarray:
        """Return a value broadcast to the selected voxels, in the form that `Piece.outer` indexes."""
        value = np.asarray(value)
        while value.ndim > len(self.shape) and value.shape[0] == 1:
            value = value[0]  # NumPy drops leading axes of length 1 on assignment
        try:
            full = np.broadcast_to(value, self.shape)
        except ValueError:
            raise InputError(
                f"a value of shape {value.shape} can't be assigned to {self.shape} voxels"
            ) from None
        if self._ranges is None:
            return full.reshape(-1)
        return full[tuple(None if e == 0 else e for e in self._expand)]

    def empty(self, dtype: np.dtype) -> np.ndarray:
        """Return an array for reading into, in the form that `Piece.outer` indexes."""
        size = self._sizes if self._ranges is not None else (int(np.prod(self.shape)),)
        return np.zeros(size, dtype)

    def collapse(self, values: np.ndarray) -> np.ndarray:
        """Return what was read in the shape that NumPy gives."""
        return values.reshape(self.shape)

    def pieces(self) -> Iterator[Piece]:
        """Yield the selection chunk by chunk."""
        return self._scattered() if self._ranges is None else self._regular(self._ranges)

    def _regular(self, ranges: list[range]) -> Iterator[Piece]:
        if any(len(r) == 0 for r in ranges):
            return
        spans = [
            range(r[0] // c, r[-1] // c + 1) for r, c in zip(ranges, self._chunks, strict=True)
        ]
        for z, y, x in product(*spans):
            inner, outer = [], []
            for i, r, c in zip((z, y, x), ranges, self._chunks, strict=True):
                first = max(0, -(-(i * c - r.start) // r.step))
                last = min(len(r), -(-((i + 1) * c - r.start) // r.step))
                if last <= first:
                    break
                inner.append(slice(r[first] - i * c, r[last - 1] - i * c + 1, r.step))
                outer.append(slice(first, last))
            if len(inner) == 3:
                zs, ys, xs = ((s.start, s.stop) for s in inner)
                yield Piece((z, y, x), tuple(inner), tuple(outer), (zs, ys, xs))

    def _scattered(self) -> Iterator[Piece]:
        zyx = np.stack(self._coordinates)
        if zyx.shape[1] == 0:
            return
        cells = zyx // np.array(self._chunks)[:, None]
        order = np.lexsort(
            cells[::-1]
        )  # stable: of repeated voxels the last value wins, as in NumPy
        cells = cells[:, order]
        breaks = np.flatnonzero((np.diff(cells, axis=1) != 0).any(axis=0)) + 1
        for part in np.split(order, breaks):
            index = tuple(int(i) for i in zyx[:, part[0]] // np.array(self._chunks))
            inner = zyx[:, part] - (np.array(index) * self._chunks)[:, None]
            low, high = inner.min(axis=1), inner.max(axis=1) + 1
            region = region_at(low.tolist(), (high - low).tolist())
            yield Piece((index[0], index[1], index[2]), tuple(inner), part, region)


def _items(key: Any) -> list[Any] | None:
    """Return a key of only whole numbers, slices and an ellipsis as three items, None for other keys."""
    items = list(key) if isinstance(key, tuple) else [key]
    if any(not (item is Ellipsis or isinstance(item, slice) or _is_number(item)) for item in items):
        return None
    ellipses = [at for at, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1 or len(items) - len(ellipses) > 3:
        return None  # NumPy raises on it
    at = ellipses[0] if ellipses else len(items)
    rest = items[at + 1 :] if ellipses else []
    return [*items[:at], *[slice(None)] * (3 - at - len(rest)), *rest]


def _is_number(item: Any) -> bool:
    return isinstance(item, (int, np.integer)) and not isinstance(item, (bool, np.bool_))


def _whole_numbers(key: Any) -> list[bool]:
    return [_is_number(item) for item in _items(key) or []]


def _basic(key: Any, shape: Triple) -> list[range] | None:
    """Return the voxel ranges of a regular key, None for keys that need coordinates (arrays, negative steps)."""
    items = _items(key)
    if items is None:
        return None
    ranges = []
    for item, size in zip(items, shape, strict=True):
        if _is_number(item):
            number = int(item)
            if not -size <= number < size:
                raise IndexError(f"index {number} is out of bounds for an axis of {size} voxels")
            ranges.append(range(number % size, number % size + 1))
            continue
        chosen = range(*item.indices(size))
        if chosen.step < 0:
            return None
        ranges.append(chosen)
    return ranges
