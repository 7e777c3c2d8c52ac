"""The two passes of one object made one track: seeds, gaps, contradictions, merged branches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from volseg.propagation.context import Context
from volseg.propagation.geometry import between
from volseg.propagation.predictor import SlicePredictor
from volseg.propagation.settings import DEFAULTS, Settings
from volseg.propagation.track import SliceKind, Track, TrackSlice
from volseg.propagation.window import MaskWindow, aligned_iou, iou

Table = dict[int, TrackSlice]


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
    table = join_passes(seeds, up.entries(), down.entries())
    masks = {z: entry.window() for z, entry in table.items()}
    if settings.repair:
        repair(table, masks, settings)
    if settings.bridge:
        bridge(table, masks, seeds, context.ends.get(object_id, frozenset()), settings)
    return Track(predictor.shape, table)


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
    for low, high in zip(prompted[:-1], prompted[1:], strict=True):
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


def repair(table: Table, masks: dict[int, MaskWindow], settings: Settings) -> None:
    """Replaces one or two slices that both their neighbours contradict; changes the arguments."""
    for length in (1, 2):
        for low in sorted(table):
            inner, high = list(range(low + 1, low + 1 + length)), low + 1 + length
            if high not in table or any(
                z not in table or table[z].kind != SliceKind.DECODED for z in inner
            ):
                continue
            alike = aligned_iou(masks[low], masks[high])
            if alike < settings.repair_agreement:
                continue
            should = {z: between(masks[low], masks[high], (z - low) / (high - low)) for z in inner}
            if all(iou(masks[z], should[z]) < settings.repair_below * alike for z in inner):
                for z in inner:
                    masks[z] = should[z]
                    table[z] = TrackSlice.of(
                        should[z], settings.bridge_confidence, SliceKind.BRIDGED
                    )


def bridge(
    table: Table,
    masks: dict[int, MaskWindow],
    seeds: Mapping[int, MaskWindow],
    ends: frozenset[int],
    settings: Settings,
) -> None:
    """Interpolates gaps no longer than the patience, or longer ones between two seeds."""
    prompted = [z for z, mask in seeds.items() if mask.area]
    slices = sorted(table)
    for low, high in zip(slices[:-1], slices[1:], strict=True):
        gap = range(low + 1, high)
        longest = settings.patience
        if prompted and min(prompted) <= low and high <= max(prompted):
            longest = max(longest, settings.seed_bridge)
        if not 0 < len(gap) <= longest or any(z in ends for z in gap):
            continue
        for z in gap:
            mask = between(masks[low], masks[high], (z - low) / (high - low))
            if mask.area:
                masks[z] = mask
                sure = settings.bridge_confidence * float(np.exp(-(len(gap) - 1) / 4))
                table[z] = TrackSlice.of(mask, sure, SliceKind.BRIDGED)
