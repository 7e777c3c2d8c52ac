"""A correction is followed as far as it reaches, and no farther."""

from __future__ import annotations

import numpy as np

from tests.propagation.difficult import disc
from tests.propagation.oracles import Oracle
from volseg.propagation import MaskWindow, SliceKind, Track, TrackSlice, propagate, repropagate

SHAPE = (24, 60, 60)


def tube(upto: int = 24) -> np.ndarray:
    labels = np.zeros(SHAPE, np.int32)
    for z in range(2, min(22, upto)):
        labels[z][disc(SHAPE[1:], (25 + 0.4 * z, 28), 8)] = 1
    return labels


def test_only_the_slices_up_to_the_meeting_are_decoded() -> None:
    labels = tube()
    seeds = {1: {4: labels[4] == 1}}
    old = propagate(Oracle(labels), seeds)[1]
    spoilt = old.entries()
    wrong = np.zeros(SHAPE[1:], bool)
    wrong[30:34, 20:24] = True
    for z in (11, 12, 13):
        spoilt[z] = TrackSlice.of(MaskWindow.crop(wrong), 0.4, SliceKind.DECODED)
    spoilt_track = Track(SHAPE, spoilt)
    new, recomputed = repropagate(Oracle(labels), spoilt_track, corrected={12: labels[12] == 1})
    assert recomputed == [9, 10, 11, 12, 13, 14, 15]
    assert all((new.mask(z) == (labels[z] == 1)).all() for z in new.slices)
    for z in set(old.slices) - set(recomputed):
        assert new.entry(z).same(spoilt_track.entry(z))


def test_an_empty_mask_ends_the_object() -> None:
    labels = tube()
    old = propagate(Oracle(labels), {1: {4: labels[4] == 1}})[1]
    new, recomputed = repropagate(Oracle(labels), old, corrected={15: np.zeros(SHAPE[1:], bool)})
    assert new.slices == list(range(2, 15))
    assert recomputed == list(range(15, 22))


def test_a_runaway_is_dropped_from_the_correction_on() -> None:
    """The old track went on into another object; the corrected slice is the object's last."""
    labels = tube(upto=14)
    old = propagate(Oracle(tube()), {1: {4: labels[4] == 1}})[1]
    assert max(old.slices) == 21
    new, recomputed = repropagate(Oracle(labels), old, corrected={13: labels[13] == 1})
    assert max(new.slices) == 13
    assert set(range(13, 22)) <= set(recomputed)


def test_other_seeds_bound_a_correction() -> None:
    labels = tube()
    seeds = {1: {4: labels[4] == 1, 16: labels[16] == 1}}
    old = propagate(Oracle(labels), seeds)[1]
    shrunk = disc(SHAPE[1:], (29, 28), 4)
    new, recomputed = repropagate(Oracle(labels), old, corrected={10: shrunk})
    assert all(4 < z < 16 for z in recomputed)
    assert (new.mask(10) == shrunk).all()
    assert new.kind(16) == SliceKind.SEED
