"""Blockwise equals whole: any cut of the slices, grouping or order of the objects, same tracks."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.propagation.difficult import disc
from tests.propagation.oracles import NoisyOracle
from volseg.models.spec import IOU_SCORES
from volseg.propagation import (
    Context,
    MaskWindow,
    Settings,
    SlicePrompt,
    State,
    Track,
    advance,
    merge_all,
    propagate,
    settle,
    start_states,
)
from volseg.propagation.propagate import as_windows

SHAPE = (20, 72, 80)


def crowd() -> tuple[NDArray[np.int32], dict[int, dict[int, NDArray[np.bool_]]]]:
    """Six objects that drift, branch, vanish and touch; some with two seeds."""
    labels = np.zeros(SHAPE, np.int32)
    for z in range(2, 18):
        spots = {
            1: (15 + 2.0 * (z - 2), 14.0, 6.0),
            2: (16, 40 + 0.5 * z, 7.0),
            3: (36, 62, 5.0 + 0.3 * z),
            5: (56, 52, 8.0),
            6: (60, 68 - 0.4 * z, 6.0),
        }
        for i, (y, x, r) in spots.items():
            if not (i == 2 and z in (9, 13)):
                labels[z][disc(SHAPE[1:], (y, x), r) & (labels[z] == 0)] = i
        for sign in (-1, 1):
            spot = disc(SHAPE[1:], (36, 34 + sign * max(0, z - 9) * 1.5), 5)
            labels[z][spot & (labels[z] == 0)] = 4
    slices = {1: [4, 12], 2: [6], 3: [10, 16], 4: [3], 5: [2], 6: [17]}
    seeds = {i: {z: labels[z] == i for z in of} for i, of in slices.items()}
    return labels, seeds


def marks(labels: NDArray[np.int32]) -> dict[int, dict[int, SlicePrompt]]:
    """A point on every object, on slices with and without seeds."""
    out = {}
    for i in range(1, 7):
        z = 4 + i
        ys, xs = np.nonzero(labels[z] == i)
        point = np.array([[ys[len(ys) // 2], xs[len(xs) // 2]]], dtype=float)
        out[i] = {z: SlicePrompt(point, np.ones(1, dtype=int))}
    return out


ENDS = {5: frozenset({14})}


class Lit(NoisyOracle):
    """It also tells how bright the image is, which is lit unevenly."""

    def brightness(self, z: int, mask: MaskWindow) -> tuple[float, ...]:
        y, x = mask.centroid
        return 0.5 + 0.3 * float(np.sin(y / 9 + z)), 0.4 + 0.2 * float(np.cos(x / 7 - z))


class Fixture:
    """The whole, once."""

    def __init__(self, chosen: Settings) -> None:
        self.settings = chosen
        self.labels, self.seeds = crowd()
        self.prompts = marks(self.labels)
        kind = Lit if chosen.brightness else NoisyOracle
        self.predictor = kind(self.labels, 5, 0.1, ("shifted", "neighbour", "inflated", "empty"))
        self.whole = propagate(self.predictor, self.seeds, chosen, prompts=self.prompts, ends=ENDS)


@pytest.fixture(scope="module")
def crowded() -> Fixture:
    return Fixture(Settings())


@pytest.fixture(scope="module")
def crowded_sam() -> Fixture:
    return Fixture(Settings(**IOU_SCORES))


def blockwise(case: Fixture, cuts: list[int], groups: list[list[int]]) -> dict[int, Track]:
    """As a job does it: groups of objects, windows of slices, states through bytes."""
    windows = as_windows(case.seeds, SHAPE)
    context = Context(case.prompts, windows, ENDS)
    edges = [0, *sorted(set(cuts)), SHAPE[0]]
    blocks = [range(a, b) for a, b in pairwise(edges) if b > a]
    out: dict[int, Track] = {}
    for group in groups:
        passes = {}
        for direction in (1, -1):
            states = start_states({i: windows[i] for i in group}, direction)
            pieces: dict[int, list[Track]] = {i: [] for i in group}
            for block in blocks if direction > 0 else reversed(blocks):
                found, states = advance(
                    case.predictor, states, block, direction, context, case.settings
                )
                states = {i: State.from_bytes(s.to_bytes()) for i, s in states.items()}
                for i, piece in found.items():
                    assert all(z in block for z in piece.slices)
                    pieces[i].append(Track.from_bytes(piece.to_bytes()))
            assert all(state.finished for state in states.values())
            passes[direction] = {i: merge_all(SHAPE, pieces[i]) for i in group}
        for i in group:
            out[i] = settle(
                case.predictor,
                windows[i],
                passes[1][i],
                passes[-1][i],
                case.settings,
                context=context,
                object_id=i,
            )
    return out


@settings(max_examples=5, deadline=None)
@given(
    cuts=st.lists(st.integers(1, SHAPE[0] - 1), max_size=6),
    shuffle=st.integers(0, 10**6),
    n_groups=st.integers(1, 6),
)
def test_any_cut_grouping_and_order_gives_the_same_bytes(
    crowded: Fixture, cuts: list[int], shuffle: int, n_groups: int
) -> None:
    ids = list(crowded.seeds)
    random.Random(shuffle).shuffle(ids)
    groups = [ids[k::n_groups] for k in range(n_groups)]
    found = blockwise(crowded, cuts, groups)
    assert {i: t.to_bytes() for i, t in found.items()} == {
        i: t.to_bytes() for i, t in crowded.whole.items()
    }


def test_doubt_is_handed_from_window_to_window(crowded_sam: Fixture) -> None:
    found = blockwise(crowded_sam, [3, 7, 8, 13], [[1, 4, 6], [3], [2, 5]])
    assert {i: t.to_bytes() for i, t in found.items()} == {
        i: t.to_bytes() for i, t in crowded_sam.whole.items()
    }


def test_the_crowd_is_followed(crowded: Fixture) -> None:
    """The comparison above is about tracks that hold something."""
    for i, track in crowded.whole.items():
        truth = crowded.labels == i
        found = np.array([track.mask(z) for z in range(SHAPE[0])])
        upto = 14 if i == 5 else SHAPE[0]
        both = (found & truth)[:upto].sum()
        assert 2 * both / (found[:upto].sum() + truth[:upto].sum()) > 0.7, i


def test_a_stop_mark_stops(crowded: Fixture) -> None:
    assert max(crowded.whole[5].slices) < 14


def test_order_of_the_seeds_does_not_matter(crowded: Fixture) -> None:
    backwards = {i: dict(reversed(of.items())) for i, of in reversed(crowded.seeds.items())}
    again = propagate(
        crowded.predictor,
        backwards,
        prompts=dict(reversed(crowded.prompts.items())),
        ends=ENDS,
    )
    assert again == crowded.whole
