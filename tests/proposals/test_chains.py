"""Chains of fragments: each object once, where it is largest."""

from __future__ import annotations

import numpy as np

from volseg.proposals.chains import matches, swellings


def test_fragments_match_where_each_is_the_others_best() -> None:
    here, there = np.zeros((2, 20, 40), np.int32)
    here[2:12, 2:12], here[2:12, 14:24], here[15:18, 30:33] = 1, 2, 3
    there[3:13, 3:13], there[2:12, 20:24], there[2:12, 14:20] = 7, 5, 6
    there[17:20, 30:40] = 8  # a third of fragment 3 alone
    assert matches(here, there).tolist() == [[1, 7], [2, 6]]
    assert matches(here, np.zeros_like(here)).shape == (0, 2)
    twins = np.zeros((4, 8), np.int32)
    twins[:, :4], twins[:, 4:] = 1, 2
    assert matches(np.ones((4, 8), np.int32), twins).tolist() == [[1, 1]]


def test_each_object_is_found_once_and_stacked_ones_each() -> None:
    ball = [20, 60, 90, 100, 90, 60, 20]
    stacked = [30, 100, 40, 90, 25]  # the neck is less than half of both
    flat = [400]  # on one slice alone, though 22 voxels wide
    speck = [2]
    areas, links = [], []
    for chain in (ball, stacked, flat, speck):
        links += [(len(areas) + i, len(areas) + i + 1) for i in range(len(chain) - 1)]
        areas += chain
    found = swellings(np.array(areas), links, 1.0, 7)
    assert [areas[i] for i in found] == [100, 100, 90, 2]
    assert swellings(np.array([400]), [], 1.0, 1).tolist() == [0]  # a picture has one slice
    assert swellings(np.array([400]), [], 20.0, 7).tolist() == [0]  # thick slices
    assert swellings(np.array([5, 5, 5]), [(0, 1), (1, 2)], 1.0, 3).tolist() == [1]
    assert not len(swellings(np.zeros(0, np.int64), [], 1.0, 3))
