"""The cut of a job: any shape, chunks and levels give blocks of whole storage objects, no larger than voxels need."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg.geometry import Grid, Triple, coarsened, intersection, whole_region
from volseg.images.label_groups import LABEL_CHUNKS
from volseg.images.levels import level_plan
from volseg.pipelines.segmentation.geometry import (
    COMPOSE_VOXELS,
    Geometry,
    LabelLevel,
    choose_geometry,
)

ORDINARY = [
    (20, 300, 300), (100, 1000, 1000), (80, 2160, 2560), (41, 601, 601), (30, 1388, 1040),
    (3, 129, 1025), (40, 512, 512), (1, 1, 7), (1, 1, 1), (1, 2049, 1), (255, 257, 256), (997, 991, 983),
]  # fmt: skip


def new_levels(shape: Triple, scale: tuple[float, float, float]) -> tuple[LabelLevel, ...]:
    """The levels of new labels beside an image."""
    levels = []
    for plan in level_plan(shape, scale):
        z, y, x = (min(c, n) for c, n in zip(LABEL_CHUNKS, plan.shape, strict=True))
        levels.append(LabelLevel(shape=plan.shape, factors=plan.factors, chunk=(z, y, x)))
    return tuple(levels)


def parts_of(geometry: Geometry, level: int) -> list[Any]:
    """The voxels of a level that each compose block writes; those at a border that was rounded away left out."""
    factors = [1, 1, 1]
    for one in geometry.levels[: level + 1]:
        factors = [a * b for a, b in zip(factors, one.factors, strict=True)]
    shape = geometry.levels[level].shape
    grid = Grid(geometry.levels[0].shape, geometry.compose_shape)
    found = []
    for index in grid.index_of(whole_region(grid.shape)):
        region = coarsened(grid.region(index), factors)
        if all(low < n for (low, _), n in zip(region, shape, strict=True)):
            found.append(intersection(region, whole_region(shape)))
    return found


def assert_whole_objects(geometry: Geometry) -> None:
    """On each level that blocks own, every block writes whole objects, and every object has one writer."""
    for level in range(geometry.owned):
        grid = Grid(geometry.levels[level].shape, geometry.levels[level].chunk)
        written = []
        for part in parts_of(geometry, level):
            assert grid.is_whole(part)
            written += grid.index_of(part)
        assert sorted(written) == sorted(grid.index_of(whole_region(grid.shape)))
    for level, shape in enumerate(geometry.pyramid_shapes, start=1):
        grid = Grid(geometry.levels[level].shape, geometry.levels[level].chunk)
        assert all(grid.is_whole(block) for block in Grid(grid.shape, shape).blocks())


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (1.0, 0.2, 0.2)])
@pytest.mark.parametrize("shape", ORDINARY)
def test_ordinary_sizes_are_cut_by_what_their_voxels_need(
    shape: Triple, scale: tuple[float, float, float]
) -> None:
    geometry = choose_geometry(new_levels(shape, scale), tile=256)
    assert prod(geometry.compose_shape) <= min(COMPOSE_VOXELS, prod(shape))
    assert_whole_objects(geometry)


@st.composite
def levels_of_others(draw: st.DrawFn) -> tuple[LabelLevel, ...]:
    """Up to four levels, rounded up or down, each with its own factors and chunks, shorter or longer than the level."""
    first = draw(st.tuples(*[st.integers(1, 20)] * 3))
    total = (1, 1, 1)
    levels = []
    for i in range(draw(st.integers(1, 4))):
        factors = draw(st.tuples(*[st.integers(1, 3)] * 3)) if i else (1, 1, 1)
        total = tuple(a * b for a, b in zip(total, factors, strict=True))
        up = draw(st.booleans())
        shape = tuple(
            max(1, -(-n // f) if up else n // f) for n, f in zip(first, total, strict=True)
        )
        chunk = draw(st.tuples(*[st.integers(1, 24)] * 3))
        levels.append(LabelLevel(shape=shape, factors=factors, chunk=chunk))  # type: ignore[arg-type]
    return tuple(levels)


@settings(max_examples=60, deadline=None)
@given(levels=levels_of_others())
def test_any_levels_of_others_are_cut_into_whole_objects(levels: tuple[LabelLevel, ...]) -> None:
    geometry = choose_geometry(levels, tile=16)
    assert all(b <= n for b, n in zip(geometry.compose_shape, levels[0].shape, strict=True))
    assert_whole_objects(geometry)


def test_blocks_that_do_not_fit_own_fewer_levels() -> None:
    levels = (
        LabelLevel(shape=(50, 2000, 2000), factors=(1, 1, 1), chunk=(1, 500, 500)),
        LabelLevel(shape=(50, 1000, 1000), factors=(1, 2, 2), chunk=(3, 77, 77)),
        LabelLevel(shape=(25, 500, 500), factors=(2, 2, 2), chunk=(25, 500, 500)),
    )
    geometry = choose_geometry(levels, tile=256)
    assert geometry.owned == 2
    assert prod(geometry.compose_shape) <= COMPOSE_VOXELS
    assert_whole_objects(geometry)


def test_tiny_chunks_are_composed_several_at_a_time() -> None:
    level = LabelLevel(shape=(100, 1000, 1000), factors=(1, 1, 1), chunk=(1, 64, 64))
    geometry = choose_geometry((level,), tile=256)
    assert geometry.compose_blocks(level.shape) < 1000
    assert_whole_objects(geometry)
