"""Outlines of masks along the edges of pixels: filled again, they give the same pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volseg.exporting.labels_json import times_of
from volseg.exporting.selection import Selection
from volseg.progress import Progress

Ring = NDArray[np.int64]
Polygon = list[Ring]
"""Outer ring, then holes; corners (n, 2) as x, y, not closed. Outer rings run clockwise on the screen, holes not."""


class SliceOutline(NamedTuple):
    """One object on one slice, and its class; pixel (0, 0) of the level is the square from (0, 0) to (1, 1)."""

    time: int
    z: int
    id: int
    polygons: list[Polygon]
    kind: str | None


def outlines_of(selection: Selection, progress: Progress) -> Iterator[SliceOutline]:
    """Yield the outlines of the selected objects, slice by slice: of all times for time 0, else of the one."""
    import fastremap
    from scipy.ndimage import find_objects

    oz, oy, ox = selection.origin
    blocks = list(selection.blocks(slabs=True))
    times = times_of(selection)
    for at, time in enumerate(times):
        part = replace(selection, time=time)
        kinds = {one: row.class_ for one, row in part.rows.items()}
        for done, region in enumerate(blocks, 1):
            for z, ids in enumerate(part.read(region), region[0][0] + oz):
                small, new_of = fastremap.renumber(np.ascontiguousarray(ids), preserve_zero=True)
                old_of = {new: old for old, new in new_of.items()}
                for number, box in enumerate(find_objects(small), 1):
                    offset = (box[1].start + ox, box[0].start + oy)
                    found = polygons_of(small[box] == number, offset)
                    one = int(old_of[number])
                    yield SliceOutline(time, z, one, found, kinds.get(one))
            progress("export", at * len(blocks) + done, len(times) * len(blocks))


def polygons_of(mask: NDArray[np.bool_], offset: tuple[int, int] = (0, 0)) -> list[Polygon]:
    """Trace a mask; parts that touch by a corner only are polygons of their own.

    Parameters
    ----------
    mask : ndarray of bool (y, x)
    offset : (x, y)
        Added to the corners.
    """
    import cc3d

    parts = cc3d.connected_components(np.pad(mask, 1).astype(np.uint8), connectivity=4)
    rings = list(_rings(parts > 0, parts))
    found: dict[int, Polygon] = {}
    for part, ring in sorted(rings, key=lambda one: not _is_outer(one[1])):  # outer rings first
        found.setdefault(part, []).append(ring - 1 + np.array(offset))
    return list(found.values())


def _rings(mask: NDArray[np.bool_], parts: NDArray[np.generic]) -> Iterator[tuple[int, Ring]]:
    """Follow the edges with the mask on their right; yields the part that each ring belongs to, and its corners."""
    height, width = mask.shape
    places, ways = [], []
    for number, (dy, dx) in enumerate(
        ((-1, 0), (0, 1), (1, 0), (0, -1))
    ):  # above, right, below, left
        edge = mask & ~np.roll(mask, (-dy, -dx), (0, 1))  # nothing wraps: the border is background
        y, x = np.nonzero(edge)
        places.append(np.stack([x, y], axis=1))
        ways.append(np.full(len(x), number))
    place: NDArray[np.int64] = np.concatenate(places)
    way: NDArray[np.int64] = np.concatenate(ways)
    start = place + np.array([(0, 0), (1, 0), (1, 1), (0, 1)])[way]
    end = place + np.array([(1, 0), (1, 1), (0, 1), (0, 0)])[way]
    table = np.full((4, height + 1, width + 1), -1, np.int64)
    table[way, start[:, 1], start[:, 0]] = np.arange(len(way))
    following = np.full(len(way), -1, np.int64)
    for turn in (3, 0, 1):  # the last to be found wins: to the right, around the same pixel
        found = table[(way + turn) % 4, end[:, 1], end[:, 0]]
        following = np.where(found >= 0, found, following)
    next_of, is_corner = following.tolist(), (way[following] != way).tolist()
    seen = np.zeros(len(way), bool)
    for first in range(len(way)):
        if seen[first]:
            continue
        chain, one = [], first
        while not seen[one]:
            seen[one] = True
            if is_corner[one]:
                chain.append(one)
            one = next_of[one]
        yield int(parts[place[first, 1], place[first, 0]]), end[chain]


def _is_outer(ring: Ring) -> bool:
    x, y = ring[:, 0], ring[:, 1]
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) > 0
