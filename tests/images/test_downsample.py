"""Mode downsampling against a plain reference, for every integer type, shape and factor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.images import reference
from volseg.errors import InputError
from volseg.images.downsample import downsample_image, downsample_labels

DTYPES = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]


@st.composite
def labels(draw: st.DrawFn) -> np.ndarray:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    top = int(np.iinfo(dtype).max)
    ids = draw(st.lists(st.integers(1, top), min_size=1, max_size=3))
    ids += [0, top]
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    return draw(arrays(dtype, shape, elements=st.sampled_from(ids)))


factors = st.tuples(*[st.integers(1, 3)] * 3)


@settings(deadline=None, max_examples=150)
@given(labels(), factors, st.booleans())
def test_equals_the_plain_rule(block: np.ndarray, by: tuple[int, int, int], thin: bool) -> None:
    found = downsample_labels(block, by, keep_thin=thin)
    assert found.dtype == block.dtype
    np.testing.assert_array_equal(found, reference.mode(block, by, thin))
    compiled = downsample_labels(block, by, keep_thin=thin, compiled=True)
    assert compiled.dtype == block.dtype
    np.testing.assert_array_equal(compiled, found)


@pytest.mark.parametrize("by", [(2, 2, 2), (1, 2, 2), (2, 1, 2), (2, 2, 1), (3, 2, 4), (1, 1, 1)])
def test_real_looking_labels_of_odd_shape(by: tuple[int, int, int]) -> None:
    block = reference.blobs((17, 23, 31), 30, seed=1)
    for compiled in (False, True):
        found = downsample_labels(block, by, compiled=compiled)
        np.testing.assert_array_equal(found, reference.mode(block, by))
    seen_otherwise = np.asfortranarray(block)[:, ::-1][:, ::-1]
    np.testing.assert_array_equal(downsample_labels(seen_otherwise, by), reference.mode(block, by))


@pytest.mark.parametrize("number", [2**32 + 1, 2**53 + 1, 2**64 - 1])
def test_large_ids_are_exact(number: int) -> None:
    block = np.full((4, 4, 4), number, np.uint64)
    block[0, 0, :3] = [number - 1, 0, number - 2]
    for compiled in (False, True):
        assert (downsample_labels(block, (2, 2, 2), compiled=compiled) == np.uint64(number)).all()


def test_ties() -> None:
    block = np.array([[[0, 0, 5, 3], [0, 5, 3, 5], [9, 7, 0, 0], [7, 9, 2, 2]]], np.uint8)
    #                  3×0, 1×5 → 0    2×5, 2×3 → 3    2×9, 2×7 → 7    2×0, 2×2 → 2
    assert downsample_labels(block, (1, 2, 2)).tolist() == [[[0, 3], [7, 2]]]
    assert downsample_labels(block, (1, 2, 2), keep_thin=True).tolist() == [[[5, 3], [7, 2]]]


def test_thin_objects_survive_only_where_asked_for() -> None:
    tube = np.zeros((32, 32, 32), np.uint32)
    tube[5, 5:7, :] = 4  # two voxels thick in y, one in z
    for keep_thin, survives in ((False, False), (True, True)):
        level = tube
        for _ in range(4):
            level = downsample_labels(level, (2, 2, 2), keep_thin=keep_thin)
        assert (level == 4).any() == survives


@pytest.mark.parametrize("value", [0, 6])
def test_uniform_blocks(value: int) -> None:
    assert (downsample_labels(np.full((5, 6, 7), value, "u4"), (2, 2, 2)) == value).all()


@pytest.mark.parametrize(
    ("block", "by"),
    [(np.zeros((2, 2)), (1, 1, 1)), (np.zeros((2, 2, 2)), (2, 2, 2)), (np.zeros((2, 2, 2), int), (0, 1, 1))],
)  # fmt: skip
def test_refused(block: Any, by: tuple[int, int, int]) -> None:
    with pytest.raises(InputError):
        downsample_labels(block, by)


@settings(deadline=None, max_examples=60)
@given(
    arrays(np.uint16, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 2**16 - 1)),
    factors,
)
def test_images_are_averaged(block: np.ndarray, by: tuple[int, int, int]) -> None:
    found = downsample_image(block, by)
    for index in np.ndindex(found.shape):
        part = block[tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, by, strict=True))]
        assert abs(float(found[index]) - part.mean()) <= 0.5 + 1e-3


def test_float_images_are_not_rounded() -> None:
    block = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert downsample_image(block, (2, 2, 2)).tolist() == [[[3.5]]]
