"""Mending of a track that needs no model: where it runs into other objects, its gaps, and its doubtful ends."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from volseg.propagation.context import Context
from volseg.propagation.geometry import between
from volseg.propagation.settings import Settings
from volseg.propagation.track import SliceKind, TrackSlice
from volseg.propagation.window import MaskWindow, shared_area

Table = dict[int, TrackSlice]


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
    for low, high in pairwise(slices):
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


def trim(
    table: Table,
    masks: dict[int, MaskWindow],
    seeds: Mapping[int, MaskWindow],
    settings: Settings,
) -> None:
    """Drops the slices beyond the outer seeds for which less speaks than against them.

    A model goes on to answer after an object has ended. Each slice speaks for the track by its
    confidence over `trim_confidence`, and a mask that only shrinks never against it; what is
    kept is the part from the seed outward with the largest sum.
    """
    prompted = [z for z, mask in seeds.items() if mask.area]
    for direction, start in ((1, max(prompted)), (-1, min(prompted))):
        outward = [z for z in sorted(table, reverse=direction < 0) if (z - start) * direction > 0]
        total = best = 0.0
        kept, inner = 0, start
        for n, z in enumerate(outward, start=1):
            total += _speaks_for(table[z], masks[z], masks[inner], abs(z - inner) - 1, settings)
            if total >= best:
                best, kept = total, n
            inner = z
        for z in outward[kept:]:
            del table[z], masks[z]


def _speaks_for(
    entry: TrackSlice, here: MaskWindow, before: MaskWindow, gap: int, settings: Settings
) -> float:
    """How far a slice speaks for the track's going on to it; negative where against it."""
    if settings.doubt:
        sure = min(entry.confidence - settings.least_sure, settings.relief)
        return sure - settings.doubt_gap * gap
    value = entry.confidence - settings.least_sure
    if here.area < before.area and shared_area(here, before) >= 0.85 * here.area:
        value = max(value, 0.02)
    return value


def part(
    table: Table,
    masks: dict[int, MaskWindow],
    seeds: Mapping[int, MaskWindow],
    object_id: int,
    context: Context,
    settings: Settings,
) -> None:
    """Where a track has run into another object's seed: cuts it between its own seed and that one.

    The cut is where the track is weakest, thin and unsure. Seeds alone decide, never the other
    object's track. Changes the arguments.
    """
    prompted = [z for z, mask in seeds.items() if mask.area]
    for direction, start in ((1, max(prompted)), (-1, min(prompted))):
        outward = [z for z in sorted(table, reverse=direction < 0) if (z - start) * direction > 0]
        if not outward:
            continue
        last = start
        end = outward[-1] + direction * (settings.patience + 1)
        for z in range(start + direction, end, direction):
            met = _other_seed(masks.get(z, masks[last]), context.others_masks(object_id, z))
            if met is not None:
                path = [at for at in outward if (z - at) * direction >= 0]
                cut = _weakest(path, start, min(masks[start].area, met.area), table, masks)
                for at in outward:
                    if (at - cut) * direction >= 0:
                        del table[at], masks[at]
                break
            last = z if z in masks else last


def _other_seed(here: MaskWindow, others: list[MaskWindow]) -> MaskWindow | None:
    """The first of the others' seeds that lies in the same place."""
    for other in others:
        if other.area and shared_area(here, other) > 0.5 * min(here.area, other.area):
            return other
    return None


def _weakest(
    path: list[int], start: int, size: int, table: Table, masks: dict[int, MaskWindow]
) -> int:
    """The slice of a path where the track holds together least; where none stands out, halfway."""
    strengths, inner = [], start
    for n, z in enumerate(path):
        whole = min(1.0, masks[z].area / max(1, size))
        holds = 0.0 if abs(z - inner) > 1 else table[z].confidence * whole
        strengths.append(holds + 0.15 * abs((2 * n + 1) / len(path) - 1))
        inner = z
    return path[int(np.argmin(strengths))] if path else start
