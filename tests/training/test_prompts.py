"""Simulated prompts mean what they say: points lie in or out, boxes enclose, masks overlap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from volseg.training import prompts
from volseg.training.augment import SIZE, Tile


def tile(seed: int = 0, background: bool = True) -> Tile:
    """Two touching rectangles, a disc, and a speck below the smallest size."""
    labels = np.zeros((SIZE, SIZE), np.int32)
    top = 20 + seed % 50
    labels[top : top + 60, 30:80] = 1
    labels[top : top + 60, 80:120] = 2
    y, x = np.mgrid[:SIZE, :SIZE]
    labels[(y - 190) ** 2 + (x - 180) ** 2 < 30**2] = 5
    labels[2:5, 2:5] = 9
    return Tile(np.zeros((3, SIZE, SIZE), np.float32), labels, background, "test")


@given(st.integers(0, 10_000), st.sampled_from(prompts.KINDS))
@settings(max_examples=60, deadline=None)
def test_points_lie_where_their_labels_say(seed: int, kind: str) -> None:
    picture = tile(seed)
    group = prompts.simulate(default_rng(seed), picture, 4, kind)
    assert group is not None
    assert group.targets.shape == (4, 128, 128)
    for row in range(4):
        target = group.targets[row]
        if group.points is None or group.point_labels is None:
            continue
        for (x, y), label in zip(group.points[row], group.point_labels[row], strict=True):
            covered = target[int(y) // 2, int(x) // 2]
            if not target.any():
                assert label in (1, -1)
                assert label == -1 or picture.labels[int(y), int(x)] == 0
            elif label == 1:
                assert covered > 0
            elif label == 0:
                assert covered < 1


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_boxes_miss_by_at_most_fifteen_percent(seed: int) -> None:
    group = prompts.simulate(default_rng(seed), tile(seed), 3, "box")
    assert group is not None
    assert group.boxes is not None
    assert group.points is None
    for box, target in zip(group.boxes, group.targets, strict=True):
        y0, x0, y1, x1 = (2 * edge for edge in prompts.bounds(target > 0))
        extent = np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
        assert np.all(np.abs(box - [x0, y0, x1, y1]) <= 0.15 * extent + 2)


def test_background_prompts_come_only_where_background_is_certain() -> None:
    def empties(background: bool) -> int:
        groups = [
            prompts.simulate(default_rng(seed), tile(seed, background), 4, "point")
            for seed in range(60)
        ]
        return sum(int((~g.targets.any((1, 2))).sum()) for g in groups if g is not None)

    assert empties(True) > 5
    assert empties(False) == 0


def test_no_object_of_thirty_pixels_gives_no_prompts() -> None:
    empty = Tile(
        np.zeros((3, SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.int32), True, "test"
    )
    assert prompts.simulate(default_rng(0), empty, 4) is None


def test_earlier_masks_resemble_the_target_without_being_it() -> None:
    target = prompts.shrink(tile().labels == 5)
    overlaps = []
    for seed in range(40):
        logits = prompts.earlier_mask(default_rng(seed), target)
        marked, wanted = logits > 0, target > 0.5
        overlaps.append((marked & wanted).sum() / (marked | wanted).sum())
        assert np.abs(logits).max() <= 12
    assert 0.5 < np.mean(overlaps) < 0.98


@pytest.mark.parametrize(("missed", "label"), [(True, 1), (False, 0)])
def test_corrections_click_on_the_largest_error(missed: bool, label: int) -> None:
    target = np.zeros((128, 128), bool)
    target[40:80, 40:80] = True
    predicted = target.copy()
    window = (slice(40, 80), slice(40, 60) if missed else slice(80, 110))
    predicted[window] = not missed
    point, found = prompts.correction(default_rng(3), predicted, target)
    assert found == label
    x, y = ((point + 0.5) / 2).astype(int)
    assert (predicted ^ target)[y, x]


def test_the_same_seed_gives_the_same_prompts() -> None:
    first = prompts.simulate(default_rng(5), tile(), 4)
    second = prompts.simulate(default_rng(5), tile(), 4)
    assert first is not None
    assert second is not None
    assert first.kind == second.kind
    np.testing.assert_array_equal(first.targets, second.targets)


def nested(background: bool = True) -> Tile:
    """A disc in a disc in a square, and a part that no whole holds."""
    y, x = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(y - 100, x - 120)
    levels = np.zeros((3, SIZE, SIZE), np.int32)
    levels[0][distance < 20] = 7
    levels[1][distance < 45] = 3
    levels[2][30:180, 50:200] = 1
    levels[0][220:240, 20:40] = 8
    return Tile(np.zeros((3, SIZE, SIZE), np.float32), levels[1], background, "nested", levels)


def test_a_click_into_nested_objects_has_all_their_answers() -> None:
    tile, found = nested(), set()
    for seed in range(25):
        group = prompts.simulate(default_rng(seed), tile, 4, "point")
        assert group is not None
        assert group.points is not None
        assert group.levels is not None
        for row, (x, y) in enumerate(group.points[:, 0].astype(int)):
            there = tuple(bool(one) for one in tile.levels[:, y, x])
            assert there == tuple(bool(one.any()) for one in group.levels[row])
            for level, one in enumerate(group.levels[row]):
                expected = prompts.shrink(tile.levels[level] == tile.levels[level, y, x])
                np.testing.assert_array_equal(one, expected if there[level] else 0)
            if not any(there):
                assert not group.targets[row].any()
                continue
            wanted = 1 if there[1] else there.index(True)
            np.testing.assert_array_equal(group.targets[row], group.levels[row, wanted])
            found.add(there)
    assert found == {
        (True, True, True),
        (False, True, True),
        (False, False, True),
        (True, False, False),
    }


@pytest.mark.parametrize("kind", [kind for kind in prompts.KINDS if kind != "point"])
def test_other_prompts_mean_one_level_each(kind: str) -> None:
    sizes = set()
    for seed in range(8):
        group = prompts.simulate(default_rng(seed), nested(background=False), 4, kind)
        assert group is not None
        assert group.levels is None
        sizes |= {round(float(target.sum())) for target in group.targets}
    assert len(sizes) == 4


def test_a_click_on_a_group_is_no_background() -> None:
    for seed in range(15):
        group = prompts.simulate(default_rng(seed), nested(), 4, "corrective")
        assert group is not None
        assert group.points is not None
        for target, (x, y) in zip(group.targets, group.points[:, 0].astype(int), strict=True):
            assert target.any() == bool(nested().levels[:, y, x].any())
