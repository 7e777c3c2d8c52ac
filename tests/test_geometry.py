"""Grids: the arithmetic that keeps writers on whole storage objects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg.errors import InputError
from volseg.geometry import (
    Grid,
    Region,
    check_region,
    coarsened,
    intersection,
    refined,
    region_shape,
    shifted,
    slices,
    whole_region,
)

sizes = st.tuples(*[st.integers(1, 20)] * 3)


@st.composite
def grids_with_region(draw: st.DrawFn) -> tuple[Grid, Region]:
    shape, chunk = draw(sizes), draw(st.tuples(*[st.integers(1, 7)] * 3))
    ranges = []
    for n in shape:
        low = draw(st.integers(0, n - 1))
        ranges.append((low, draw(st.integers(low + 1, n))))
    return Grid(shape, chunk), (ranges[0], ranges[1], ranges[2])


@settings(deadline=None, max_examples=60)
@given(grids_with_region())
def test_a_region_and_its_objects(case: tuple[Grid, Region]) -> None:
    grid, region = case
    touched = np.zeros(grid.shape, int)
    for index in grid.index_of(region):
        box = grid.region(index)
        assert intersection(box, region) is not None
        touched[slices(box)] += 1
    whole = grid.whole(region)
    assert touched.max() == 1
    assert (touched[slices(whole)] == 1).all()
    assert touched.sum() == np.prod(region_shape(whole))
    assert grid.is_whole(whole)
    assert grid.is_whole(region) == (whole == region)


@settings(deadline=None, max_examples=40)
@given(sizes, st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.integers(1, 3)] * 3))
def test_blocks_cover_once_with_whole_objects(shape: tuple, chunk: tuple, multiple: tuple) -> None:
    grid = Grid(shape, chunk)
    seen = np.zeros(shape, int)
    for block in grid.blocks(multiple):
        assert grid.is_whole(block)
        seen[slices(block)] += 1
    assert (seen == 1).all()


@settings(deadline=None, max_examples=60)
@given(grids_with_region(), st.tuples(*[st.integers(1, 4)] * 3))
def test_coarser_and_back(case: tuple[Grid, Region], factors: tuple[int, int, int]) -> None:
    grid, region = case
    back = refined(coarsened(region, factors), factors, grid.shape)
    assert intersection(back, region) == region
    for (low, high), (start, end), f, n in zip(region, back, factors, grid.shape, strict=True):
        assert low - start < f
        assert end - high < f
        assert end <= n


def test_intersection_and_shift() -> None:
    a: Region = ((0, 4), (0, 4), (0, 4))
    assert intersection(a, ((2, 9), (3, 4), (0, 1))) == ((2, 4), (3, 4), (0, 1))
    assert intersection(a, ((4, 9), (3, 4), (0, 1))) is None
    assert shifted(a, (1, 2, -3)) == ((1, 5), (2, 6), (-3, 1))
    assert whole_region((1, 2, 3)) == ((0, 1), (0, 2), (0, 3))


@pytest.mark.parametrize(
    "region",
    [((0, 5), (0, 4), (0, 4)), ((-1, 2), (0, 4), (0, 4)), ((2, 2), (0, 4), (0, 4)), ((0, 4), (0, 4)), 7, None],
)  # fmt: skip
def test_regions_that_do_not_lie_inside(region: object) -> None:
    with pytest.raises(InputError, match="region"):
        check_region(region, (4, 4, 4))  # type: ignore[arg-type]


def test_checked_regions_are_plain_ints() -> None:
    region = check_region([np.array([0, 4])] * 3, (4, 4, 4))  # type: ignore[arg-type]
    assert region == ((0, 4),) * 3
    assert all(type(v) is int for pair in region for v in pair)
