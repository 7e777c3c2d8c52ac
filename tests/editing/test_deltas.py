"""What a record keeps of a chunk: exactly the changed voxels, both ways."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from volseg.editing.deltas import common_voxels, id_counts, make_delta
from volseg.editing.record import Operation, Record, decode_record, encode_record
from volseg.errors import UnsupportedFormatError

SHAPE = (3, 6, 7)
ORIGIN = (4, 12, 7)
small = npst.arrays("uint32", SHAPE, elements=st.sampled_from([0, 1, 2, 2**32 - 1]))
large = npst.arrays("uint64", SHAPE, elements=st.sampled_from([0, 1, 2**63, 2**64 - 1]))


@given(st.one_of(st.tuples(small, small), st.tuples(large, large)))
@settings(max_examples=150, deadline=None)
def test_a_delta_leads_from_one_block_to_the_other_and_back(
    blocks: tuple[np.ndarray, np.ndarray],
) -> None:
    old, new = blocks
    delta = make_delta(0, ORIGIN, old, new)
    if delta is None:
        assert (old == new).all()
        return
    assert delta.count == np.count_nonzero(old != new)
    block = old.copy()
    delta.apply(block, ORIGIN)
    np.testing.assert_array_equal(block, new)
    delta.revert(block, ORIGIN)
    np.testing.assert_array_equal(block, old)
    delta.inverse().revert(block, ORIGIN)
    np.testing.assert_array_equal(block, new)
    for label, number in id_counts([delta]).items():
        assert number == np.count_nonzero(new == label) - np.count_nonzero(old == label)


@given(small, small, small, small)
@settings(max_examples=80, deadline=None)
def test_common_voxels_are_those_that_both_change(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray
) -> None:
    p, q = make_delta(0, ORIGIN, a, b), make_delta(0, ORIGIN, c, d)
    if p is not None and q is not None:
        assert common_voxels(p, q) == np.count_nonzero((a != b) & (c != d))
        moved = make_delta(1, ORIGIN, c, d)
        assert moved is not None
        assert common_voxels(p, moved) == 0


def a_record() -> Record:
    new = np.zeros(SHAPE, "uint32")
    new[1, 2:4, 3] = 7
    delta = make_delta(2, ORIGIN, np.zeros(SHAPE, "uint32"), new)
    assert delta is not None
    paint = Operation("paint", (delta,), classes={7: (None, "nucleus")}, counts={7: 2})
    return Record("ann", "s", 3, (paint, paint.inverse()), (9, 18, 14), SHAPE, np.dtype("uint32"))


def test_a_record_survives_its_bytes() -> None:
    record = a_record()
    read = decode_record(encode_record(record), lambda ref: b"", where="here", number=5)
    assert read.number == 5
    assert (read.annotator, read.base, read.uuid) == (record.annotator, 3, record.uuid)
    paint, undo = read.operations
    assert paint.classes == {7: (None, "nucleus")}
    assert undo.classes == {7: ("nucleus", None)}
    assert undo.inverts == paint.uuid
    assert undo.chain == paint.uuid
    assert undo.deltas[0].time == 2
    np.testing.assert_array_equal(undo.deltas[0].change().old, paint.deltas[0].change().new)


@cache
def bytes_of_a_record() -> bytes:
    return encode_record(a_record())


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_record_is_never_taken_for_a_whole_one(data: st.DataObject) -> None:
    good = bytearray(bytes_of_a_record())
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UnsupportedFormatError, match="here"):
        decode_record(bytes(good), lambda ref: b"", where="here")
    with pytest.raises(UnsupportedFormatError):
        decode_record(bytes(good[:at]), lambda ref: b"", where="here")
