"""Where fragments meet, within a slice and from one slice to the next: how long, and how surely they are one object.

Affinities are bytes and sums are integers: any order of adding gives the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONTACT = np.dtype([("a", "<i8"), ("b", "<i8"), ("affinity", "<i8"), ("count", "<i8")])
"""A contact: two fragments, the sum of affinities (0..255) where they meet, and at how many voxels."""
SHARED = 4
"""Of the smaller of two fragments of neighbouring slices so much (a quarter) has to lie on the other, or what is
missing counts as no affinity: a sliver does not join two large fragments."""
WIDTH = 2
"""Within a slice the contact has to be half as long as the smaller one's area is wide, likewise: a few voxels through a
gap in a wall don't join."""


def contacts_within(labels: NDArray[np.int32], boundary: NDArray[np.uint8]) -> NDArray[np.void]:
    """Contacts of one slice's fragments.

    Parameters
    ----------
    labels
        (y, x), 0 for none.
    boundary
        (y, x): affinity is what it lacks to 255, the higher of the two voxels deciding.
    """
    parts = []
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        a, b = labels[here], labels[there]
        meet = (a != b) & (a > 0) & (b > 0)
        edge = np.maximum(boundary[here][meet], boundary[there][meet])
        parts.append((a[meet], b[meet], 255 - edge.astype(np.int64)))
    a, b, values = (np.concatenate([part[i] for part in parts]) for i in range(3))
    found = summed(np.minimum(a, b), np.maximum(a, b), values)
    areas = np.bincount(labels.ravel())
    smaller = np.minimum(areas[found["a"]], areas[found["b"]])
    found["count"] = np.maximum(
        found["count"], np.floor(np.sqrt(smaller)).astype(np.int64) // WIDTH
    )
    return found


def contacts_across(
    labels: NDArray[np.int32], following: NDArray[np.int32], affinity: NDArray[np.uint8]
) -> NDArray[np.void]:
    """Contacts of a slice's fragments (a) with those of the next slice (b).

    Parameters
    ----------
    labels, following
        (y, x) of both slices, each numbered from 1.
    affinity
        (y, x), from the slice to the next.
    """
    meet = (labels > 0) & (following > 0)
    found = summed(labels[meet], following[meet], affinity[meet].astype(np.int64))
    smaller = np.minimum(
        np.bincount(labels.ravel())[found["a"]], np.bincount(following.ravel())[found["b"]]
    )
    found["count"] = np.maximum(found["count"], smaller // SHARED)
    return found


def summed(
    a: NDArray[np.integer], b: NDArray[np.integer], values: NDArray[np.int64]
) -> NDArray[np.void]:
    """Sum values by pair; ordered by pair."""
    pairs = np.stack([a, b], axis=1).astype(np.int64)
    unique, inverse = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    found = np.zeros(len(unique), CONTACT)
    found["a"], found["b"] = unique.T
    np.add.at(found["affinity"], inverse.ravel(), values)
    np.add.at(found["count"], inverse.ravel(), 1)
    return found
