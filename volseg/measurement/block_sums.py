"""The sums of one block of a label image and its image: everything that features are made of, in whole numbers.

A block comes with a margin, so that each voxel's share is the same however the volume is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from volseg.geometry import Triple
from volseg.measurement.brightness import BINS, BrightnessScale
from volseg.measurement.crofton import directions
from volseg.measurement.definition import SCALES, FeatureDefinition
from volseg.measurement.starlet import details, reach
from volseg.measurement.sums import Columns, Grouping, ObjectSums
from volseg.measurement.tally import numbered

_T = TypeVar("_T", bound=np.generic)
MOST = np.iinfo(np.int64).max
BLOCK_VOXELS = 2**21
"""Most voxels of a block, so that sums of squares stay exact where they pass through float64."""


def margin_of(definition: FeatureDefinition) -> Triple:
    """Return the margin (z, y, x) in voxels that a block needs on each side."""
    side = max(reach(SCALES) if definition.channels else 1, definition.ring)
    return (1, side, side)


@dataclass(frozen=True)
class _Objects:
    """The objects of a block: their ids, the block with places from 1 (0: background), and its voxels grouped."""

    ids: NDArray[np.int64]
    places: NDArray[np.int32]
    """With the margin; objects that lie in the margin only have places, too."""
    inside: NDArray[np.int64]
    """Flat places, in the block without the margin, of the voxels that belong to an object."""
    groups: Grouping
    own: NDArray[np.int64]
    """Which of `ids` lie in the block without the margin."""


@dataclass(frozen=True)
class BlockSums:
    """What one block gives: its sums, and how its voxels are grouped, for whoever has more to add up.

    Attributes
    ----------
    sums : ObjectSums
        Of the objects of the block, and of those outside whose rings reach into it.
    own : ndarray of int64 (n,)
        Ids of the objects that have voxels in the block.
    groups : Grouping
        Of the voxels that belong to objects, by the places of `own`.
    inside : ndarray of int64 (m,)
        Their flat places in the block without its margin.
    """

    sums: ObjectSums
    own: NDArray[np.int64]
    groups: Grouping
    inside: NDArray[np.int64]


def sum_block(
    labels: NDArray[np.integer],
    image: Sequence[NDArray[np.generic]],
    origin: Triple,
    definition: FeatureDefinition,
    scales: Sequence[BrightnessScale],
) -> BlockSums | None:
    """Add up one block.

    Parameters
    ----------
    labels : ndarray (z, y, x)
        Ids with the margin of `margin_of`, background outside of the volume.
    image : sequence of ndarray (z, y, x)
        Each channel of the definition, with the same margin, the border's value outside of the volume.
    origin
        Voxel (z, y, x) of the volume at which the block without its margin begins.
    definition
        What is measured.
    scales
        One per channel.

    Returns
    -------
    BlockSums or None
        None where neither the block nor its margin holds an object.
    """
    margin = margin_of(definition)
    objects = _objects(labels, margin)
    if objects is None:
        return None
    core = core_of(objects.places, margin)
    around = _surroundings(objects, margin, definition.ring)
    add, low, high = _shape(objects, core.shape, origin)
    rings: Columns = {}
    for channel, data, scale in zip(definition.channels, image, scales, strict=True):
        sums = _channel(objects, around, scale.steps(data), margin, scale, origin)
        ring = _ring(objects, around, scale.steps(core_of(data, margin)))
        for kind, found in zip((add, low, high, rings), (*sums, ring), strict=True):
            kind |= {f"{name}-{channel}": values for name, values in found.items()}
    rings["crossings"] = _crossings(objects, margin, definition.flat)
    kept = np.union1d(objects.own, around.owners).astype(np.int64)
    spread = _Spread(np.searchsorted(kept, objects.own), len(kept))
    add = spread(add, 0) | {name: values[kept] for name, values in rings.items()}
    total = ObjectSums(objects.ids[kept], add, spread(low, MOST), spread(high, -MOST), around.pairs)
    return BlockSums(total, objects.ids[objects.own], objects.groups, objects.inside)


def core_of(data: NDArray[_T], margin: Triple) -> NDArray[_T]:
    """Return a block without its margin."""
    return data[tuple(slice(m, n - m) for m, n in zip(margin, data.shape, strict=True))]


def _objects(labels: NDArray[np.integer], margin: Triple) -> _Objects | None:
    positive = np.where(labels > 0, labels, 0)
    if not positive.any():
        return None
    known, places = numbered(positive.reshape(-1))
    if int(known[0]) != 0:
        known, places = np.concatenate([[0], known]).astype(known.dtype), places + 1
    local = places.reshape(labels.shape).astype(np.int32)
    flat = core_of(local, margin).reshape(-1)
    inside = np.flatnonzero(flat)
    own, owners = numbered(flat[inside])
    groups = Grouping(owners, len(own))
    return _Objects(known.astype(np.int64), local, inside, groups, own.astype(np.int64))


class _Spread:
    """Puts rows of some objects among those of others."""

    def __init__(self, places: NDArray[np.int64], count: int) -> None:
        self._places, self._count = places, count

    def __call__(self, columns: Columns, rest: int) -> Columns:
        found = {}
        for name, values in columns.items():
            found[name] = np.full((self._count, *values.shape[1:]), rest, np.int64)
            found[name][self._places] = values
        return found


def _shape(objects: _Objects, shape: Triple, origin: Triple) -> tuple[Columns, Columns, Columns]:
    """Voxels, first and second moments, and bounds, in voxels of the volume."""
    groups = objects.groups
    at = np.unravel_index(objects.inside, shape)
    z, y, x = (groups.sorted(a) + o for a, o in zip(at, origin, strict=True))
    add = {"voxels": groups.add(np.ones_like(z))}
    for name, values in (
        ("z", z), ("y", y), ("x", x), ("zz", z * z), ("yy", y * y), ("xx", x * x),
        ("zy", z * y), ("zx", z * x), ("yx", y * x),
    ):  # fmt: skip
        add[name] = groups.add(values)
    low = {name: groups.low(v) for name, v in (("z", z), ("y", y), ("x", x))}
    high = {name: groups.high(v) for name, v in (("z", z), ("y", y), ("x", x))}
    return add, low, high


def _crossings(objects: _Objects, margin: Triple, flat: bool) -> NDArray[np.int64]:
    """How often lines along each direction leave an object (ids, directions); see `crofton`."""
    core = core_of(objects.places, margin)
    columns = []
    for offset in directions(flat):
        count = np.zeros(len(objects.ids), np.int64)
        for sign in (1, -1):
            there = _shifted(objects.places, [sign * d for d in offset], margin)
            count += np.bincount(core[(core != there) & (core > 0)], minlength=len(count))
        columns.append(count)
    return np.stack(columns, axis=1)


def _shifted(data: NDArray[_T], shift: Sequence[int], margin: Triple) -> NDArray[_T]:
    """Return what lies `shift` (z, y, x) voxels from each voxel of a block without its margin."""
    parts = zip(margin, data.shape, shift, strict=True)
    return data[tuple(slice(m + s, n - m + s) for m, n, s in parts)]


@dataclass(frozen=True)
class _Surroundings:
    """Rings around objects, their edges, and who touches whom.

    Attributes
    ----------
    edge : ndarray of bool
        Flat, of the block without its margin: voxels of objects near anything else.
    voxels, owners : ndarray (k,)
        Flat places of voxels of rings, and the place among `_Objects.ids` of the object that each is around.
    pairs : ndarray of int64 (m, 2)
        As in `ObjectSums`.
    """

    edge: NDArray[np.bool_]
    voxels: NDArray[np.int64]
    owners: NDArray[np.int32]
    pairs: NDArray[np.int64]


def _surroundings(objects: _Objects, margin: Triple, ring: int) -> _Surroundings:
    """Look at the window of the slice around each voxel, `ring` voxels to each side.

    A voxel of background belongs to the rings of the objects with the least and the greatest id in its window; a voxel
    of an object to its edge where its window holds anything else.
    """
    from scipy import ndimage

    window = (1, 2 * ring + 1, 2 * ring + 1)
    places, nobody = objects.places, len(objects.ids)
    greatest = core_of(ndimage.maximum_filter(places, window), margin)
    filled = np.where(places == 0, nobody, places).astype(np.int32)
    least = core_of(ndimage.minimum_filter(filled, window), margin)
    bare = core_of(ndimage.minimum_filter(places, window), margin) == 0
    core = core_of(places, margin)
    background = core == 0
    edge = (bare | (greatest != core) | (least != core)) & ~background
    first = background & (greatest > 0)
    second = first & (least != greatest)
    pairs = []
    for other in (greatest, least):
        mask = (core > 0) & (other != core)
        low, high = np.minimum(core[mask], other[mask]), np.maximum(core[mask], other[mask])
        pairs.append(low.astype(np.int64) * nobody + high)
    return _Surroundings(
        edge.reshape(-1),
        np.concatenate([np.flatnonzero(first), np.flatnonzero(second)]),
        np.concatenate([greatest[first], least[second]]),
        objects.ids[np.stack(np.divmod(np.unique(np.concatenate(pairs)), nobody), axis=1)],
    )


def _channel(
    objects: _Objects,
    around: _Surroundings,
    steps: NDArray[np.int32],
    margin: Triple,
    scale: BrightnessScale,
    origin: Triple,
) -> tuple[Columns, Columns, Columns]:
    """Brightness, its histogram, details by size, gradients, and the change to the next slice."""
    groups, inside = objects.groups, objects.inside
    core = core_of(steps, margin)

    def sorted_(values: NDArray[np.generic]) -> NDArray[np.int64]:
        return groups.sorted(values.reshape(-1)[inside])

    value = sorted_(core)
    bins = scale.bins(value)
    add = {"sum": groups.add(value), "squares": groups.add(value * value)}
    counts = np.bincount(groups.owners * BINS + bins, minlength=groups.count * BINS)
    add["histogram"] = counts.reshape(groups.count, BINS).astype(np.int64)
    edge = sorted_(around.edge)
    add |= {"edge": groups.add(edge), "edge_sum": groups.add(edge * value)}
    add["bins"] = groups.add(bins)
    at = np.unravel_index(inside, core.shape)
    for name, where, first in zip("zyx", at, origin, strict=True):
        add[f"bins_{name}"] = groups.add(bins * (groups.sorted(where) + first))
    low, high = {"value": groups.low(value)}, {"value": groups.high(value)}
    side = reach(SCALES)
    spare = tuple(m - (0 if axis == 0 else side) for axis, m in enumerate(margin))
    wide = core_of(steps, (margin[0], spare[1], spare[2]))
    for k, band in enumerate(details(wide, SCALES)):
        detail = sorted_(band)
        add[f"detail_{k}"] = groups.add(detail * detail)
        add[f"inner_{k}"] = groups.add(detail * detail * (1 - edge))
        low[f"inner_{k}"] = groups.low(np.where(edge > 0, MOST, detail))
        high[f"inner_{k}"] = groups.high(np.where(edge > 0, -MOST, detail))
        low[f"detail_{k}"], high[f"detail_{k}"] = groups.low(detail), groups.high(detail)
    dy, dx = (
        sorted_(_shifted(steps, ahead, margin) - _shifted(steps, behind, margin))
        for ahead, behind in (((0, 1, 0), (0, -1, 0)), ((0, 0, 1), (0, 0, -1)))
    )
    add |= {"gyy": groups.add(dy * dy), "gxx": groups.add(dx * dx), "gyx": groups.add(dy * dx)}
    same = core_of(objects.places, margin) == _shifted(objects.places, (1, 0, 0), margin)
    dz = sorted_((_shifted(steps, (1, 0, 0), margin) - core) * same)
    add |= {"gzz": groups.add(dz * dz), "gz": groups.add(sorted_(same))}
    return add, low, high


def _ring(
    objects: _Objects, around: _Surroundings, steps: NDArray[np.int32]
) -> dict[str, NDArray[np.int64]]:
    """Brightness of rings (ids,)."""
    value = steps.reshape(-1)[around.voxels].astype(np.float64)
    count = len(objects.ids)
    return {
        name: np.bincount(around.owners, weights, count).astype(np.int64)
        for name, weights in (
            ("ring", np.ones_like(value)), ("ring_sum", value), ("ring_squares", value * value)
        )
    }  # fmt: skip
