"""The contrast of an image: which values are shown as black and as full brightness.

Exact percentiles of the values themselves, found in bounded memory; what is no measurement (hot voxels, fill values,
padding, values that are not numbers) does not move them. Windows in metadata and what a model sees come from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from volseg.geometry import Region
    from volseg.images.image import Volume

PERCENTILES = (0.5, 99.5)
SAMPLE_BLOCK = (64, 256, 256)  # voxels z, y, x; large levels are measured on evenly spread blocks
SAMPLE_VOXELS = 2**27
FAR = 4.0
"""One of the values that are usually filled in is left out where it lies this many ranges of the others away from them.
Closer ones do no harm: a fifth of the brightness and more remains to the others."""
VERY_FAR = 1000.0
"""Any value is left out from here on, where the others would all look the same."""
CROWDED = 0.05
"""Share of the other values at one of their limits, as in a mask, from which only `VERY_FAR` counts."""
MOSTLY = 2 / 3
"""Share of all values from which one is a background rather than a filling, unless it is `VERY_FAR`."""
RARE = 1e-4
"""Share of voxels below which what differs from a constant image counts as defects."""
_DIGIT = 16

Blocks = Callable[[], Iterable[NDArray[Any]]]
"""Yields the same values at each call, in any order and cut in any way."""


def measure_contrast(
    volume: Volume, level: int = 0, time: int = 0, channel: int = 0
) -> tuple[float, float]:
    """Return the contrast limits of a channel.

    Up to 2**27 voxels every one is counted; of a larger level evenly spread blocks of 64 x 256 x 256 voxels, at fixed
    places, are. The result does not depend on how the array is chunked.
    """

    def blocks() -> Iterator[NDArray[Any]]:
        for region in sample_regions(volume.levels[level].grid.shape):
            yield volume.read(region, level=level, time=time, channel=channel)

    return contrast_limits(blocks, volume.dtype)


def contrast_limits(blocks: Blocks, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the 0.5 and 99.5 percentiles of the values that were measured.

    Left out are values that are not finite and, in types of 16 bits and more, a lowest or highest value that fills
    space: more voxels have it than the percentile would pass over, and it lies far from all others (see `FAR`). Where
    nearly all voxels are equal, the percentiles are those of the others.

    Parameters
    ----------
    blocks : callable
        The values; called once for types of up to 16 bits, twice for 32, four times for 64.
    dtype : dtype
        Of the values: bool, integer or real.

    Returns
    -------
    (low, high) : (float, float)
        low ≤ high, both values of the image; (0, 1) if there is none.
    """
    keys = _SortedKeys(blocks, np.dtype(dtype))
    if not keys.total:
        return 0.0, 1.0
    most = PERCENTILES[0] / 100 * keys.total
    cuts = [(0, 0)]  # how many values are left out at the low and at the high end
    for low, high in ((1, 0), (0, 1), (1, 1)) if keys.bits > 8 else ():
        cut = (low * keys.lowest[1], high * keys.highest[1])
        if sum(cut) < keys.total and all(n == 0 or n > most for n in cut):
            cuts.append(cut)
    limits = {cut: _percentile_ranks(cut, keys.total) for cut in cuts}
    keys.find({rank for pair in limits.values() for rank in pair})
    chosen = next(cut for cut in reversed(cuts) if keys.only_fillings(cut, limits[cut]))
    low, high = limits[chosen]
    if keys.value(low) == keys.value(high):
        low, high = keys.around(low, chosen)
    return float(keys.value(low)), float(keys.value(high))


def widened(low: float, high: float) -> tuple[float, float]:
    """Return the limits, or where they are equal, limits that can be divided by their distance."""
    return (low, high) if high > low else (low, low + max(1.0, abs(low) * 1e-6))


