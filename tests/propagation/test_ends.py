"""Where objects end, which way they go from a seed, and what is looked at twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.propagation.difficult import disc
from tests.propagation.oracles import Oracle
from volseg.models.spec import IOU_SCORES
from volseg.propagation import Candidates, Context, Settings, SlicePrompt, State, propagate
from volseg.propagation.mending import Table
from volseg.propagation.retrying import retry
from volseg.propagation.starting import find_motion
from volseg.propagation.state import Pose
from volseg.propagation.track import SliceKind, TrackSlice
from volseg.propagation.window import MaskWindow

SIZE = (60, 70)


def column(depth: int, radius: float = 8) -> NDArray[np.int32]:
    """One object of label 1 on every slice, at the same place."""
    labels = np.zeros((depth, *SIZE), np.int32)
    labels[:, disc(SIZE, (30, 35), radius)] = 1
    return labels


class Fading(Oracle):
    """The object's score fades from slice 10 on; its mask stays."""

    def answer(self, z: int, prompt: SlicePrompt) -> tuple[list[NDArray[np.bool_]], list[float]]:
        masks, scores = super().answer(z, prompt)
        return masks, [score * max(0.2, 0.9 - 0.02 * max(0, z - 10)) for score in scores]


def test_doubt_ends_what_fades_slowly() -> None:
    labels = column(60)
    seeds = {1: {4: labels[4] == 1}}
    ended = propagate(Fading(labels), seeds, Settings(**IOU_SCORES))[1].slices
    endless = propagate(Fading(labels), seeds, Settings(**{**IOU_SCORES, "doubt": 0}))[1].slices
    assert 15 <= ended[-1] <= 35
    assert endless[-1] > ended[-1] + 10


class Lit(Oracle):
    """The model goes on for ever with the same score; the image does not."""

    def __init__(self, labels: NDArray[np.int32], light: NDArray[np.float64]) -> None:
        super().__init__(labels)
        self.light = light

    def brightness(self, z: int, mask: MaskWindow) -> tuple[float, ...]:
        return (float(self.light[z]),)


def test_an_object_ends_where_its_brightness_does() -> None:
    labels, chosen = column(60), Settings(**IOU_SCORES)
    seeds = {1: {10: labels[10] == 1}}
    light = np.where(np.arange(60) < 25, 0.7, 0.3)
    ended = propagate(Lit(labels, light), seeds, chosen)[1]
    assert ended.slices[0] == 0 and ended.slices[-1] == 24
    unseeing = Settings(**{**IOU_SCORES, "brightness": 0})
    assert propagate(Lit(labels, light), seeds, unseeing)[1].slices[-1] == 59
    assert propagate(Oracle(labels), seeds, chosen)[1].slices[-1] == 59  # nobody tells
    fading = np.linspace(0.8, 0.3, 60)  # as light does with depth
    assert propagate(Lit(labels, fading), seeds, chosen)[1].slices[-1] == 59
    second = seeds[1] | {40: labels[40] == 1}  # a prompt there says that it goes on
    assert propagate(Lit(labels, light), {1: second}, chosen)[1].slices[-1] == 59


def two_in_a_row(neck: bool) -> tuple[NDArray[np.int32], dict[int, dict[int, NDArray[np.bool_]]]]:
    """Two objects one above the other with nothing between; thinner where they meet, or not."""
    labels = np.zeros((24, *SIZE), np.int32)
    for z in range(24):
        radius = 8 - 3 * max(0, 1 - abs(z - 14.5) / 4) if neck else 8
        labels[z][disc(SIZE, (30, 35), radius)] = 1
    return labels, {i: {z: labels[z] == 1} for i, z in ((1, 4), (2, 20))}


@pytest.mark.parametrize(("neck", "border"), [(True, 14), (False, 12)])
def test_tracks_part_between_two_seeds(neck: bool, border: int) -> None:
    labels, seeds = two_in_a_row(neck)
    tracks = propagate(Oracle(labels), seeds)
    assert abs(tracks[1].slices[-1] - border) <= 2
    assert abs(tracks[2].slices[0] - border) <= 2
    together = propagate(Oracle(labels), seeds, Settings(part=False))
    assert together[1].slices[-1] > 18


@pytest.mark.parametrize("direction", [1, -1])
def test_a_fast_object_is_found_past_a_missing_slice(direction: int) -> None:
    labels = np.zeros((14, 60, 150), np.int32)
    for z in range(14):
        labels[z][disc((60, 150), (30, 20 + 8 * z), 6)] = 1
    seed = MaskWindow.crop(labels[6] == 1)
    labels[6 + direction] = 0
    state = State(direction, 6 + direction, Pose(6, seed))
    found = find_motion(Oracle(labels, 0, "blob"), 1, state, Context(), Settings())
    pose = found.last
    assert pose is not None
    assert pose.known
    assert found.score > 0.9
    assert np.allclose(pose.velocity, (0, 8 * direction), atol=1.0)


def test_without_support_a_seed_stands_still() -> None:
    labels = np.zeros((9, *SIZE), np.int32)
    labels[4][disc(SIZE, (30, 35), 8)] = 1
    state = State(1, 5, Pose(4, MaskWindow.crop(labels[4] == 1)))
    found = find_motion(Oracle(labels, 0, "nothing"), 1, state, Context(), Settings())
    pose = found.last
    assert pose is not None
    assert pose.known
    assert found.score == -1.0
    assert pose.velocity == (0.0, 0.0)


class Truth:
    """Offers the object and nothing else."""

    def __init__(self, labels: NDArray[np.int32]) -> None:
        self.labels, self.shape, self.asked = labels, labels.shape, set[int]()

    def predict(self, z: int, prompts: Sequence[SlicePrompt]) -> list[Candidates]:
        self.asked.add(z)
        return [Candidates((self.labels[z] == 1)[None], np.array([0.9])) for _ in prompts]


def test_low_confidence_is_tried_from_the_other_side() -> None:
    labels = column(12)
    whole = MaskWindow.crop(labels[0] == 1)
    wrong = MaskWindow.crop(disc(SIZE, (30, 44), 5))
    masks = {z: wrong if z in (5, 6) else whole for z in range(12)}
    table: Table = {
        z: TrackSlice.of(mask, 0.3 if z in (5, 6) else 0.9, SliceKind.DECODED)
        for z, mask in masks.items()
    }
    predictor = Truth(labels)
    retry(predictor, 1, table, masks, {1}, Context(), Settings())
    assert all(masks[z].same(whole) for z in range(12))
    assert table[5].confidence > 0.8
    assert predictor.asked == {5, 6}


def test_what_is_no_better_stays() -> None:
    labels = column(12)
    labels[5:7] = 0
    whole = MaskWindow.crop(labels[0] == 1)
    masks = dict.fromkeys(range(12), whole)
    table: Table = {
        z: TrackSlice.of(whole, 0.3 if z in (5, 6) else 0.9, SliceKind.BRIDGED) for z in masks
    }
    before = dict(table)
    retry(Truth(labels), 1, table, masks, {1}, Context(), Settings())
    assert table == before
