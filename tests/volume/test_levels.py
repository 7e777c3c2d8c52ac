"""Which levels a pyramid gets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg.volume.levels import level_plan, plan_of, whole_factors


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
