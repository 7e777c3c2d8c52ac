"""What one operation changed in one chunk: its voxels with old and new values, compactly coded.

Pure values and arrays; nothing here reads or writes storage.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numcodecs.zstd import compress, decompress

from volseg.errors import UnsupportedFormatError
from volseg.geometry import (
    Region,
    Triple,
    intersection,
    region_at,
    region_origin,
    region_shape,
    shifted,
    slices,
)

_FULL, _ONE_OLD, _ONE_NEW = 1, 2, 4
_LEVEL = 1  # zstd's fastest level: strokes are coded while a person draws


class Place(NamedTuple):
    """One level-0 storage object: time index, and chunk index along z, y, x."""

    time: int
    z: int
    y: int
    x: int

    @property
    def zyx(self) -> Triple:
        """The chunk index without the time."""
        return (self.z, self.y, self.x)


@dataclass(frozen=True)
class Change:
    """A decoded delta: `mask` bool over its box, `old` and `new` (n,) in row order of the set voxels."""

    mask: np.ndarray
    old: np.ndarray
    new: np.ndarray


@dataclass(frozen=True)
class Delta:
    """The change of one operation within one chunk.

    Parameters
    ----------
    time
        Time index.
    origin, shape
        Bounding box of the changed voxels, z, y, x in voxels of level 0; it never leaves its chunk.
    count
        Number of changed voxels.
    dtype
        Of the label image.
    data
        The coded voxels, or a function that fetches them (parts of large records stay in the store).
    inverted
        Old and new values change places on decoding: an undo refers to the very bytes of what it undoes.
    """

    time: int
    origin: Triple
    shape: Triple
    count: int
    dtype: np.dtype
    data: bytes | Callable[[], bytes]
    inverted: bool = False

    @property
    def raw(self) -> bytes:
        """The coded voxels, fetched if they lie elsewhere."""
        return self.data if isinstance(self.data, bytes) else self.data()

    @property
    def region(self) -> Region:
        """The bounding box in voxels of level 0."""
        return region_at(self.origin, self.shape)

    def place(self, chunks: Triple) -> Place:
        """Return the chunk that the delta lies in, for a grid of `chunks` voxels."""
        z, y, x = (o // c for o, c in zip(self.origin, chunks, strict=True))
        return Place(self.time, z, y, x)

    def change(self) -> Change:
        """Decode the voxels."""
        mask, old, new = _decode(self.raw, self.shape, self.dtype)
        return Change(mask, new, old) if self.inverted else Change(mask, old, new)

    def inverse(self) -> Delta:
        """Return the delta that takes this one back."""
        return replace(self, inverted=not self.inverted)

    def apply(self, block: np.ndarray, origin: Triple) -> None:
        """Set the new values in `block`, whose first voxel lies at `origin` of level 0."""
        change = self.change()
        block[slices(self.region, origin)][change.mask] = change.new

    def revert(self, block: np.ndarray, origin: Triple) -> None:
        """Set the old values in `block`, whose first voxel lies at `origin` of level 0."""
        change = self.change()
        block[slices(self.region, origin)][change.mask] = change.old


def make_delta(time: int, origin: Triple, old: np.ndarray, new: np.ndarray) -> Delta | None:
    """Code what differs between two blocks.

    Parameters
    ----------
    time
        Time index.
    origin
        Place of the blocks' first voxel, z, y, x in level 0.
    old, new
        Blocks of one shape (z, y, x) and dtype within one chunk.

    Returns
    -------
    delta
        None where nothing differs.
    """
    mask = old != new
    changed = bounding_region(mask)
    if changed is None:
        return None
    box = slices(changed)
    mask = mask[box]
    olds, news = old[box][mask], new[box][mask]
    return Delta(
        time=time,
        origin=region_origin(shifted(changed, origin)),
        shape=region_shape(changed),
        count=int(olds.size),
        dtype=old.dtype,
        data=_encode(mask, olds, news),
    )


def bounding_region(mask: np.ndarray) -> Region | None:
    """Return the smallest region that holds every set voxel of a mask (z, y, x), None if there is none."""
    ranges = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        line = np.flatnonzero(mask.any(axis=others))
        if line.size == 0:
            return None
        ranges.append((int(line[0]), int(line[-1]) + 1))
    return ranges[0], ranges[1], ranges[2]


def common_voxels(a: Delta, b: Delta) -> int:
    """Count the voxels that both deltas change. Regions that don't meet cost no decoding."""
    if a.time != b.time:
        return 0
    both = intersection(a.region, b.region)
    if both is None:
        return 0
    parts = (delta.change().mask[slices(both, delta.origin)] for delta in (a, b))
    return int(np.count_nonzero(np.logical_and(*parts)))


def id_counts(deltas: Iterable[Delta]) -> dict[int, int]:
    """Return by how many voxels each id grows (or shrinks, negative) through the deltas. Background is left out."""
    counts: dict[int, int] = {}
    for delta in deltas:
        change = delta.change()
        for values, sign in ((change.old, -1), (change.new, 1)):
            ids, numbers = np.unique(values, return_counts=True)
            for label, number in zip(ids.tolist(), numbers.tolist(), strict=True):
                counts[label] = counts.get(label, 0) + sign * number
    counts.pop(0, None)
    return counts


def checksum(data: bytes) -> int:
    """Return the CRC-32 that a record keeps of each delta's bytes."""
    return zlib.crc32(data)


def _encode(mask: np.ndarray, old: np.ndarray, new: np.ndarray) -> bytes:
    flags = 0
    parts = []
    if mask.all():
        flags |= _FULL
    else:
        parts.append(np.packbits(mask).tobytes())
    for values, flag in ((old, _ONE_OLD), (new, _ONE_NEW)):
        if (values == values[0]).all():
            flags |= flag
            values = values[:1]
        parts.append(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return bytes([flags]) + compress(b"".join(parts), _LEVEL)


def _decode(
    data: bytes, shape: Triple, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flags, raw = data[0], bytes(decompress(data[1:]))
    volume = int(np.prod(shape))
    if flags & _FULL:
        mask, at = np.ones(shape, bool), 0
    else:
        at = -(-volume // 8)
        bits = np.frombuffer(raw[:at], np.uint8)
        mask = np.unpackbits(bits, count=volume).view(bool).reshape(shape)
    count = int(np.count_nonzero(mask))
    little = dtype.newbyteorder("<")
    values = []
    for flag in (_ONE_OLD, _ONE_NEW):
        number = 1 if flags & flag else count
        end = at + number * dtype.itemsize
        if end > len(raw):
            raise UnsupportedFormatError("an edit record is damaged: its voxels are cut off")
        part = np.frombuffer(raw[at:end], little).astype(dtype)
        values.append(np.broadcast_to(part, count) if flags & flag else part)
        at = end
    return mask, values[0], values[1]
