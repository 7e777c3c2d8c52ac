"""Surface distances: closed forms, anisotropic voxels, agreement with distance transforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import binary_erosion, distance_transform_edt

from volseg.errors import InputError
from volseg.evaluation.boundary import surface_distance, surface_points


def box(shape: tuple[int, int, int], *sides: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def test_parallel_plates_are_their_distance_apart() -> None:
    first = box((12, 9, 9), (1, 2), (0, 9), (0, 9))
    second = box((12, 9, 9), (7, 8), (0, 9), (0, 9))
    found = surface_distance(first, second, (0.5, 0.1, 0.1))
    assert found.hausdorff95_um == pytest.approx(3.0)
    assert found.assd_um == pytest.approx(3.0)


def test_the_same_object_is_at_no_distance() -> None:
    mask = box((6, 6, 6), (1, 4), (2, 5), (0, 6))
    assert surface_distance(mask, mask, (1, 1, 1)).hausdorff95_um == 0.0


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(bool, (4, 6, 7)).filter(np.any),
    hnp.arrays(bool, (4, 6, 7)).filter(np.any),
    st.integers(1, 60),
)
def test_agrees_with_distance_transforms_however_it_is_cut(
    first: np.ndarray, second: np.ndarray, voxels: int
) -> None:
    spacing = (3.0, 1.0, 0.7)
    surfaces = [mask & ~binary_erosion(mask) for mask in (first, second)]
    there = distance_transform_edt(~surfaces[1], sampling=spacing)[surfaces[0]]
    back = distance_transform_edt(~surfaces[0], sampling=spacing)[surfaces[1]]
    found = surface_distance(first, second, spacing)
    assert found.assd_um == pytest.approx(np.concatenate([there, back]).mean())
    assert found.hausdorff95_um == pytest.approx(
        max(np.percentile(there, 95), np.percentile(back, 95))
    )
    whole = tuple((0, n) for n in first.shape)
    points = surface_points(
        lambda region: first[tuple(slice(*part) for part in region)], whole, first.shape, voxels
    )
    assert {tuple(p) for p in points} == {tuple(p) for p in np.argwhere(surfaces[0])}


def test_there_is_no_distance_to_nothing() -> None:
    mask = box((3, 3, 3), (0, 1), (0, 1), (0, 1))
    with pytest.raises(InputError, match="at least one voxel"):
        surface_distance(mask, np.zeros_like(mask), (1, 1, 1))