def sample_regions(shape: Sequence[int]) -> Iterator[Region]:
    """Yield the regions whose voxels are counted: a fixed lattice, all of it or evenly spread."""
    counts = [-(-n // b) for n, b in zip(shape, SAMPLE_BLOCK, strict=True)]
    total = int(np.prod(counts))
    wanted = max(1, min(total, SAMPLE_VOXELS // int(np.prod(SAMPLE_BLOCK))))
    for i in range(wanted):
        index = np.unravel_index(i * total // wanted + (total // wanted) // 2, counts)
        ranges = [
            (int(k) * b, min(n, (int(k) + 1) * b))
            for k, b, n in zip(index, SAMPLE_BLOCK, shape, strict=True)
        ]
        yield (ranges[0], ranges[1], ranges[2])


def _percentile_ranks(cut: tuple[int, int], total: int) -> tuple[int, int]:
    """Return the ranks of both percentiles, the first and last values of `total` left out as `cut` says."""
    kept = total - sum(cut)
    low, high = (cut[0] + max(1, math.ceil(p / 100 * kept)) - 1 for p in PERCENTILES)
    return low, high


class _SortedKeys:
    """The finite values of blocks in order, by rank, without ever holding them.

    Values become unsigned numbers of the same order. Ranks are found 16 bits at a time, from the highest: each pass
    over the blocks counts the next bits of the numbers that begin like one that is looked for (radix selection).
    """

    def __init__(self, blocks: Blocks, dtype: np.dtype[Any]) -> None:
        self._blocks = blocks
        self._dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
        self.bits = dtype.itemsize * 8
        self._digit = min(_DIGIT, self.bits)
        self._found: dict[int, tuple[int, int, int]] = {}  # rank: key, keys below, keys equal
        self._first = np.zeros(2**self._digit, np.int64)
        low = high = (0, 0)  # key and how often
        for keys in self._keys():
            if not keys.size:
                continue
            self._first += self._count(keys, self.bits - self._digit)
            if self.bits > self._digit:
                low, high = (
                    _merged(low, keys, keys.min(), min),
                    _merged(high, keys, keys.max(), max),
                )
        self.total = int(self._first.sum())
        if self.bits <= self._digit and self.total:
            there = np.flatnonzero(self._first)
            low, high = ((int(key), int(self._first[key])) for key in (there[0], there[-1]))
        self.lowest, self.highest = low, high

    def find(self, ranks: Iterable[int]) -> None:
        """Find the values of these ranks (from 0), all of them in the same passes."""
        places = dict.fromkeys((rank for rank in ranks if rank not in self._found), (0, 0))
        tables = {0: self._first}
        for shift in range(self.bits - self._digit, -1, -self._digit):
            if shift + self._digit < self.bits:
                tables = self._tables({prefix for prefix, _ in places.values()}, shift)
            for rank, (prefix, below) in places.items():
                summed = np.cumsum(tables[prefix])
                digit = int(np.searchsorted(summed, rank - below, side="right"))
                before = int(summed[digit - 1]) if digit else 0
                key = prefix << self._digit | digit
                places[rank] = key, below + before
                self._found[rank] = key, below + before, int(tables[prefix][digit])

    def value(self, rank: int) -> float | int:
        """Return the value of a rank that was found."""
        return self._value(self._found[rank][0])

    def only_fillings(self, cut: tuple[int, int], limits: tuple[int, int]) -> bool:
        """Whether the values left out fill space, seen from the `limits` (ranks) of the others.

        Parameters
        ----------
        cut : (int, int)
            How many are left out: all of the lowest value or none, and of the highest.
        """
        low, high = limits
        kept = self.total - sum(cut)
        (_, under, equal), (_, below_high, _) = self._found[low], self._found[high]
        crowd = max(under + equal - cut[0], cut[0] + kept - below_high)  # at one of the limits
        bottom, top = self.value(low), self.value(high)
        fillings = self._value(self.lowest[0]), self._value(self.highest[0])
        gaps = bottom - fillings[0], fillings[1] - top
        for filling, gap, share in zip(fillings, gaps, cut, strict=True):
            usual = _is_usual(filling, self._dtype) and share <= MOSTLY * self.total
            enough = FAR if usual and crowd <= CROWDED * kept else VERY_FAR
            if share and not (top > bottom and gap > enough * (top - bottom)):
                return False
        return True

    def around(self, rank: int, cut: tuple[int, int]) -> tuple[int, int]:
        """Return the ranks of the limits of what differs from the value of `rank`, if more than defects do."""
        _, below, equal = self._found[rank]
        least = RARE * (self.total - sum(cut))
        low = high = rank
        if below - cut[0] > least:
            low = _percentile_ranks((cut[0], self.total - below), self.total)[0]
        if self.total - cut[1] - below - equal > least:
            high = _percentile_ranks((below + equal, cut[1]), self.total)[1]
        self.find((low, high))
        return low, high

    def _tables(self, prefixes: set[int], shift: int) -> dict[int, NDArray[np.int64]]:
        """Count the digits at `shift` of the keys that begin with each prefix."""
        tables = {prefix: np.zeros(2**self._digit, np.int64) for prefix in prefixes}
        for keys in self._keys():
            heads = keys >> keys.dtype.type(shift + self._digit)
            for prefix, table in tables.items():
                table += self._count(keys[heads == prefix], shift)
        return tables

    def _count(self, keys: NDArray[Any], shift: int) -> NDArray[np.int64]:
        digits = keys >> keys.dtype.type(shift) & keys.dtype.type(2**self._digit - 1)
        return np.bincount(digits.astype(np.intp), minlength=2**self._digit)

    def _keys(self) -> Iterator[NDArray[Any]]:
        for block in self._blocks():
            yield _as_keys(np.asarray(block).ravel().astype(self._dtype, copy=False))

    def _value(self, key: int) -> float | int:
        """Return the value that a key stands for."""
        sign = 1 << (self.bits - 1)
        if self._dtype.kind == "u":
            return key
        if self._dtype.kind == "i":
            return key - sign
        raw = key - sign if key & sign else ~key & (2 * sign - 1)
        bits = np.array([raw], f"u{self._dtype.itemsize}")
        return float(bits.view(f"f{self._dtype.itemsize}")[0])


def _is_usual(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether programs fill space with this value of the type."""
    if dtype.kind == "f":
        return value in (0, -9999) or abs(value) >= min(1e30, float(np.finfo(dtype).max))
    return value in (0, -9999, np.iinfo(dtype).min, np.iinfo(dtype).max)


def _as_keys(values: NDArray[Any]) -> NDArray[Any]:
    """Return the finite values as unsigned numbers of their order and size."""
    kind = np.dtype(f"u{values.dtype.itemsize}")
    if values.dtype.kind == "u":
        return values.view(kind)
    sign = kind.type(1 << (8 * kind.itemsize - 1))
    if values.dtype.kind == "i":
        return np.asarray(values.view(kind) ^ sign)
    values = values[np.isfinite(values)] + values.dtype.type(0)  # and no negative zero
    keys = values.view(kind)
    return np.where(keys & sign, ~keys, keys | sign)


def _merged(
    end: tuple[int, int], keys: NDArray[Any], extreme: Any, better: Callable[..., int]
) -> tuple[int, int]:
    """Return the extreme key and how often it occurs, of those seen before and of a block."""
    key, seen = int(extreme), int(np.count_nonzero(keys == extreme))
    if not end[1] or (key != end[0] and better(key, end[0]) == key):
        return key, seen
    return (key, end[1] + seen) if key == end[0] else end
