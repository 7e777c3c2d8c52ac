"""Contrast limits are exact percentiles for every type, and not moved by what is no measurement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volseg.images.contrast import (
    SAMPLE_VOXELS,
    contrast_limits,
    measure_contrast,
    sample_regions,
    widened,
)
from volseg.images.create import create_volume

RANDOM = np.random.default_rng(5)
TYPES = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8"]


def limits(values: np.ndarray, pieces: int = 1) -> tuple[float, float]:
    return contrast_limits(lambda: np.array_split(values, pieces, axis=-1), values.dtype)


def percentiles(values: np.ndarray) -> list[float]:
    flat = values[np.isfinite(values)].astype(float)
    return [float(v) for v in np.percentile(flat, (0.5, 99.5), method="inverted_cdf")]


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    """Noise of 100 ± 20 with a bright object of 900, shape (8, 48, 48)."""
    values = (100 + 20 * RANDOM.standard_normal((8, 48, 48))).clip(1)
    values[2:6, 15:30, 15:30] += 800
    return values


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_they_are_the_percentiles_however_the_values_are_cut(
    tissue: np.ndarray, dtype: str, order: str
) -> None:
    values = (tissue / 8 if dtype.endswith("1") else tissue).astype(np.dtype(order + dtype))
    if dtype == "?":
        values = tissue > 500
    assert list(limits(values)) == percentiles(values)
    assert limits(values, 7) == limits(values)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(TYPES[1:]).flatmap(lambda t: arrays(np.dtype(t), st.integers(1, 40))),
    st.integers(1, 5),
)
def test_any_values_give_two_of_them_in_order(values: np.ndarray, pieces: int) -> None:
    low, high = limits(values, pieces)
    assert (low, high) == limits(values)
    finite = values[np.isfinite(values)]
    assert low <= high
    assert not finite.size or {low, high} <= {float(v) for v in finite}
    below, above = widened(low, high)
    assert above > below


@pytest.mark.parametrize(
    ("dtype", "hot"),
    [
        ("u2", 65535),
        ("u4", 2**32 - 1),
        ("i4", -(2**31)),
        ("u8", 2**64 - 1),
        ("i8", -(2**63)),
        ("f4", 3e9),
        ("f4", np.inf),
        ("f4", np.nan),
        ("f8", -1e300),
        ("f2", 65504),
    ],
)
def test_a_hot_voxel_does_not_move_them(tissue: np.ndarray, dtype: str, hot: float) -> None:
    values = tissue.astype(dtype)
    before = limits(values)
    values.flat[1000] = hot
    assert limits(values) == pytest.approx(before, abs=1)


@pytest.mark.parametrize(
    ("dtype", "fills"),
    [
        ("f4", [-3.4e38]),
        ("f4", [3.4e38]),
        ("f4", [-3.4e38, 3.4e38]),
        ("f4", [-9999]),
        ("f4", [np.nan, -1e30]),
        ("f4", [-np.inf, np.inf]),
        ("f8", [-1.7e308]),
        ("f2", [-65504]),
        ("i4", [-(2**31)]),
        ("i2", [-32768]),
        ("i8", [-(2**63)]),
        ("u2", [65535]),
        ("u4", [2**32 - 1]),
    ],
)
@pytest.mark.parametrize("share", [0.05, 0.4])
def test_fill_values_do_not_move_them(
    tissue: np.ndarray, dtype: str, fills: list[float], share: float
) -> None:
    values = tissue.astype(dtype)
    hidden = np.zeros(values.shape, bool)
    width = int(share * values.shape[1])
    for side, fill in enumerate(fills):
        part = np.s_[:, :, :width] if side else np.s_[:, :, -width:]
        values[part], hidden[part] = fill, True
    assert list(limits(values)) == percentiles(values[~hidden])


def test_padding_around_a_turned_volume_does_not_flatten_the_picture(tissue: np.ndarray) -> None:
    values = (30_000 + 2 * tissue).astype(np.uint16)
    inside = np.add.outer(np.abs(np.arange(48) - 24), np.abs(np.arange(48) - 24)) < 24
    values[:, ~inside] = 0
    assert list(limits(values)) == percentiles(values[:, inside])


BACKGROUNDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a mask": lambda tissue: np.where(tissue > 500, 255, 0),
    "a nearly smooth mask": lambda tissue: np.where(tissue > 500, 255, (tissue > 100) * 1),
    "an object of one value": lambda tissue: np.where(tissue > 500, 60_000, tissue),
    "nothing around an object": lambda tissue: np.where(tissue > 500, tissue, 0),
    "a background subtracted": lambda tissue: (tissue - 100).clip(0),
}


@pytest.mark.parametrize("name", BACKGROUNDS)
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_background_or_object_of_one_value_is_no_filling(
    tissue: np.ndarray, name: str, dtype: str
) -> None:
    values = BACKGROUNDS[name](tissue).astype(dtype)
    assert list(limits(values)) == percentiles(values)


def test_where_nearly_all_is_equal_the_rest_counts() -> None:
    values = np.zeros((40, 100, 100), np.uint16)
    assert limits(values) == (0, 0)
    values[0, 0, 0] = 65535  # one hot voxel of a constant image
    assert limits(values) == (0, 0)
    values[:10, :10, :10] = RANDOM.integers(500, 3000, (10, 10, 10))  # .25 % of it
    values[0, 0, 0] = 0
    low, high = limits(values)
    assert low == 0
    assert 2900 < high < 3000
    assert limits(np.full(5, np.nan)) == (0, 1)
    assert limits(np.zeros((0, 3))) == (0, 1)


def test_large_levels_are_measured_on_blocks_at_fixed_places() -> None:
    small = list(sample_regions((100, 300, 300)))
    assert sum(int(np.prod([b - a for a, b in r])) for r in small) == 100 * 300 * 300
    large = list(sample_regions((1000, 4000, 4000)))
    assert sum(int(np.prod([b - a for a, b in r])) for r in large) <= SAMPLE_VOXELS
    assert len(set(large)) == len(large) == 32
    spread = {r[0] for r in large}
    assert len(spread) > 8


@pytest.mark.parametrize("chunks", [(1, 48, 48), (5, 17, 48)])
def test_chunks_do_not_matter(tissue: np.ndarray, tmp_path: Any, chunks: Any) -> None:
    values = tissue.astype(np.float32)
    values[:, :5] = -3.4e38
    volume = create_volume(
        tmp_path / "v.zarr", axes="zyx", shape=values.shape, dtype="float32", scale_um=(1, 1, 1),
        chunks=chunks,
    )  # fmt: skip
    volume.write(((0, 8), (0, 48), (0, 48)), values)
    assert list(measure_contrast(volume)) == percentiles(values[:, 5:])
