"""Objects through the slices: seeds from prompts, passes up and down over windows of slices.

`propagate` is the building blocks over one window, so that any cut gives the same tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.propagation.context import Context
from volseg.propagation.predictor import SlicePredictor, SlicePrompt
from volseg.propagation.settings import DEFAULTS, Settings
from volseg.propagation.settle import settle
from volseg.propagation.state import Direction, State
from volseg.propagation.step import step
from volseg.propagation.track import Track, TrackSlice
from volseg.propagation.window import MaskWindow

Progress = Callable[..., Any]
"""progress(stage, done, total, message)"""

Seeds = Mapping[int, Mapping[int, NDArray[np.generic] | MaskWindow]]
"""{object id: {z: mask}}, masks (y, x) bool of the whole slice, or windows."""


def as_windows(seeds: Seeds, shape: tuple[int, int, int]) -> dict[int, dict[int, MaskWindow]]:
    """The seeds as windows.

    Raises
    ------
    InputError
        A seed lies on no slice of the volume, or has not the slice's shape.
    """
    out: dict[int, dict[int, MaskWindow]] = {}
    for i in sorted(seeds):
        out[i] = {}
        for z in sorted(seeds[i]):
            mask = seeds[i][z]
            if not 0 <= z < shape[0]:
                raise InputError(
                    f"object {i} has a seed on slice {z}, but the volume has slices 0 to "
                    f"{shape[0] - 1}; check the prompt's z"
                )
            if isinstance(mask, MaskWindow):
                out[i][z] = mask.clipped(shape[1:])
                continue
            mask = np.asarray(mask)
            if mask.shape != tuple(shape[1:]):
                raise InputError(
                    f"the seed of object {i} on slice {z} has the shape {mask.shape}, but the "
                    f"slice has {tuple(shape[1:])}; give masks of whole slices (y, x)"
                )
            out[i][z] = MaskWindow.crop(mask)
    return out


def start_states(
    seeds: Mapping[int, Mapping[int, MaskWindow]], direction: Direction
) -> dict[int, State]:
    """The states before the first slice of a pass.

    Parameters
    ----------
    seeds : {object id: {z: MaskWindow}}
    direction : 1 or -1
        Upward passes start at an object's lowest seed, downward ones at its highest.
    """
    states = {}
    for i in sorted(seeds):
        pending = {z: seeds[i][z] for z in sorted(seeds[i]) if seeds[i][z].area}
        if pending:
            first = min(pending) if direction > 0 else max(pending)
            states[i] = State(direction, first, None, pending=pending)
    return states


def advance(
    predictor: SlicePredictor,
    states: Mapping[int, State],
    window: range,
    direction: Direction,
    context: Context | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> tuple[dict[int, Track], dict[int, State]]:
    """Takes a group of objects over a window of slices.

    Parameters
    ----------
    predictor : SlicePredictor
    states : {object id: State}
        As `start_states` or the window before gave them, all of one direction.
    window : range of z
        Consecutive slices; the pass goes through them in `direction`, whichever way it counts.
        States whose next slice is not in it are handed on as they are.
    direction : 1 or -1
    context : Context
        That of the whole job.
    settings : Settings

    Returns
    -------
    pieces : {object id: Track}
        What the model found on the window's slices, for every object given (maybe empty). Seeds
        and bridged gaps are not in them: `settle` adds those.
    states : {object id: State}
        To hand to the next window; `finished` where nothing is left to do.
    """
    context, settings = context or Context(), settings or DEFAULTS
    states = dict(sorted(states.items()))
    found: dict[int, dict[int, TrackSlice]] = {i: {} for i in states}
    low, high = (window[0], window[-1]) if len(window) else (0, -1)
    low, high = min(low, high), max(low, high)
    slices = range(low, high + 1) if direction > 0 else range(high, low - 1, -1)
    for n, z in enumerate(slices if len(window) else ()):
        here = {i: s for i, s in states.items() if not s.finished and s.next_z == z}
        if here:
            for i, (state, entry) in step(predictor, z, here, context, settings).items():
                states[i] = state
                if entry is not None:
                    found[i][z] = entry
        if progress is not None:
            progress("propagate", n + 1, len(window))
    return {i: Track(predictor.shape, found[i]) for i in states}, states


def propagate(
    predictor: SlicePredictor,
    seeds: Seeds,
    settings: Settings | None = None,
    *,
    prompts: Mapping[int, Mapping[int, SlicePrompt]] | None = None,
    ends: Mapping[int, set[int] | frozenset[int]] | None = None,
    progress: Progress | None = None,
) -> dict[int, Track]:
    """Follows objects from their prompted slices through the volume.

    Parameters
    ----------
    predictor : SlicePredictor
    seeds : {object id: {z: mask}}
        The masks on the prompted slices, (y, x) bool each, as `seed_masks` or a person gave them.
    settings : Settings, optional
    prompts : {object id: {z: SlicePrompt}}, optional
        What people marked, also of objects without seeds: the others' positive points count as
        negatives, an object's own points steer it on slices without a seed.
    ends : {object id: {z}}, optional
        Slices before which an object stops.
    progress : callable, optional
        Called as progress(stage, done, total).

    Returns
    -------
    {object id: Track}
        One for every object with a seed that is not empty.

    Raises
    ------
    InputError
        A seed does not fit the volume.
    """
    settings = settings or DEFAULTS
    windows = as_windows(seeds, predictor.shape)
    context = Context(prompts, windows, ends)
    whole = range(predictor.shape[0])
    passes = {}
    for direction in (1, -1):
        states = start_states(windows, direction)
        passes[direction], _ = advance(
            predictor, states, whole, direction, context, settings, progress
        )
    return {
        i: settle(predictor, windows[i], up, passes[-1][i], settings, context=context, object_id=i)
        for i, up in passes[1].items()
    }
