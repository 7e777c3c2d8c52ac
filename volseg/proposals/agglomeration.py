"""Joins fragments to regions: always the two of the highest mean affinity next, down to a threshold.

The order is that of the values, then of the ids, so that the same graph gives the same regions however it was cut up,
stored and read (mean-affinity agglomeration; Funke et al., TPAMI 2019).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5


@dataclass(frozen=True)
class Regions:
    """What became of fragments.

    Parameters
    ----------
    root
        (n,) int64: of each fragment, the lowest number among those of its region.
    affinity
        (n,) float64: of a root, the mean affinity of the contacts within its region, 0..1; NaN where it has none.
    """

    root: NDArray[np.int64]
    affinity: NDArray[np.float64]


def agglomerate(count: int, contacts: NDArray[np.void], threshold: float = THRESHOLD) -> Regions:
    """Join fragments.

    Parameters
    ----------
    count
        Number of fragments, numbered from 0.
    contacts
        (n,) of `volseg.proposals.contacts.CONTACT`; several of a pair are added up.
    threshold
        Mean affinity, 0..1, below which nothing is joined.
    """
    sides = _adjacency(contacts)
    least = round(threshold * 255 * _UNIT)
    heap = [(-_value(s, n), a, b) for a, of in sides.items() for b, (s, n) in of.items() if a < b]
    heapq.heapify(heap)
    parent = np.arange(count, dtype=np.int64)
    while heap and -heap[0][0] >= least:
        negative, a, b = heapq.heappop(heap)
        known = sides.get(a, {}).get(b)
        if known is None or _value(*known) != -negative:
            continue  # one of both was joined with others since
        parent[b] = a
        del sides[a][b]
        for other, (affinity, length) in sides.pop(b).items():
            if other == a:
                continue
            more = sides[a].get(other, (0, 0))
            joined = affinity + more[0], length + more[1]
            sides[a][other] = sides[other][a] = joined
            del sides[other][b]
            heapq.heappush(heap, (-_value(*joined), min(a, other), max(a, other)))
    root = _roots(parent)
    return Regions(root, _within(root, contacts))


_UNIT = 1 << 16  # values are whole numbers: mean affinity in 1/65536 of a step


def _value(affinity: int, count: int) -> int:
    return affinity * _UNIT // count


def _adjacency(contacts: NDArray[np.void]) -> dict[int, dict[int, tuple[int, int]]]:
    sides: dict[int, dict[int, tuple[int, int]]] = {}
    columns = (contacts[name].tolist() for name in ("a", "b", "affinity", "count"))
    for a, b, affinity, count in zip(*columns, strict=True):
        before = sides.setdefault(a, {}).get(b, (0, 0))
        both = before[0] + affinity, before[1] + count
        sides[a][b] = both
        sides.setdefault(b, {})[a] = both
    return sides


def _roots(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Follow parents, which are always lower, to the end."""
    while True:
        above = parent[parent]
        if np.array_equal(above, parent):
            return parent
        parent = above


def _within(root: NDArray[np.int64], contacts: NDArray[np.void]) -> NDArray[np.float64]:
    a, b = root[contacts["a"]], root[contacts["b"]]
    inside = a == b
    sums = np.bincount(a[inside], contacts["affinity"][inside], minlength=len(root))
    counts = np.bincount(a[inside], contacts["count"][inside], minlength=len(root))
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts / 255)
