"""Which voxel sizes are plausible."""

from __future__ import annotations

import math
import re

import pytest

from volseg.errors import InputError
from volseg.images.voxel_size import ANY, ELECTRON, LIGHT, MEDICAL, Bounds, checked_size, oddness

STACK = (20, 300, 300)


@pytest.mark.parametrize(
    ("size", "bounds"),
    [
        ((0.05, 0.008, 0.008), ELECTRON),  # serial block face
        ((3.5e-5, 3.5e-5, 3.5e-5), ELECTRON),  # a cryo-EM map
        ((0.5, 0.1, 0.1), LIGHT),
        ((10_000, 400, 400), MEDICAL),  # wide-set MR slices
        ((240, 3.9, 12), MEDICAL),  # B-scans of an eye
        ((None, 1e-4, 1e-4), ANY),
    ],
)
def test_what_instruments_really_have(size: tuple, bounds: Bounds) -> None:
    assert oddness(size, STACK, bounds) is None


@pytest.mark.parametrize(
    ("size", "bounds", "said"),
    [
        ((0.5, 2.3e-10, 2.3e-10), ANY, "along y is 2.3e-10 µm"),
        ((10, 10, 10), ELECTRON, "electron microscopy has"),
        ((1, 0, 1), ANY, "along y is 0, not a positive"),
        ((1, 1, -0.5), ANY, "along x is -0.5"),
        ((math.nan, 1, 1), ANY, "along z is nan"),
        ((1, math.inf, 1), ANY, "along y is inf"),
        ((1000, 1, 1), ANY, "1000 µm along z and 1 µm along"),
        ((0.0005, 0.5, 0.5), LIGHT, "along z is 0.0005 µm"),
        ((0.5, 2e6, 2e6), MEDICAL, "2e\\+06 µm"),
    ],
)
def test_what_can_not_be_is_said_with_its_axis(size: tuple, bounds: Bounds, said: str) -> None:
    assert re.search(said, oddness(size, STACK, bounds) or "")


def test_a_single_section_is_as_thick_as_it_is() -> None:
    assert oddness((70, 0.004, 0.004), (1, 300, 300)) is None
    assert oddness((70, 0.004, 0.004), (2, 300, 300)) is not None


@pytest.mark.parametrize("wrong", [(1, 2), (0, 1, 1), (1, 1, math.nan), (1, -1, 1), ()])
def test_a_person_gives_three_positive_numbers(wrong: tuple) -> None:
    with pytest.raises(InputError, match="voxel size"):
        checked_size(wrong)
    assert checked_size([1, 2, 3]) == (1.0, 2.0, 3.0)
