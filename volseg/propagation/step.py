"""One slice for a group of objects: prompts in rounds, the choice among candidates, the next state.

Objects of a group share each call of the model; none sees another's track.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from volseg.propagation.context import Context
from volseg.propagation.judge import Expected, Judgement
from volseg.propagation.motion import following
from volseg.propagation.predictor import SlicePredictor, brightness_of
from volseg.propagation.search import Search
from volseg.propagation.settings import Settings
from volseg.propagation.starting import find_motion
from volseg.propagation.state import Pose, State, waiting
from volseg.propagation.track import SliceKind, TrackSlice
from volseg.propagation.window import MaskWindow

Steps = dict[int, tuple[State, TrackSlice | None]]
"""Per object: the state to go on with, and what was found on the slice."""


def step(
    predictor: SlicePredictor,
    z: int,
    states: Mapping[int, State],
    context: Context,
    settings: Settings,
) -> Steps:
    """Takes every object of the group over slice `z`.

    Parameters
    ----------
    predictor : SlicePredictor
    z : int
        The `next_z` of every state.
    states : {object id: State}
    context : Context
        That of the whole job.
    settings : Settings

    Returns
    -------
    {object id: (State, TrackSlice or None)}
        Seeds are not repeated in the second part.
    """
    n_slices, shape_yx = predictor.shape[0], predictor.shape[1:]
    done: Steps = {}
    searches: dict[int, Search] = {}
    for i in sorted(states):
        state = states[i]
        if z in state.pending:
            done[i] = _take_seed(predictor, state, z, settings), None
        elif state.last is None or context.stops(i, z):
            done[i] = waiting(_past(state), n_slices), None
        else:
            search = Search(i, z, state, context, shape_yx, settings)
            if search.expectations:
                searches[i] = search
            else:
                done[i] = _lost(state, n_slices, settings), None
    _decode(predictor, z, searches)
    if settings.mirror:
        _find_motions(predictor, z, searches, context, settings)
    for i, search in searches.items():
        chosen = search.chosen()
        if chosen is None:
            done[i] = _lost(search.state, n_slices, settings), None
        else:
            seen = _brightness(predictor, z, chosen[1].mask, settings)
            done[i] = _found(search, *chosen, seen, n_slices)
    return done


def _decode(predictor: SlicePredictor, z: int, searches: Mapping[int, Search]) -> None:
    """Rounds of prompts, all objects of a round in one call, until each search has enough."""
    for number in range(Search.ROUNDS):
        asked = {i: search.prompts(number) for i, search in searches.items()}
        prompts = [prompt for own in asked.values() for prompt in own]
        if not prompts:
            continue
        answers = predictor.predict(z, prompts)
        at = 0
        for i, own in asked.items():
            searches[i].weigh(number, own, answers[at : at + len(own)])
            at += len(own)


def _find_motions(
    predictor: SlicePredictor,
    z: int,
    searches: dict[int, Search],
    context: Context,
    settings: Settings,
) -> None:
    """Where the first step from a seed is unsure: looks around the seed, and searches anew."""
    again = {}
    for i, search in searches.items():
        if search.lost_at_seed():
            state = find_motion(predictor, i, search.state, context, settings)
            again[i] = Search(i, z, state, context, predictor.shape[1:], settings)
    searches.update(again)
    _decode(predictor, z, {i: search for i, search in again.items() if search.expectations})


def _past(state: State) -> State:
    return replace(state, next_z=state.next_z + state.direction)


def _brightness(
    predictor: SlicePredictor, z: int, mask: MaskWindow, settings: Settings
) -> tuple[float, ...]:
    """How bright the image is under a mask; () where nobody asks or knows."""
    return brightness_of(predictor, z, mask) if settings.brightness else ()


def _likeness(state: State, seen: tuple[float, ...], settings: Settings) -> float:
    """How alike a mask is to the object in brightness, 0..1."""
    if not seen or not state.brightness:
        return 1.0
    away = np.subtract(seen, state.brightness) / settings.brightness
    return float(np.exp(-0.5 * np.mean(away**2)))


def _take_seed(predictor: SlicePredictor, state: State, z: int, settings: Settings) -> State:
    """A prompted slice: the seed is the mask, and a motion from the last mask is kept."""
    seed, n_slices = state.pending[z], predictor.shape[0]
    pending = {at: mask for at, mask in state.pending.items() if at != z}
    state = replace(state, pending=pending, anchor=None, doubt=0.0)
    if not seed.area:
        return waiting(_past(state), n_slices)
    pose = Pose(z, seed)
    if state.last is not None:
        moved = (seed.centroid - state.last.mask.centroid) / abs(z - state.last.z)
        pose = Pose(z, seed, (float(moved[0]), float(moved[1])), True)
    seen = _brightness(predictor, z, seed, settings)
    return _ended(replace(_past(state), last=pose, brightness=seen), n_slices)


def _ended(state: State, n_slices: int) -> State:
    """The state, finished where it has left the volume."""
    return state if 0 <= state.next_z < n_slices else waiting(state, n_slices)


def _lost(state: State, n_slices: int, settings: Settings) -> State:
    """Nothing on this slice: go on for a while, then wait for the next seed."""
    state = replace(_past(state), doubt=state.doubt + settings.doubt_gap)
    if state.gap > settings.patience or _ends(state, settings):
        return waiting(state, n_slices)
    return _ended(state, n_slices)


def _ends(state: State, settings: Settings) -> bool:
    """Whether so much doubt has gathered that the object has ended."""
    return 0 < settings.doubt < state.doubt


def _found(
    search: Search,
    expected: Expected,
    judgement: Judgement,
    seen: tuple[float, ...],
    n_slices: int,
) -> tuple[State, TrackSlice | None]:
    """The next state after an accepted mask, and the record of the mask.

    The usual score is that of points where those decide, else that of the masks taken. The
    usual brightness follows what is `seen` slowly: light fades with depth, an object ends at once.
    """
    state, z, settings, before = search.state, search.z, search.settings, expected.pose
    abrupt = judgement.agreement < settings.abrupt
    share = settings.velocity_smoothing if before.known else 1.0
    if abrupt and before.known and judgement.area_ratio < settings.jump_area:
        share = 0.0  # the centroid of another extent says little about motion
    pose = following(before, z, judgement.mask, share, not abrupt)
    anchor = state.anchor
    if anchor is before or (anchor is not None and abs(z - anchor.z) >= settings.patience + 1):
        anchor = None
    doubtful = judgement.agreement < settings.doubtful
    if settings.glitches and doubtful and anchor is None:
        anchor = before
    pointed = search.pointed if settings.points_decide else None
    said = judgement.score if pointed is None else pointed
    score, spread = said, state.spread
    if state.score >= 0:
        score = 0.85 * state.score + 0.15 * said
        spread = 0.7 * state.spread + 0.3 * abs(said - state.score)
    top = max(state.top, score if state.top < 0 else 0.85 * state.top + 0.15 * said)
    sure = judgement.confidence(settings)
    if settings.doubt:
        sure = judgement.agreement * min(1.0, max(0.0, said) / max(top, 1e-6))
        sure *= _likeness(state, seen, settings)
    doubt = max(0.0, state.doubt - min(sure - settings.doubt_below, settings.relief))
    usual = state.brightness or seen
    if seen:
        usual = tuple(0.9 * a + 0.1 * b for a, b in zip(usual, seen, strict=True))
    state = replace(
        _past(state),
        brightness=usual,
        last=pose,
        anchor=anchor,
        score=score,
        spread=spread,
        top=top,
        doubt=doubt,
    )
    record = TrackSlice.of(judgement.mask, sure, SliceKind.DECODED, before.z)
    if _ends(state, settings):
        return waiting(state, n_slices), None
    return _ended(state, n_slices), record
