"""The two passes of one object made one track: seeds, gaps, contradictions, merged branches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from volseg.propagation.branches import follow_back
from volseg.propagation.context import Context
from volseg.propagation.mending import Table, bridge, part, trim
from volseg.propagation.predictor import SlicePredictor
from volseg.propagation.retrying import retry
from volseg.propagation.settings import DEFAULTS, Settings
from volseg.propagation.state import Direction
from volseg.propagation.track import SliceKind, Track, TrackSlice
from volseg.propagation.window import MaskWindow, iou


def settle(
    predictor: SlicePredictor,
    seeds: Mapping[int, MaskWindow],
    up: Track,
    down: Track,
    settings: Settings | None = None,
    *,
    context: Context | None = None,
    object_id: int = 0,
) -> Track:
    """Joins an object's passes.

    Parameters
    ----------
    predictor : SlicePredictor
        Asked only where a merged branch or a doubtful run is followed from the other side.
    seeds : {z: MaskWindow}
        The object's prompted slices.
    up, down : Track
        All that the upward and the downward pass found (the windows' pieces merged).
    settings : Settings
    context : Context
        That of the whole job.
    object_id : int
        The object's id in the context.

    Returns
    -------
    Track
    """
    settings, context = settings or DEFAULTS, context or Context()
    table = join_passes(seeds, standing(up, 1), standing(down, -1))
    masks = {z: entry.window() for z, entry in table.items()}
    if not table:
        return Track(predictor.shape)
    ends = context.ends.get(object_id, frozenset())
    if settings.part:
        part(table, masks, seeds, object_id, context, settings)
    if settings.trim:
        trim(table, masks, seeds, settings)
    if settings.bridge:
        bridge(table, masks, seeds, ends, settings)
    if settings.retry_runs:
        prompted = {z for z, mask in seeds.items() if mask.area}
        retry(predictor, object_id, table, masks, prompted, context, settings)
    if settings.return_branches:
        follow_back(predictor, object_id, table, masks, context, settings)
    return Track(predictor.shape, table)


def standing(found: Track, direction: Direction) -> Table:
    """What a pass found and did not take back.

    Each slice names the one that it continues. After a glitch the pass goes on from the mask
    before it, so that the slices in between are not on the way from the last slice to the seed.
    """
    table: Table = {}
    wanted: int | None = None
    for z in sorted(found.slices, reverse=direction > 0):
        if wanted is None or (wanted - z) * direction >= 0:
            entry = found.entry(z)
            wanted = entry.continues
            table[z] = replace(entry, continues=-1)
    return table


def join_passes(seeds: Mapping[int, MaskWindow], up: Table, down: Table) -> Table:
    """Seeds, what one pass found, and where both did, the better side of each pair of seeds.

    Between two prompted slices the upward pass is taken up to one slice and the downward one from
    there: the cut that loses the least confidence and where the two agree best.
    """
    prompted = sorted(z for z, mask in seeds.items() if mask.area)
    table = {z: TrackSlice.of(seeds[z], 1.0, SliceKind.SEED) for z in prompted}
    if not prompted:
        return table
    table.update({z: e for z, e in up.items() if z > prompted[-1]})
    table.update({z: e for z, e in down.items() if z < prompted[0]})
    for low, high in pairwise(prompted):
        table.update(_reconcile(low, high, up, down))
    return dict(sorted(table.items()))


def _reconcile(low: int, high: int, up: Table, down: Table) -> Table:
    """The slices between two neighbouring seeds."""
    slices = list(range(low + 1, high))
    rising = [up[z].confidence if z in up else 0.0 for z in slices]
    falling = [down[z].confidence if z in down else 0.0 for z in slices]
    same = [iou(up[z].window(), down[z].window()) if z in up and z in down else 0.0 for z in slices]
    best, cut = -1.0, 0
    for k in range(len(slices) + 1):
        near = max(same[k - 1] if k else 1.0, same[k] if k < len(same) else 1.0)
        value = sum(rising[:k]) + sum(falling[k:]) + near
        if value > best + 1e-9:
            best, cut = value, k
    out: Table = {}
    for k, z in enumerate(slices):
        first, second = (up, down) if k < cut else (down, up)
        entry = first.get(z) or second.get(z)
        if entry is not None:
            both = z in up and z in down
            factor = 0.5 + 0.5 * same[k] if both else 0.8
            out[z] = TrackSlice(entry.bbox, entry.runs, entry.confidence * factor, entry.kind)
    return out
