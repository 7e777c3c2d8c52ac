"""Branches that joined a track on its way are followed back to where they come from."""

from __future__ import annotations

from dataclasses import replace

from volseg.propagation.context import Context
from volseg.propagation.geometry import components, largest_depth
from volseg.propagation.mending import Table
from volseg.propagation.predictor import SlicePredictor
from volseg.propagation.settings import Settings
from volseg.propagation.state import Direction, Pose, State
from volseg.propagation.step import step
from volseg.propagation.track import SliceKind, TrackSlice
from volseg.propagation.window import MaskWindow, shared_area, union, without


def follow_back(
    predictor: SlicePredictor,
    object_id: int,
    table: Table,
    masks: dict[int, MaskWindow],
    context: Context,
    settings: Settings,
) -> None:
    """Adds the branches that run against the direction of the pass; changes the arguments.

    Where a mask holds a lobe of its own that the neighbouring slice has nothing of, that lobe is
    followed to that side. It is added if it lasts and is not what the track has there already.
    """
    for direction in (-1, 1):
        for z in sorted(masks, reverse=direction < 0):
            beyond = z + direction
            if beyond not in masks:
                continue
            lobe = _new_lobe(masks[z], masks[beyond], settings)
            if lobe is None:
                continue
            found = _follow(predictor, object_id, z, lobe, direction, masks, context, settings)
            if len(found) < settings.least_branch:
                continue
            for at, entry in found.items():
                mask = entry.window()
                if at in table and table[at].kind == SliceKind.SEED:
                    continue
                if at in table:
                    sure = min(entry.confidence, table[at].confidence)
                    mask = union(mask, masks[at])
                else:
                    sure = entry.confidence
                masks[at] = mask
                table[at] = TrackSlice.of(mask, sure, SliceKind.DECODED)


def _new_lobe(mask: MaskWindow, beyond: MaskWindow, settings: Settings) -> MaskWindow | None:
    """The part of `mask` away from the neighbouring slice's, if it is as deep as a branch."""
    if mask.area < (1 + settings.branch_share) * beyond.area * 0.9:
        return None
    parts = components(without(mask, beyond))
    if not parts or parts[0].area < settings.branch_share * beyond.area:
        return None
    if largest_depth(parts[0]) < settings.branch_depth * largest_depth(mask):
        return None
    return parts[0]


def _follow(
    predictor: SlicePredictor,
    object_id: int,
    z: int,
    lobe: MaskWindow,
    direction: Direction,
    masks: dict[int, MaskWindow],
    context: Context,
    settings: Settings,
) -> Table:
    """What the model finds from the lobe on, until it is lost or meets the track."""
    state = State(direction, z + direction, Pose(z, lobe, (0.0, 0.0), True))
    found: Table = {}
    while not state.finished and 0 <= state.next_z < predictor.shape[0]:
        at = state.next_z
        following, entry = step(predictor, at, {object_id: state}, context, settings)[object_id]
        if entry is not None:
            mask = entry.window()
            there = masks.get(at)
            if there is not None and shared_area(mask, there) > 0.3 * mask.area:
                break
            if entry.confidence < settings.least_sure:
                break
            found[at] = entry
        elif not found:
            break
        state = replace(following, pending={})
    return found
