"""Slices of low confidence inside a track, tried again from their other side.

A pass that was led astray for a while says so by its confidence. Beyond such a run it knew the
object again, and from there the run is looked at once more, backwards.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from volseg.propagation.context import Context
from volseg.propagation.mending import Table
from volseg.propagation.predictor import SlicePredictor
from volseg.propagation.settings import Settings
from volseg.propagation.state import Direction, Pose, State
from volseg.propagation.step import step
from volseg.propagation.track import SliceKind
from volseg.propagation.window import MaskWindow, iou

LONGEST = 12
"""Slices of one run that are tried again at most."""


def retry(
    predictor: SlicePredictor,
    object_id: int,
    table: Table,
    masks: dict[int, MaskWindow],
    seeds: set[int],
    context: Context,
    settings: Settings,
) -> None:
    """Tries runs of low confidence again from outside; changes the arguments.

    What is found replaces the run if it is more certain on the whole, and fits the slice before
    the run at least as well as what was there.

    Parameters
    ----------
    predictor : SlicePredictor
    object_id : int
    table, masks : {z: …}
        The track so far, gaps bridged.
    seeds : set of int
        The prompted slices.
    context : Context
    settings : Settings
    """
    for direction, start in ((1, max(seeds)), (-1, min(seeds))):
        for run in _runs(table, start, direction, settings):
            found = _backwards(predictor, object_id, run, direction, masks, context, settings)
            if _better(found, run, direction, table, masks):
                for z, entry in found.items():
                    table[z], masks[z] = entry, entry.window()


def _runs(table: Table, start: int, direction: Direction, settings: Settings) -> list[list[int]]:
    """Runs of doubtful slices outward from a seed, each with a sure slice on either side."""
    runs: list[list[int]] = []
    run: list[int] = []
    for z in sorted((z for z in table if (z - start) * direction > 0), reverse=direction < 0):
        if table[z].confidence < settings.retry_below:
            run.append(z)
            continue
        if 0 < len(run) <= LONGEST and z - run[-1] == direction:
            runs.append(run)
        run = []
    return runs


def _backwards(
    predictor: SlicePredictor,
    object_id: int,
    run: list[int],
    direction: Direction,
    masks: dict[int, MaskWindow],
    context: Context,
    settings: Settings,
) -> Table:
    """What the model finds on the slices of a run, coming from beyond it."""
    beyond = run[-1] + direction
    velocity = (0.0, 0.0)
    if beyond + direction in masks:
        moved = masks[beyond].centroid - masks[beyond + direction].centroid
        velocity = float(moved[0]), float(moved[1])
    state = State(-direction, run[-1], Pose(beyond, masks[beyond], velocity, True))
    found: Table = {}
    while not state.finished and state.next_z in run:
        z = state.next_z
        state, entry = step(predictor, z, {object_id: state}, context, settings)[object_id]
        state = replace(state, pending={})
        if entry is not None:
            found[z] = replace(entry, continues=-1)
    return found


def _better(
    found: Table,
    run: list[int],
    direction: Direction,
    table: Table,
    masks: dict[int, MaskWindow],
) -> bool:
    """Whether the run is better replaced, all of it."""
    if set(found) != set(run):
        return False
    now = float(np.mean([found[z].confidence for z in run]))
    was = float(np.mean([table[z].confidence for z in run]))
    before = masks.get(run[0] - direction)
    if before is None or now <= was:
        return False
    fits = iou(found[run[0]].window(), before)
    bridged = all(table[z].kind == SliceKind.BRIDGED for z in run)
    return fits >= (0.3 if bridged else iou(masks[run[0]], before))
