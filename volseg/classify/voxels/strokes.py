"""Strokes: what people labelled, voxel by voxel. Only labelled voxels ever leave this module (invariant 14)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.geometry import region_origin

if TYPE_CHECKING:
    from volseg.images.labels import Labels

MOST_VOXELS = 200_000
"""Voxels of an image that are learned from; of more, an even share of every class."""
MOST_CLASSES = 255
_AFTER = [shift for shift in product((-1, 0, 1), repeat=3) if shift > (0, 0, 0)]


@dataclass(frozen=True)
class Strokes:
    """Labelled voxels of one image, in the order of t, z, y, x.

    Parameters
    ----------
    places
        (n, 4) int64: t, z, y, x.
    classes
        (n,) int64, from 1.
    strokes
        (n,) int64: number of the stroke, from 0: a connected component (26 neighbours) of one class and time.
    """

    places: NDArray[np.int64]
    classes: NDArray[np.int64]
    strokes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def count(self) -> int:
        """Number of strokes."""
        return int(self.strokes.max()) + 1 if len(self) else 0


def read_strokes(labels: Labels) -> Strokes:
    """Read the strokes of a label image of class numbers.

    Memory: a storage object and the labelled voxels that are kept.

    Raises
    ------
    InputError
        If nothing is labelled, or there are more numbers than classes: ids of objects.
    """
    counts = _count(labels)
    if not counts:
        raise InputError(
            f"{labels.location} has no labelled voxel; draw strokes of at least two classes"
        )
    if len(counts) > MOST_CLASSES:
        raise InputError(
            f"{labels.location} has {len(counts)} different numbers; scribbles hold class numbers, at most "
            f"{MOST_CLASSES}: these look like ids of objects"
        )
    share = min(1.0, MOST_VOXELS / sum(counts.values()))
    parts = [
        (places[chosen], classes[chosen])
        for places, classes in _labelled(labels)
        for chosen in [_drawn(places) < share]
    ]
    places = np.concatenate([place for place, _ in parts])
    classes = np.concatenate([number for _, number in parts])
    order = np.lexsort(places.T[::-1])
    return strokes_of(places[order], classes[order])


def strokes_of(places: NDArray[np.int64], classes: NDArray[np.int64]) -> Strokes:
    """Group labelled voxels, sorted by t, z, y, x, into strokes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(classes)
    low = places.min(axis=0) - 1
    extent = places.max(axis=0) - low + 2  # a margin, so that no shift leads round an edge
    steps = np.array([extent[1] * extent[2] * extent[3], extent[2] * extent[3], extent[3], 1])
    keys = (places - low) @ steps
    pairs = []
    for shift in _AFTER:
        wanted = keys + np.array(shift) @ steps[1:]
        at = np.minimum(np.searchsorted(keys, wanted), n - 1)
        same = (keys[at] == wanted) & (classes[at] == classes)
        pairs.append(np.stack([np.flatnonzero(same), at[same]]))
    one, other = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), (n, n))
    _, group = connected_components(graph, directed=False)
    _, first = np.unique(group, return_index=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))  # numbered by their first voxels
    return Strokes(places, classes, rank[group])


def _count(labels: Labels) -> dict[int, int]:
    """Return how many voxels each class has."""
    counts: dict[int, int] = {}
    for _, classes in _labelled(labels):
        for number, n in zip(*np.unique(classes, return_counts=True), strict=True):
            counts[int(number)] = counts.get(int(number), 0) + int(n)
    return counts


def _labelled(labels: Labels) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield places (n, 4) and classes (n,) of the labelled voxels of each storage object."""
    for time, region in product(range(labels.n_times), labels.grid.blocks()):
        data = labels.read(region, time=time)
        found = np.argwhere(data > 0)
        if len(found):
            places = np.empty((len(found), 4), np.int64)
            places[:, 0] = time
            places[:, 1:] = found + region_origin(region)
            yield places, data[tuple(found.T)].astype(np.int64)


def _drawn(places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a number in 0..1 for each place that depends on the place alone (a Weyl sequence's hash)."""
    mixed = np.zeros(len(places), np.uint64)
    with np.errstate(over="ignore"):
        for column in places.T:
            mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
    return np.asarray((mixed >> np.uint64(11)) / float(1 << 53))
