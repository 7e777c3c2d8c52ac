"""Any NumPy key means on chunks what it means on an array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from volseg.editing.selection import Selection
from volseg.errors import InputError
from volseg.geometry import slices

SHAPE = (5, 13, 11)
CHUNKS = (2, 5, 4)
full = np.arange(np.prod(SHAPE), dtype="uint32").reshape(SHAPE)

basic = npst.basic_indices(SHAPE, allow_newaxis=True, allow_ellipsis=True)
arrays = npst.integer_array_indices(SHAPE)
masks = npst.arrays(bool, SHAPE)
mixed = st.tuples(
    st.integers(-5, 4),
    st.slices(13),
    npst.arrays(np.int64, st.integers(0, 6), elements=st.integers(-11, 10)),
)
flags = st.tuples(npst.arrays(bool, 5), st.slices(13))


def chunk(index: tuple[int, int, int]) -> tuple[slice, ...]:
    return tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, CHUNKS, strict=True))


@given(key=st.one_of(basic, arrays, masks, mixed, flags))
@example(key=(slice(None, None, -1),))
@example(key=(slice(4, 1),))
@example(key=())
@example(key=Ellipsis)
@settings(max_examples=300, deadline=None)
def test_reading_and_assigning_as_numpy(key: Any) -> None:
    selection = Selection(key, SHAPE, CHUNKS)
    out = selection.empty(full.dtype)
    for piece in selection.pieces():
        out[piece.outer] = full[chunk(piece.index)][piece.inner]
    np.testing.assert_array_equal(selection.collapse(out), full[key])

    wanted = full.copy()
    values = np.arange(1000, 1000 + wanted[key].size, dtype="uint32").reshape(wanted[key].shape)
    wanted[key] = values
    found = full.copy()
    spread = selection.spread(values)
    for piece in selection.pieces():
        block = found[chunk(piece.index)]
        before = block.copy()
        block[piece.inner] = spread[piece.outer]
        outside = np.ones(block.shape, bool)
        outside[slices(piece.region)] = False
        assert (block[outside] == before[outside]).all()
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("key", [(0, 0, 0, 0), 5, (0, 13), (slice(None), [99])])
def test_keys_outside_raise_as_in_numpy(key: Any) -> None:
    with pytest.raises(IndexError):
        full[key]
    with pytest.raises(IndexError):
        Selection(key, SHAPE, CHUNKS)


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(3,\)"):
        Selection((0, 0), SHAPE, CHUNKS).spread([1, 2, 3])
