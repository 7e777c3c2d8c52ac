"""Masks in windows, tracks, states, context, seeds and composition: each by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.propagation.difficult import disc
from tests.propagation.oracles import Oracle
from volseg.errors import InputError, UnsupportedFormatError
from volseg.propagation import (
    Context,
    MaskWindow,
    SliceKind,
    SlicePrompt,
    State,
    Track,
    TrackSlice,
    compose_block,
    propagate,
    seed_masks,
)
from volseg.propagation.geometry import between, components, cut_necks, interior_points
from volseg.propagation.motion import ahead, following, resized
from volseg.propagation.state import Pose
from volseg.propagation.track import decode_runs, encode_runs
from volseg.propagation.window import iou, shared_area, union, without

masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))
origins = st.tuples(st.integers(-5, 20), st.integers(-5, 20))
SHAPE = (5, 40, 44)


@settings(deadline=None)
@given(masks)
def test_runs_are_exact(mask: np.ndarray) -> None:
    assert np.array_equal(decode_runs(encode_runs(mask), mask.shape), mask)


@settings(deadline=None)
@given(masks, origins, masks, origins)
def test_windows_compare_as_whole_slices_do(
    a: np.ndarray, at: tuple[int, int], b: np.ndarray, bt: tuple[int, int]
) -> None:
    first = MaskWindow.crop(a, at).clipped(SHAPE[1:])
    second = MaskWindow.crop(b, bt).clipped(SHAPE[1:])
    f, s = first.full(SHAPE[1:]), second.full(SHAPE[1:])
    assert shared_area(first, second) == (f & s).sum()
    assert iou(first, second) == pytest.approx((f & s).sum() / max(1, (f | s).sum()))
    assert np.array_equal(union(first, second).full(SHAPE[1:]), f | s)
    assert np.array_equal(without(first, second).full(SHAPE[1:]), f & ~s)
    assert first.area == f.sum()


def window(y: float, x: float, r: float, shape: tuple[int, int] = SHAPE[1:]) -> MaskWindow:
    return MaskWindow.crop(disc(shape, (y, x), r))


def track() -> Track:
    kinds = [SliceKind.SEED, SliceKind.DECODED, SliceKind.BRIDGED]
    entries = {z: TrackSlice.of(window(12, 14, 4 + z), 0.5, kinds[z]) for z in range(3)}
    return Track(SHAPE, entries)


def test_tracks_survive_bytes_and_compare_by_content() -> None:
    first = track()
    again = Track.from_bytes(first.to_bytes())
    assert again == first
    assert again.to_bytes() == first.to_bytes()
    changed = first.entries()
    changed[1] = TrackSlice.of(window(12, 15, 5), 0.5, SliceKind.DECODED)
    assert Track(SHAPE, changed) != first
    assert first.voxels == sum(int(first.mask(z).sum()) for z in range(SHAPE[0]))
    assert first.bbox3d == ((0, 3), (6, 19), (8, 21))
    assert not first.mask(4).any()
    assert first.confidence(4) == 0.0


@pytest.mark.parametrize("spoil", [lambda b: b[:-3], lambda b: b"x" + b[1:], lambda b: b + b"0"])
def test_damaged_tracks_are_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnsupportedFormatError, match="not a stored track"):
        Track.from_bytes(spoil(track().to_bytes()))


def test_states_survive_bytes() -> None:
    two = union(window(10, 10, 4), window(25, 30, 5))
    pose = Pose(3, two, (0.1 + 0.2, -1 / 3), True, ((1 / 7, 2.0), (0.3, 1e-17)), 0.1)
    state = State(
        -1, 2, pose, Pose(4, two), 0.7, 0.1 / 3, 0.8, 0.25, (0.3, 1 / 3), {1: window(5, 5, 2)}
    )
    data = state.to_bytes()
    again = State.from_bytes(data)
    assert again.to_bytes() == data
    assert again.last is not None
    assert again.last.velocity == pose.velocity
    assert again.last.mask.same(two)
    with pytest.raises(UnsupportedFormatError):
        State.from_bytes(b'{"format": "other"}')


def test_interior_points_lie_inside_every_component() -> None:
    two = union(window(10, 10, 5), window(28, 30, 6))
    points = interior_points(two, 3, 4)
    assert len(points) == 6
    assert all(two.contains(y, x) for y, x in points)
    parts = components(two)
    assert {k for y, x in points for k, p in enumerate(parts) if p.contains(y, x)} == {0, 1}


def test_a_leak_through_a_thin_neck_is_cut() -> None:
    here, leak = window(15, 10, 6), window(15, 30, 8)
    bridge = np.zeros(SHAPE[1:], bool)
    bridge[14:16, 10:30] = True
    leaked = union(union(here, leak), MaskWindow.crop(bridge))
    assert iou(cut_necks(leaked, here), here) > 0.85
    assert cut_necks(here, here) is here or cut_necks(here, here).same(here)


def test_bridges_move_and_resize() -> None:
    middle = between(window(10, 10, 4), window(24, 30, 8), 0.5)
    assert iou(middle, window(17, 20, 6)) > 0.8


def test_components_move_by_their_own_velocity() -> None:
    before = union(window(10, 10, 4), window(28, 30, 5))
    now = union(window(11, 10, 4), window(26, 30, 5))
    pose = following(Pose(0, before, (0, 0), True), 1, now, 1.0, True)
    later = ahead(pose, 2)
    assert iou(later, union(window(13, 10, 4), window(22, 30, 5))) > 0.9


def test_masks_grow_and_shrink_by_whole_voxels() -> None:
    disc_10 = window(20, 20, 10)
    assert iou(resized(disc_10, -2.0), window(20, 20, 8)) > 0.9
    assert iou(resized(disc_10, 2.0), window(20, 20, 12)) > 0.9
    assert resized(disc_10, 0.3) is disc_10


def point(y: float, x: float, label: int = 1) -> SlicePrompt:
    return SlicePrompt(np.array([[y, x]]), np.array([label]))


def test_negatives_come_from_the_others_prompts_only() -> None:
    context = Context({1: {2: point(5, 5)}, 2: {2: point(9, 9)}, 3: {3: point(8, 8)}})
    box = (0, 0, 40, 44)
    assert context.others_points(1, 2, box, 0) == [(0, 9.0, 9.0)]
    assert context.others_points(1, 2, box, 1) == [(0, 9.0, 9.0), (1, 8.0, 8.0)]
    assert context.others_points(1, 2, (0, 0, 9, 9), 1) == [(1, 8.0, 8.0)]


def test_seeds_respect_the_marks() -> None:
    labels = np.zeros(SHAPE, np.int32)
    labels[2][disc(SHAPE[1:], (12, 12), 6)] = 1
    labels[2][disc(SHAPE[1:], (12, 24), 6)] = 2
    prompts = {
        1: {2: point(12, 12)},
        2: {2: point(12, 24)},
        3: {2: point(30, 30, 0)},
        4: {2: SlicePrompt(box=(5.0, 17.0, 19.0, 31.0))},
    }
    given_mask = np.where(disc(SHAPE[1:], (30, 30), 3), 1.0, -1.0)
    prompts[5] = {2: SlicePrompt(mask_logits=given_mask)}
    seeds = seed_masks(Oracle(labels), prompts)
    first, second = seeds[1][2][0], seeds[2][2][0]
    assert iou(first, MaskWindow.crop(labels[2] == 1)) == 1.0
    assert iou(second, MaskWindow.crop(labels[2] == 2)) == 1.0
    assert seeds[3] == {}
    assert iou(seeds[5][2][0], window(30, 30, 3)) == 1.0
    assert seeds[5][2][1] == 1.0


def test_overlaps_go_to_the_score_then_to_the_lower_id() -> None:
    def one(x: float) -> Track:
        return Track(SHAPE, {1: TrackSlice.of(window(12, x, 5), 1.0, SliceKind.SEED)})

    tracks = [(7, one(12), 0.5), (3, one(15), 0.5), (9, one(18), 0.9)]
    region = ((0, 3), (4, 30), (2, 40))
    block = compose_block(region, tracks, np.uint16)
    assert block.dtype == np.uint16
    assert np.array_equal(block, compose_block(region, reversed(tracks), np.uint16))
    assert block[1, 12 - 4, 15 - 2] == 9
    assert block[1, 12 - 4, 12 - 2] == 3
    assert block[1, 12 - 4, 8 - 2] == 7
    whole = compose_block(((0, 5), (0, 40), (0, 44)), tracks)
    assert np.array_equal(whole[0:3, 4:30, 2:40], block)
    with pytest.raises(InputError, match="does not fit"):
        compose_block(region, [(300, one(12), 1.0)], np.uint8)
    with pytest.raises(InputError, match="twice"):
        compose_block(region, [(3, one(12), 1.0), (3, one(14), 1.0)])


def test_seeds_that_do_not_fit_are_refused() -> None:
    oracle = Oracle(np.zeros(SHAPE, np.int32))
    with pytest.raises(InputError, match="slices 0 to 4"):
        propagate(oracle, {1: {7: np.zeros(SHAPE[1:], bool)}})
    with pytest.raises(InputError, match="has the shape"):
        propagate(oracle, {1: {2: np.zeros((3, 3), bool)}})


def test_two_dimensional_images_are_volumes_of_one_slice() -> None:
    labels = disc((40, 44), (20, 20), 8).astype(np.int32)[None]
    found = propagate(Oracle(labels), {4: {0: labels[0] == 1}})[4]
    assert found.slices == [0]
    assert np.array_equal(found.mask(0), labels[0] == 1)
