"""Tracks into labels and back: as edits that can be undone, and as the corrections that people made since.

Functions of an open editor; they run on the label image's own thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from volseg.propagation.track import SliceKind, Track, TrackSlice
from volseg.propagation.window import EMPTY, Box, MaskWindow, union_box

if TYPE_CHECKING:
    from volseg.editing import Editor

STROKE_BYTES = 256 * 2**20
"""Chunks of one operation are kept in memory until it ends: longer tracks are several steps of undo."""
Masks = dict[int, MaskWindow]
"""{z: mask}."""


def apply_track(
    editor: Editor,
    object_id: int,
    new: Track,
    old: Track | None = None,
    *,
    slices: Iterable[int] | None = None,
    time: int = 0,
    run: str = "",
) -> Track:
    """Bring a track into the labels instead of the one before.

    It takes background only; other objects stay, and so does what people painted of this one outside of the old track.
    Prompted and corrected slices only gain voxels.

    Parameters
    ----------
    editor
        Of the label image.
    object_id
        The object.
    new, old
        The track, and what was applied before.
    slices
        Only these; by default all that either track holds.
    time
        Time point.
    run
        Stands in the journal.

    Returns
    -------
    Track
        What of the new track stands in the labels now.
    """
    editor.time = time
    former = old or Track(new.shape)
    wanted = sorted(set(new.slices) | set(former.slices) if slices is None else set(slices))
    for part in _parts(editor, wanted, new, former):
        with editor.stroke("propagate", ids=[object_id], run=run):
            for z in part:
                _apply_slice(editor, object_id, z, new, former)
    return applied(editor, object_id, new, time)


def _apply_slice(editor: Editor, object_id: int, z: int, new: Track, old: Track) -> None:
    box = _box(z, new, old)
    if box is None:
        return
    y0, x0, y1, x1 = box
    now = np.asarray(editor[z, y0:y1, x0:x1])
    gained = new.mask_window(z).on(box) if z in new else np.zeros(now.shape, bool)
    seeded = z in new and new.kind(z) == SliceKind.SEED
    lost = (
        old.mask_window(z).on(box) & ~gained if z in old and not seeded else ~np.ones_like(gained)
    )
    values = np.where(lost & (now == object_id), 0, now)
    values = np.where(gained & (values == 0), object_id, values)
    if not np.array_equal(values, now):
        editor[z, y0:y1, x0:x1] = values


def _box(z: int, *tracks: Track) -> Box | None:
    boxes = [track.bbox(z) for track in tracks if z in track]
    return union_box(boxes) if boxes else None


def _parts(editor: Editor, slices: list[int], new: Track, old: Track) -> Iterator[list[int]]:
    """Slices in groups whose chunks fit into memory together."""
    _, height, width = editor.labels.grid.chunk
    voxel = editor.dtype.itemsize
    part: list[int] = []
    used = 0.0
    for z in slices:
        box = _box(z, new, old)
        if box is None:
            continue
        rows = -(-box[2] // height) - box[0] // height
        columns = -(-box[3] // width) - box[1] // width
        used += rows * columns * height * width * voxel
        if part and used > STROKE_BYTES:
            yield part
            part, used = [], rows * columns * height * width * voxel
        part.append(z)
    if part:
        yield part


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
    editor.flush()
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
