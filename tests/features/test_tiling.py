"""Tiles cover the slice, overlap as asked, and weigh voxels without jumps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg.errors import InputError
from volseg.features.tiling import Tiling, choose_zoom

TILINGS = st.builds(
    Tiling,
    shape_yx=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    img_size=st.sampled_from([16, 32, 64]),
    zoom=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
)


@settings(deadline=None, max_examples=40)
@given(TILINGS)
def test_every_voxel_lies_in_a_tile_and_every_tile_inside(tiling: Tiling) -> None:
    height, width = tiling.shape_yx
    covered = np.zeros((height, width), int)
    for i, tile in enumerate(tiling.tiles):
        y0, x0, y1, x1 = tile.box
        assert tile.index == i
        assert 0 <= y0 < y1 <= height
        assert 0 <= x0 < x1 <= width
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 1


@settings(deadline=None, max_examples=40)
@given(TILINGS)
def test_neighbours_share_at_least_the_overlap(tiling: Tiling) -> None:
    for axis in (0, 1):
        starts = sorted({tile.box[axis] for tile in tiling.tiles})
        for a, b in pairwise(starts):
            assert a + tiling.size - b >= tiling.shared


@settings(deadline=None, max_examples=40)
@given(TILINGS)
def test_weights_are_positive_inside_and_zero_outside(tiling: Tiling) -> None:
    height, width = tiling.shape_yx
    box = (0, 0, height, width)
    total = np.zeros((height, width), np.float32)
    for tile in tiling.tiles:
        weight = tiling.weight(tile, box)
        inside = np.zeros((height, width), bool)
        inside[tile.y0 : tile.y0 + tile.height, tile.x0 : tile.x0 + tile.width] = True
        assert (weight[inside] > 0).all()
        assert (weight[~inside] == 0).all()
        total += weight
    assert (total > 0).all()


def test_weights_fall_towards_inner_edges_only() -> None:
    tiling = Tiling((16, 28), 16, overlap=4)
    first, second = tiling.tiles
    weight = tiling.weight(first, (0, 0, 16, 28))[8]
    assert weight[:16].tolist() == [4] * 12 + [3.5, 2.5, 1.5, 0.5]
    other = tiling.weight(second, (0, 0, 16, 28))[8]
    assert other[12:16].tolist() == [0.5, 1.5, 2.5, 3.5]


def test_the_worked_example_has_five_by_five_tiles() -> None:
    tiling = Tiling((4000, 4000), 1024)
    assert len(tiling.tiles) == 25
    assert tiling.scale == 1.0


def test_small_slices_are_enlarged_and_the_zoom_holds_elsewhere() -> None:
    assert Tiling((100, 80), 256).scale == 2.56
    assert [t.box for t in Tiling((100, 80), 256).tiles] == [(0, 0, 100, 80)]
    assert Tiling((1000, 1000), 256, zoom=2.0).size == 128
    assert Tiling((1000, 1000), 256, zoom=0.5).size == 512


def test_the_nearest_tile_and_those_touching_a_box() -> None:
    tiling = Tiling((100, 100), 64)
    assert [t.box[:2] for t in tiling.tiles] == [(0, 0), (0, 36), (36, 0), (36, 36)]
    assert tiling.nearest(20, 80).index == 1
    assert tiling.nearest(49.5, 49.5).index == 0
    assert [t.index for t in tiling.touching((0, 0, 36, 36))] == [0]
    assert [t.index for t in tiling.touching((40, 40, 41, 41))] == [0, 1, 2, 3]


def test_zoom_brings_the_median_object_to_the_models_size() -> None:
    assert choose_zoom([24, 24, 500], 48) == pytest.approx(2.0)
    assert choose_zoom([48], 48) == 1.0
    assert choose_zoom([], 48) == 1.0
    assert choose_zoom([2], 48) == pytest.approx(4.0)
    assert choose_zoom([10_000], 48) == pytest.approx(0.125)
    assert choose_zoom([33], 48) == pytest.approx(2**0.5)


@pytest.mark.parametrize("wrong", [{"zoom": 0.0}, {"zoom": float("nan")}, {"overlap": 64}])
def test_what_makes_no_tiling(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Tiling((100, 100), 64, **wrong)  # type: ignore[arg-type]
