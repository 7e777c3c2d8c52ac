"""Tracks into labels and back: as edits that can be undone, and as the corrections that people made since.

Functions of an open editor; they run on the label image's own thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.editing.conflict import EditConflictError
from volseg.editing.removal import last_of
from volseg.geometry import Box, Region
from volseg.propagation.track import SliceKind, Track, TrackSlice
from volseg.propagation.window import EMPTY, MaskWindow, union, union_box

if TYPE_CHECKING:
    from volseg.editing import Editor

Masks = dict[int, MaskWindow]
"""{z: mask}."""


@dataclass(frozen=True)
class Applied:
    """One object's track on its way into the labels.

    Parameters
    ----------
    new, old
        The track, and what was applied before.
    slices
        Only these; None: all that either track holds.
    """

    new: Track
    old: Track
    slices: frozenset[int] | None = None

    @property
    def regions(self) -> list[Region]:
        """What may change, a region for each slice."""
        boxes = ((z, self.box(z)) for z in sorted({*self.new.slices, *self.old.slices}))
        return [((z, z + 1), (b[0], b[2]), (b[1], b[3])) for z, b in boxes if b is not None]

    def box(self, z: int) -> Box | None:
        """Return the box y0, x0, y1, x1 of a slice that may change, None where nothing does."""
        if self.slices is not None and z not in self.slices:
            return None
        boxes = [track.bbox(z) for track in (self.new, self.old) if z in track]
        return union_box(boxes) if boxes else None

    def put(self, plane: np.ndarray, object_id: int, z: int, box: Box) -> None:
        """Bring a slice's track into a part (y, x) of it, in place; see `apply_tracks`."""
        gained = _mask_on(self.new, z, box)
        lost = _mask_on(self.old, z, box) & ~gained
        if z in self.new and self.new.kind(z) == SliceKind.SEED:
            lost[:] = False
        plane[lost & (plane == object_id)] = 0
        plane[gained & (plane == 0)] = object_id


def _mask_on(track: Track, z: int, box: Box) -> np.ndarray:
    if z not in track:
        return np.zeros((box[2] - box[0], box[3] - box[1]), bool)
    return track.mask_window(z).on(box)


def apply_tracks(
    editor: Editor, tracks: Mapping[int, Applied], *, time: int = 0, run: str = "", group: str = ""
) -> dict[int, Track]:
    """Bring tracks into the labels instead of those before, as one operation.

    They take background only, in the order of the ids; other objects stay, and so does what people painted of these
    outside of the old tracks. Prompted and corrected slices only gain voxels.

    Parameters
    ----------
    editor
        Of the label image.
    tracks
        By object.
    time
        Time point.
    run, group
        Stand in the journal; operations of one group are one step of undo.

    Returns
    -------
    dict
        What of the new tracks stands in the labels now.
    """
    editor.time = time
    ordered = sorted(tracks.items())

    def change(block: np.ndarray, region: Region) -> np.ndarray:
        out = block.copy()
        (z0, z1), (y0, y1), (x0, x1) = region
        for z in range(z0, z1):
            for object_id, one in ordered:
                box = one.box(z)
                if box is None:
                    continue
                part = max(box[0], y0), max(box[1], x0), min(box[2], y1), min(box[3], x1)
                if part[0] < part[2] and part[1] < part[3]:
                    plane = out[z - z0, part[0] - y0 : part[2] - y0, part[1] - x0 : part[3] - x0]
                    one.put(plane, object_id, z, part)
        return out

    regions = [region for _, one in ordered for region in one.regions]
    details: dict[str, Any] = {"ids": [i for i, _ in ordered], "run": run}
    if group:
        details["group"] = group
    editor.rewrite(regions, change, "propagate", **details)
    return {i: applied(editor, i, one.new, time) for i, one in ordered}


def store_free(editor: Editor) -> None:
    """Make durable what is not in conflict; that something is, the state of the edits tells."""
    with suppress(EditConflictError):
        editor.flush(around_conflicts=True)


def standing_tracks(
    tracks: Mapping[int, Track], removed: Mapping[int, int | None]
) -> dict[int, Track]:
    """Return the tracks as people's decisions left them: those of merged objects as one, none of deleted ones.

    Parameters
    ----------
    tracks
        As they are stored, by object.
    removed
        What became of objects; see `Editor.removed`.
    """
    found: dict[int, Track] = {}
    for one, track in sorted(tracks.items()):
        into = last_of(removed, one)
        if into is not None:
            found[into] = _joined(found[into], track) if into in found else track
    return found


def _joined(a: Track, b: Track) -> Track:
    entries = a.entries() | b.entries()
    for z in set(a.slices) & set(b.slices):
        kind = SliceKind.SEED if SliceKind.SEED in (a.kind(z), b.kind(z)) else a.kind(z)
        both = union(a.mask_window(z), b.mask_window(z))
        entries[z] = TrackSlice.of(both, min(a.confidence(z), b.confidence(z)), kind)
    return Track(a.shape, entries)


def applied(editor: Editor, object_id: int, track: Track, time: int = 0) -> Track:
    """A track cut down to what of it stands in the labels."""
    editor.time = time
    entries: dict[int, TrackSlice] = {}
    for z in track.slices:
        y0, x0, y1, x1 = track.bbox(z)
        mask = np.asarray(editor[z, y0:y1, x0:x1] == object_id)
        window = MaskWindow.crop(mask, (y0, x0))
        if window.area:
            entries[z] = TrackSlice.of(window, track.confidence(z), track.kind(z))
    return Track(track.shape, entries)


def painted_masks(
    editor: Editor, object_id: int, track: Track | None, slices: Iterable[int] = (), time: int = 0
) -> Masks:
    """An object's voxels by slice, wherever it may be: its row in the table, its track, and some slices of interest.

    Unsaved edits are stored first, so that the table tells how far the object reaches.
    """
    editor.time = time
    store_free(editor)
    row = next((r for r in editor.labels.objects.rows(time) if r.id == object_id), None)
    spans = [] if row is None or row.bbox is None else [row.bbox]
    if track is not None and track.bbox3d is not None:
        spans.append(track.bbox3d)
    found: Masks = {}
    if spans:
        (z0, z1), (y0, y1), (x0, x1) = (
            (min(s[axis][0] for s in spans), max(s[axis][1] for s in spans)) for axis in range(3)
        )
        for z in range(z0, z1):
            mask = np.asarray(editor[z, y0:y1, x0:x1] == object_id)
            found[z] = MaskWindow.crop(mask, (y0, x0))
    for z in slices:
        if z not in found:
            found[z] = EMPTY
    return found


def corrections(painted: Mapping[int, MaskWindow], track: Track) -> Masks:
    """The slices on which the labels differ from what was applied, as people left them; empty where they erased."""
    changed: Masks = {}
    for z, mask in painted.items():
        before = track.mask_window(z) if z in track else EMPTY
        if not mask.same(before):
            changed[z] = mask
    return changed
