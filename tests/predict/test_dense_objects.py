"""Objects out of maps: separate where depth says so, the same whatever stands around, nothing out of nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from volseg.errors import InputError
from volseg.models.dense import MAPS
from volseg.models.dense_truth_maps import truth_maps
from volseg.predict.dense_objects import WatershedSettings, watershed_objects

Maps = tuple[np.ndarray, np.ndarray, np.ndarray]


def discs(*discs: tuple[int, int, int], size: int = 128) -> np.ndarray:
    """Labelled discs (y, x, radius); a later one lies below earlier ones."""
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for number, (cy, cx, radius) in enumerate(discs, 1):
        labels[((y - cy) ** 2 + (x - cx) ** 2 < radius**2) & (labels == 0)] = number
    return labels


def maps_of(labels: np.ndarray, blur: float = 0.7) -> Maps:
    """Maps at the labels' own size."""
    found = truth_maps(np.kron(labels, np.ones((2, 2), int))).maps[:3]
    soft = ndimage.gaussian_filter(found, (0, blur, blur))
    return soft[0], soft[1], soft[2]


def same_partition(first: np.ndarray, second: np.ndarray) -> float:
    """The least IoU of an object with its best partner."""
    scores = []
    for number in range(1, first.max() + 1):
        mask = first == number
        partner = np.bincount(second[mask]).argmax()
        other = second == partner
        scores.append((mask & other).sum() / (mask | other).sum() if partner else 0.0)
    return min(scores)


def test_maps_are_named() -> None:
    assert [m.name for m in MAPS[:3]] == ["foreground", "boundary", "depth"]


@pytest.mark.parametrize("radius", [4, 9, 30])
def test_touching_objects_of_any_size_come_apart(radius: int) -> None:
    labels = discs((60, 60 - radius, radius), (60, 60 + radius - 1, radius))
    found = watershed_objects(*maps_of(labels))
    assert found.max() == 2
    assert same_partition(labels, found) > 0.75


def test_an_elongated_object_stays_one() -> None:
    labels = np.zeros((128, 128), np.int32)
    labels[60:70, 10:120] = 1
    assert watershed_objects(*maps_of(labels)).max() == 1


def test_objects_at_the_edge_and_one_that_fills_all() -> None:
    assert watershed_objects(*maps_of(discs((0, 0, 20), (127, 64, 15)))).max() == 2
    full = watershed_objects(*maps_of(np.ones((64, 64), np.int32)))
    assert (full == 1).all()


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_an_empty_or_constant_slice_gives_no_object(value: float) -> None:
    flat = np.full((17, 17), value, np.float32)
    assert not watershed_objects(flat, flat, flat).any()


def test_ids_follow_the_first_pixels_and_do_not_depend_on_what_is_far_away() -> None:
    near = maps_of(discs((100, 20, 8), (20, 100, 8)))
    found = watershed_objects(*near)
    assert found[20, 100] == 1
    assert found[100, 20] == 2
    more = maps_of(discs((100, 20, 8), (20, 100, 8), (64, 64, 10)))
    assert ((watershed_objects(*more) > 0) == (found > 0))[:50].all()
    np.testing.assert_array_equal(found, watershed_objects(*near))


def test_small_weak_and_doubtful_objects_are_dropped() -> None:
    foreground, boundary, depth = maps_of(discs((30, 30, 2), (90, 90, 12)))
    assert watershed_objects(foreground, boundary, depth, WatershedSettings(smallest=40)).max() == 1
    doubtful = WatershedSettings(foreground=0.3, confidence=0.7)
    assert not watershed_objects(0.6 * foreground, boundary, depth, doubtful).any()
    assert not watershed_objects(foreground, boundary, depth, WatershedSettings(seed=0.95)).any()


def test_what_is_no_number_is_background() -> None:
    foreground, boundary, depth = maps_of(discs((64, 64, 20)))
    foreground[:10] = np.nan
    depth[:, :10] = np.inf
    found = watershed_objects(foreground, boundary, depth)
    assert found.max() == 1
    assert not found[:10].any()


def test_maps_of_different_shapes_are_refused() -> None:
    flat = np.zeros((8, 8), np.float32)
    with pytest.raises(InputError, match="one slice"):
        watershed_objects(flat, flat, flat[:7])
    with pytest.raises(InputError, match="one slice"):
        watershed_objects(flat[None], flat[None], flat[None])
