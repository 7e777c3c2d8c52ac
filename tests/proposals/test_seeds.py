"""Seeds: the highest within their radius, whatever the order in which fragments come."""

from __future__ import annotations

import numpy as np

from volseg.proposals.fragments import FRAGMENT
from volseg.proposals.seeds import seeds_of


def fragment(z: int, y: int, x: int, height: int, radius: float, area: int) -> tuple[object, ...]:
    return (z, y, x, 1, height, radius, area, 0.9, (0, 0, 1, 1))


def test_a_deepest_place_that_moves_between_slices_is_one_seed() -> None:
    # a disc of radius 10 whose depth is told as 3, its deepest place moving by 5
    rows = [fragment(z, 20 + 5 * (z % 2), 20, 100 + z, 3, 314) for z in range(6)]
    rows.append(fragment(2, 20, 60, 90, 3, 314))  # another object, too far away
    table = np.array(rows, FRAGMENT)
    assert seeds_of(table, 2.0).tolist() == [6, 5]


def test_order_decides_nothing_and_of_equals_the_first_stays() -> None:
    rng = np.random.default_rng(0)
    places = np.unique(rng.integers(0, 60, (80, 3)), axis=0)
    rows = [fragment(*map(int, p), int(rng.integers(50, 60)), 12.0, 400) for p in places]
    table = np.array(rows, FRAGMENT)
    expected = table[seeds_of(table, 1.5)]
    assert 1 < len(expected) < len(table)
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(table)
        assert np.array_equal(mixed[seeds_of(mixed, 1.5)], expected)
    twins = np.array([fragment(0, 5, 5, 9, 4, 50), fragment(0, 5, 7, 9, 4, 50)], FRAGMENT)
    assert seeds_of(twins, 1.0).tolist() == [0]
    assert not len(seeds_of(table[:0], 1.0))
