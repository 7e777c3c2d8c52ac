"""Fragments followed from slice to slice: a chain is what one object looks like to a model that sees slices alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

NECK = 2.0
"""Two swellings of one chain are two objects where both are so many times as large as the neck between them."""
FLATTEST = 0.25
"""How tall an object is at least, of its width: what is seen on one slice where several would show it is none."""


def matches(labels: NDArray[np.int32], following: NDArray[np.int32]) -> NDArray[np.int64]:
    """Match the fragments of a slice with those of the next one.

    Two match where each shares more voxels with the other than with any else, and the smaller one lies on the other by
    half at least. Of equals the lower number counts.

    Parameters
    ----------
    labels, following
        (y, x) of both slices, each numbered from 1, 0 for none.

    Returns
    -------
    ndarray (m, 2) int64
        Numbers here and there, by number here; each number stands once at most in its column.
    """
    meet = (labels > 0) & (following > 0)
    pairs = np.stack([labels[meet], following[meet]], axis=1).astype(np.int64)
    found, shared = np.unique(pairs, axis=0, return_counts=True)
    if not len(found):
        return np.zeros((0, 2), np.int64)
    here, there = found.T
    areas = np.bincount(labels.ravel())[here], np.bincount(following.ravel())[there]
    best = _first_of_most(here, shared) & _first_of_most(there, shared)
    return np.asarray(found[best & (2 * shared >= np.minimum(*areas))])


def _first_of_most(numbers: NDArray[np.int64], shared: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which pair has the most shared voxels of all pairs with its number, the first of equals."""
    order = np.lexsort((np.arange(len(numbers)), -shared, numbers))
    first = np.ones(len(numbers), bool)
    first[1:] = numbers[order][1:] != numbers[order][:-1]
    best = np.zeros(len(numbers), bool)
    best[order[first]] = True
    return best


def swellings(
    areas: NDArray[np.int64], links: Iterable[tuple[int, int]], anisotropy: float, slices: int
) -> NDArray[np.int64]:
    """Find where each object is largest: the swellings of every chain.

    Parameters
    ----------
    areas
        (n,) voxels of each fragment.
    links
        Pairs of fragments of neighbouring slices that match, as indices; each has one before and one after it at most.
    anisotropy
        Distance of two slices in voxels of a slice.
    slices
        Of the volume: an object can't be seen on more.

    Returns
    -------
    ndarray (m,) int64
        Indices of fragments, in rising order.
    """
    after = np.full(len(areas), -1, np.int64)
    begins = np.ones(len(areas), bool)
    for one, other in links:
        after[one] = other
        begins[other] = False
    found: list[int] = []
    for start in np.flatnonzero(begins):
        chain = [int(start)]
        while after[chain[-1]] >= 0:
            chain.append(int(after[chain[-1]]))
        found += _largest(chain, areas, anisotropy, slices)
    return np.array(sorted(found), np.int64)


def _largest(
    chain: list[int], areas: NDArray[np.int64], anisotropy: float, slices: int
) -> list[int]:
    from scipy.signal import find_peaks

    of = areas[chain]
    width = 2 * math.sqrt(int(of.max()) / math.pi)
    if len(chain) == 1 and slices > 1 and math.ceil(FLATTEST * width / anisotropy) > 1:
        return []
    profile = np.concatenate([[-1.0], np.log(of), [-1.0]])  # whatever is there ends on both sides
    peaks, _ = find_peaks(profile, prominence=math.log(NECK))
    return [chain[int(peak) - 1] for peak in peaks] or [chain[int(of.argmax())]]
