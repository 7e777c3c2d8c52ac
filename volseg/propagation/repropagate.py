"""After a correction: only the slices from the corrected one until the track meets the old one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from volseg.propagation.context import Context
from volseg.propagation.mending import Table, bridge, part, trim
from volseg.propagation.predictor import SlicePredictor, SlicePrompt
from volseg.propagation.propagate import as_windows, start_states
from volseg.propagation.settings import DEFAULTS, Settings
from volseg.propagation.settle import standing
from volseg.propagation.state import Direction
from volseg.propagation.step import step
from volseg.propagation.track import SliceKind, Track, TrackSlice
from volseg.propagation.window import MaskWindow, iou


def repropagate(
    predictor: SlicePredictor,
    old: Track,
    settings: Settings | None = None,
    *,
    corrected: Mapping[int, NDArray[Any] | MaskWindow],
    object_id: int = 0,
    prompts: Mapping[int, Mapping[int, SlicePrompt]] | None = None,
    seeds: Mapping[int, Mapping[int, MaskWindow]] | None = None,
    ends: Mapping[int, set[int] | frozenset[int]] | None = None,
) -> tuple[Track, list[int]]:
    """Follows a corrected object anew from the corrected slices.

    Both ways from every corrected slice, until the new masks agree with the old ones on
    `settings.meet_slices` slices in a row, another prompted slice comes, or the object ends: then
    what the old track has beyond, up to the next prompted slice, was wrong too and is dropped.

    Parameters
    ----------
    predictor : SlicePredictor
    old : Track
        As `propagate` or an earlier correction gave it.
    settings : Settings, optional
    corrected : {z: mask}
        The masks as a person left them, (y, x) bool of whole slices, or windows. An empty mask
        says that the object is not on the slice.
    object_id : int
        The object's id in `prompts`, `seeds` and `ends`.
    prompts, seeds, ends
        As for `Context`: marks of all objects, seeds of the others, stop marks.

    Returns
    -------
    track : Track
    recomputed : list of int
        The slices that were decoded, corrected or dropped, ascending; all others are as before.

    Raises
    ------
    InputError
        A mask does not fit the volume.
    """
    settings = settings or DEFAULTS
    masks = as_windows({object_id: corrected}, old.shape)[object_id]
    absent = {z for z, mask in masks.items() if not mask.area}
    stops = {i: frozenset(of) for i, of in (ends or {}).items()}
    stops[object_id] = stops.get(object_id, frozenset()) | absent
    context = Context(prompts, seeds, stops)
    table = _without_stopped(old, stops[object_id], {z for z in masks if z not in absent})
    fixed = {z for z in table if table[z].kind == SliceKind.SEED} | set(masks)
    fresh = {z: mask for z, mask in masks.items() if mask.area}
    changed = set(masks) | {z for z in old.slices if z not in table}
    for z, mask in fresh.items():
        table[z] = TrackSlice.of(mask, 1.0, SliceKind.SEED)
    for z in sorted(fresh):
        for direction in (1, -1):
            found, visited = _from(
                predictor, object_id, z, fresh[z], direction, old, fixed, context, settings
            )
            for at in visited:
                table.pop(at, None)
            table.update(found)
            changed |= visited
    return Track(old.shape, table), sorted(changed)


def _without_stopped(old: Track, stops: frozenset[int], corrected: set[int]) -> Table:
    """The old slices, without those that lie behind a stop mark seen from every seed."""
    table = old.entries()
    seeds = {z for z in table if table[z].kind == SliceKind.SEED} | corrected
    for stop in sorted(stops):
        table.pop(stop, None)
        for side in (1, -1):
            behind = [z for z in table if (z - stop) * side > 0]
            if not any((s - stop) * side > 0 for s in seeds):
                for z in behind:
                    table.pop(z, None)
    return table


def _from(
    predictor: SlicePredictor,
    object_id: int,
    start: int,
    mask: MaskWindow,
    direction: Direction,
    old: Track,
    fixed: set[int],
    context: Context,
    settings: Settings,
) -> tuple[Table, set[int]]:
    """What is found from one corrected slice one way, and the slices that it replaces."""
    states = start_states({object_id: {start: mask}}, direction)
    state = states[object_id]
    found: Table = {}
    visited: set[int] = set()
    meeting = 0
    while not state.finished:
        z = state.next_z
        if z != start and z in fixed:
            break
        state, entry = step(predictor, z, {object_id: state}, context, settings)[object_id]
        if z == start:
            continue
        visited.add(z)
        if entry is not None:
            found[z] = entry
        meeting = meeting + 1 if _meets(entry, old, z, settings) else 0
        if meeting >= settings.meet_slices:
            break
    ended = state.finished and meeting < settings.meet_slices
    if ended:
        visited |= _rest(old, start, direction, fixed)
    table = standing(Track(old.shape, found), direction)
    return _mended(table, object_id, start, mask, ended, context, settings), visited


def _meets(entry: TrackSlice | None, old: Track, z: int, settings: Settings) -> bool:
    """Whether the new mask is the old one, nearly."""
    if entry is None or z not in old:
        return False
    return iou(entry.window(), old.mask_window(z)) >= settings.meet


def _rest(old: Track, start: int, direction: Direction, fixed: set[int]) -> set[int]:
    """The old track's slices from `start` to the next prompted one."""
    rest = set()
    for z in sorted(old.slices, reverse=direction < 0):
        if (z - start) * direction <= 0:
            continue
        if z in fixed:
            break
        rest.add(z)
    return rest


def _mended(
    table: Table,
    object_id: int,
    start: int,
    mask: MaskWindow,
    ended: bool,
    context: Context,
    settings: Settings,
) -> Table:
    """Glitches out, gaps bridged, and a free end trimmed, as `settle` does it."""
    table[start] = TrackSlice.of(mask, 1.0, SliceKind.SEED)
    table = dict(sorted(table.items()))
    masks = {z: entry.window() for z, entry in table.items()}
    if settings.part and ended:
        part(table, masks, {start: mask}, object_id, context, settings)
    if settings.trim and ended:
        trim(table, masks, {start: mask}, settings)
    if settings.bridge:
        bridge(table, masks, {start: mask}, frozenset(), settings)
    return {z: entry for z, entry in table.items() if z != start}
