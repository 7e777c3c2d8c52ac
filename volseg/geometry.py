"""Regions, boxes and grids: where a volume is cut into storage objects and blocks. Pure arithmetic on voxel indices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from volseg.errors import InputError

Region = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""((z0, z1), (y0, y1), (x0, x1)): half-open voxel ranges."""

Box = tuple[int, int, int, int]
"""(y0, x0, y1, x1) of one slice: half-open voxel ranges."""

Triple = tuple[int, int, int]
"""(z, y, x): a shape, an index or whole factors."""


Slices = tuple[slice, slice, slice]
"""A region as NumPy indexes it."""

T = TypeVar("T")


def whole_region(shape: Sequence[int]) -> Region:
    """Return the region of all voxels of a (z, y, x) shape."""
    z, y, x = shape
    return ((0, z), (0, y), (0, x))


def region_shape(region: Region) -> Triple:
    """Return the (z, y, x) shape of a region."""
    (z0, z1), (y0, y1), (x0, x1) = region
    return (z1 - z0, y1 - y0, x1 - x0)


def region_origin(region: Region) -> Triple:
    """Return the first voxel (z, y, x) of a region."""
    (z, _), (y, _), (x, _) = region
    return (z, y, x)


def plane_region(z: int, shape: Sequence[int]) -> Region:
    """Return the region of slice `z` of a (z, y, x) shape."""
    _, y, x = shape
    return ((z, z + 1), (0, y), (0, x))


def region_at(origin: Sequence[int], shape: Sequence[int]) -> Region:
    """Return the region of a (z, y, x) shape whose first voxel lies at an origin."""
    z, y, x = ((o, o + n) for o, n in zip(origin, shape, strict=True))
    return (z, y, x)


def slices(region: Region, origin: Sequence[int] = (0, 0, 0)) -> Slices:
    """Return a region as slices of an array whose first voxel lies at `origin` (z, y, x)."""
    (z0, z1), (y0, y1), (x0, x1) = region
    z, y, x = origin
    return (slice(z0 - z, z1 - z), slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))


def intersection(a: Region, b: Region) -> Region | None:
    """Return the voxels that two regions share, None if there are none."""
    ranges = [(max(p, r), min(q, s)) for (p, q), (r, s) in zip(a, b, strict=True)]
    if any(low >= high for low, high in ranges):
        return None
    return (ranges[0], ranges[1], ranges[2])


def enclosing(regions: Iterable[Region]) -> Region:
    """Return the smallest region that holds all of some regions (at least one)."""
    z, y, x = (
        (min(low for low, _ in ranges), max(high for _, high in ranges))
        for ranges in zip(*regions, strict=True)
    )
    return (z, y, x)


def joined(known: Region | None, region: Region) -> Region:
    """Return the smallest region that holds a region and what is known so far."""
    return region if known is None else enclosing((known, region))


def shifted(region: Region, offset: Sequence[int]) -> Region:
    """Return a region moved by (z, y, x) voxels."""
    (z, y, x) = ((low + d, high + d) for (low, high), d in zip(region, offset, strict=True))
    return (z, y, x)


def check_region(region: Region, shape: Sequence[int], what: str = "region") -> Region:
    """Return a region of plain ints after checking that it lies inside a (z, y, x) shape.

    Raises
    ------
    InputError
        If it has not three ranges, is empty, or reaches outside.
    """
    try:
        ranges = [(int(low), int(high)) for low, high in region]
    except (TypeError, ValueError):
        raise InputError(f"{what} {region!r} is not ((z0, z1), (y0, y1), (x0, x1))") from None
    if len(ranges) != 3 or any(
        not 0 <= a < b <= n for (a, b), n in zip(ranges, shape, strict=True)
    ):
        raise InputError(
            f"{what} {tuple(ranges)} does not lie inside the volume of {tuple(shape)} voxels (z, y, x); "
            "expected 0 <= start < end <= size along each axis"
        )
    return (ranges[0], ranges[1], ranges[2])


def coarsened(region: Region, factors: Sequence[int]) -> Region:
    """Return the voxels of the level coarser by whole (z, y, x) factors that depend on a region."""
    z, y, x = ((low // f, -(-high // f)) for (low, high), f in zip(region, factors, strict=True))
    return (z, y, x)


def refined(region: Region, factors: Sequence[int], shape: Sequence[int]) -> Region:
    """Return the voxels of the level finer by whole (z, y, x) factors, of this shape, below a region."""
    z, y, x = (
        (low * f, min(high * f, n))
        for (low, high), f, n in zip(region, factors, shape, strict=True)
    )
    return (z, y, x)


def evenly(items: Sequence[T], count: int) -> list[T]:
    """Choose at most so many items, evenly: the first and last among them, or the middle one of all."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[len(items) // 2]]
    step = (len(items) - 1) / (count - 1)
    return [*(items[round(place * step)] for place in range(count - 1)), items[-1]]


@dataclass(frozen=True)
class Grid:
    """A (z, y, x) shape cut into storage objects of one shape; those at the far border may be cut short.

    Parameters
    ----------
    shape
        Voxels of the array.
    chunk
        Voxels of a storage object: a chunk, or a shard where the array is sharded.
    """

    shape: Triple
    chunk: Triple

    @property
    def counts(self) -> Triple:
        """Number of objects along z, y, x."""
        z, y, x = (-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True))
        return (z, y, x)

    def index_of(self, region: Region) -> Iterator[Triple]:
        """Yield the indices of the objects that a region touches, in z, y, x order."""
        z, y, x = (
            range(low // c, -(-high // c))
            for (low, high), c in zip(region, self.chunk, strict=True)
        )
        yield from product(z, y, x)

    def region(self, index: Sequence[int]) -> Region:
        """Return the voxels of the object of an index, cut at the array's border."""
        z, y, x = (
            (i * c, min((i + 1) * c, n))
            for i, c, n in zip(index, self.chunk, self.shape, strict=True)
        )
        return (z, y, x)

    def whole(self, region: Region) -> Region:
        """Return a region enlarged to whole objects, cut at the array's border."""
        z, y, x = (
            (low // c * c, min(-(-high // c) * c, n))
            for (low, high), c, n in zip(region, self.chunk, self.shape, strict=True)
        )
        return (z, y, x)

    def is_whole(self, region: Region) -> bool:
        """Tell whether a region is made of whole objects."""
        return self.whole(region) == tuple(map(tuple, region))

    def blocks(self, multiple: Sequence[int] = (1, 1, 1)) -> Iterator[Region]:
        """Yield regions of `multiple` whole objects along z, y, x that together cover the array, in z, y, x order."""
        z, y, x = (c * m for c, m in zip(self.chunk, multiple, strict=True))
        coarse = Grid(self.shape, (z, y, x))
        for index in product(*map(range, coarse.counts)):
            yield coarse.region(index)
