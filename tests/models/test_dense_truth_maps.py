"""Exact maps of labelled tiles: what foreground, boundary, depth and affinities are, and where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from volseg.errors import InputError
from volseg.models.dense import MAPS, depth_of_distance
from volseg.models.dense_truth_maps import TruthMaps, truth_maps

NAMES = [m.name for m in MAPS]


def squares(size: int = 64) -> np.ndarray:
    """Two objects that touch at column 32, background around."""
    labels = np.zeros((size, size), np.int32)
    labels[16:48, 12:32] = 4
    labels[16:48, 32:50] = 9
    return labels


def pick(found: TruthMaps, name: str) -> tuple[np.ndarray, np.ndarray]:
    index = NAMES.index(name)
    return found.maps[index], found.weights[index]


def test_shapes_and_ranges() -> None:
    found = truth_maps(squares(), following=squares())
    assert found.maps.shape == found.weights.shape == (len(MAPS), 32, 32)
    assert found.maps.dtype == found.weights.dtype == np.float32
    assert 0 <= found.maps.min() <= found.maps.max() <= 1
    assert 0 <= found.weights.min() <= found.weights.max() <= 1


def test_foreground_is_the_part_that_objects_cover() -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[2:4, 2] = 1
    labels[5, 5] = 7
    foreground, weights = pick(truth_maps(labels), "foreground")
    assert foreground[1, 1] == 0.5
    assert foreground[2, 2] == 0.25
    assert foreground.sum() == 0.75
    assert (weights == 1).all()


def test_boundary_lies_on_both_sides_of_a_change_of_label() -> None:
    boundary, _ = pick(truth_maps(squares()), "boundary")
    row = boundary[16]
    assert row[5] == row[6] == 1  # background | first object
    assert row[15] == row[16] == 1  # first | second object
    assert row[10] == row[20] == row[0] == 0


def test_depth_counts_from_the_outermost_pixels() -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[10:50, 10:50] = 1
    depth, weights = pick(truth_maps(labels), "depth")
    ramp = np.minimum(np.arange(64) - 9, 50 - np.arange(64)).clip(min=0)
    exact = depth_of_distance(np.minimum(ramp[:, None], ramp))
    np.testing.assert_allclose(depth, exact.reshape(32, 2, 32, 2).mean((1, 3)), rtol=1e-5)
    assert (weights == 1).all()


def test_touching_objects_are_shallow_where_they_touch() -> None:
    depth, _ = pick(truth_maps(squares()), "depth")
    assert depth[16, 15] < depth[16, 11] > depth[16, 6]


def test_an_object_that_the_tile_cuts_has_no_known_depth_at_the_cut() -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[20:40, :30] = 1
    _, weights = pick(truth_maps(labels), "depth")
    assert weights[15, 0] == 0
    assert weights[15, 14] == 1
    assert weights[5, 0] == 1  # background


@pytest.mark.parametrize("value", [0, 3])
def test_a_tile_of_one_label(value: int) -> None:
    found = truth_maps(np.full((64, 64), value, np.int32))
    foreground, _ = pick(found, "foreground")
    assert (foreground == (value > 0)).all()
    boundary, _ = pick(found, "boundary")
    assert not boundary.any()
    depth, weights = pick(found, "depth")
    assert (depth == (value > 0)).all()
    assert (weights == (value == 0)).all()  # no edge in sight: nobody knows how deep
    affinity, known = pick(found, "affinity +0 +1 +0")
    assert (affinity[:-1] == (value > 0)).all()
    assert known.sum() == (31 * 32 if value else 0)


def test_affinities_know_same_different_and_beyond() -> None:
    found = truth_maps(squares())
    affinity, weights = pick(found, "affinity +0 +0 +9")
    assert affinity[16, 6] == 1 == weights[16, 6]
    assert affinity[16, 14] == 0
    assert weights[16, 14] == 1  # first and second object
    assert weights[0, 0] == 0  # both background
    assert weights[16, 25] == 0  # its partner lies beyond the tile
    diagonal, weights = pick(found, "affinity +0 +3 -3")
    assert diagonal[12, 12] == 1
    assert diagonal[12, 17] == 0 < weights[12, 17]


def test_the_next_slice() -> None:
    here, there = squares(), squares()
    there[there == 9] = 0
    affinity, weights = pick(truth_maps(here, following=there), "affinity +1 +0 +0")
    assert affinity[16, 10] == 1
    assert affinity[16, 20] == 0 < weights[16, 20]
    assert weights[0, 0] == 0
    _, alone = pick(truth_maps(here), "affinity +1 +0 +0")
    assert not alone.any()


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_what_nobody_labelled_says_nothing(seed: int) -> None:
    rng = default_rng(seed)
    labels = np.kron(rng.integers(0, 4, (8, 8)), np.ones((4, 4), int)).astype(np.int32)
    known = np.kron(rng.random((16, 16)) < 0.6, np.ones((2, 2), bool))
    flipped = np.where(known, labels, rng.integers(0, 9, labels.shape))
    one = truth_maps(labels, known, labels, known)
    two = truth_maps(flipped, known, flipped, known)
    assert one.maps.tobytes() == two.maps.tobytes()
    assert one.weights.tobytes() == two.weights.tobytes()
    nowhere = ~known[1::2, 1::2]
    assert not one.weights[:, nowhere].any()


def test_all_unknown_is_worth_nothing() -> None:
    found = truth_maps(squares(), np.zeros((64, 64), bool), squares(), np.zeros((64, 64), bool))
    assert not found.weights.any()
    assert np.isfinite(found.maps).all()


def test_odd_tiles_are_refused() -> None:
    with pytest.raises(InputError, match="even"):
        truth_maps(np.zeros((64, 17), np.int32))
