"""Which levels a pyramid gets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg.images.levels import level_plan, plan_of, voxel_ratio, whole_factors


def test_isotropic_voxels_are_halved_along_all_axes() -> None:
    plans = level_plan((1000, 4000, 4000), (0.1, 0.1, 0.1))
    assert [plan.total for plan in plans] == [(f, f, f) for f in (1, 2, 4, 8, 16)]
    assert plans[-1].shape == (63, 250, 250)


def test_thick_sections_wait_until_voxels_are_near_isotropic() -> None:
    plans = level_plan((100, 4000, 4000), (0.04, 0.004, 0.004))
    assert [plan.total for plan in plans] == [
        (1, 1, 1),
        (1, 2, 2),
        (1, 4, 4),
        (1, 8, 8),
        (2, 16, 16),
    ]
    assert [plan.factors for plan in plans] == [
        (1, 1, 1),
        (1, 2, 2),
        (1, 2, 2),
        (1, 2, 2),
        (2, 2, 2),
    ]


def test_flat_images_stay_flat() -> None:
    plans = level_plan((1, 1024, 600), (1.0, 0.3, 0.3))
    assert [plan.shape for plan in plans] == [(1, 1024, 600), (1, 512, 300), (1, 256, 150)]


def test_small_volumes_have_one_level() -> None:
    assert [plan.shape for plan in level_plan((500, 20, 30), (1, 1, 1))] == [(500, 20, 30)]


@settings(deadline=None, max_examples=80)
@given(
    st.tuples(*[st.integers(1, 3000)] * 3), st.tuples(*[st.floats(0.01, 100, allow_nan=False)] * 3)
)
def test_plans_end_and_are_taken_over_whole(shape: tuple, scale: tuple) -> None:
    plans = level_plan(shape, scale)
    assert len(plans) <= 12
    for plan in plans:
        assert plan.shape == tuple(-(-n // f) for n, f in zip(shape, plan.total, strict=True))
    totals = whole_factors([p.shape for p in plans], [p.scale for p in plans])
    assert totals == [p.total for p in plans]
    assert plan_of(shape, scale, totals) == plans


@pytest.mark.parametrize(
    ("shapes", "scales", "expected"),
    [
        ([(9, 9, 9), (4, 4, 4)], [(1, 1, 1), (2, 2, 2)], [(1, 1, 1), (2, 2, 2)]),
        ([(9, 9, 9), (5, 5, 5)], [(1, 1, 1), (2, 2, 2)], [(1, 1, 1), (2, 2, 2)]),
        ([(9, 9, 9), (3, 9, 3)], [(1, 1, 1), (3, 1, 3)], [(1, 1, 1), (3, 1, 3)]),
        ([(9, 9, 9), (6, 6, 6)], [(1, 1, 1), (1.5, 1.5, 1.5)], None),
        ([(9, 9, 9), (9, 9, 9)], [(1, 1, 1), (2, 2, 2)], None),
        ([(8, 8, 8), (4, 4, 4), (3, 3, 3)], [(1, 1, 1), (2, 2, 2), (3, 3, 3)], None),
    ],
)
def test_factors_of_an_image(shapes: list, scales: list, expected: list | None) -> None:
    assert whole_factors(shapes, scales) == expected


def test_a_level_that_has_voxels_with_nothing_below_is_no_whole_multiple() -> None:
    scales = [(1, 1, 1), (2, 2, 2), (4, 4, 4)]
    assert whole_factors([(5, 9, 9), (2, 4, 4), (1, 2, 2)], scales) is not None
    assert whole_factors([(5, 9, 9), (2, 4, 4), (2, 3, 3)], scales) is None


@pytest.mark.parametrize(
    ("n0", "n", "scale", "expected"),
    [
        (5, 2, 4.0, 4.0),  # rounded up: 2.5 would say 2
        (7, 1, 2.0, 7.0),  # a size that contradicts the voxel size
        (3, 1, 4.0, 4.0),
        (1, 1, 2.0, 2.0),
        (300, 150, 1.0, 2.0),  # voxel sizes left alone
        (301, 151, 1.0, 2.0),
        (300, 133, 300 / 133, 300 / 133),
        (300, 133, 1.0, 300 / 133),
    ],
)
def test_voxels_along_a_coarser_voxel(n0: int, n: int, scale: float, expected: float) -> None:
    found = voxel_ratio((n0,) * 3, (1.0,) * 3, (n,) * 3, (scale,) * 3)
    assert found == pytest.approx((expected,) * 3)
