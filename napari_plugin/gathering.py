"""What is to be propagated: which objects are new, and which were corrected since. Functions of an open editor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_plugin.taking import Masks, corrections, painted_masks
from volseg.prompts import PromptedObject
from volseg.propagation.track import SliceKind, Track, TrackSlice

if TYPE_CHECKING:
    from napari_plugin.promptbook import PromptBook
    from volseg.editing import Editor


@dataclass(frozen=True)
class Gathered:
    """What is to be done.

    Parameters
    ----------
    new
        Objects to be followed through the volume: what is painted of them stands as mask prompts.
    corrected
        Object id → (the track as it was, the slices as people left them).
    context
        Prompts of all objects of the label image.
    """

    new: tuple[PromptedObject, ...] = ()
    corrected: Mapping[int, tuple[Track, Masks]] = field(default_factory=dict)
    context: tuple[PromptedObject, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done."""
        return not self.new and not self.corrected

    @property
    def ids(self) -> tuple[int, ...]:
        """The new objects."""
        return tuple(one.id for one in self.new)

    def packed_corrections(self) -> dict[str, Any]:
        """The corrections as JSON values."""
        from napari_plugin.worker import packed

        found = {}
        for i, (track, masks) in self.corrected.items():
            entries = {
                z: TrackSlice.of(mask, 1.0, SliceKind.SEED)
                for z, mask in masks.items()
                if mask.area
            }
            found[str(i)] = {
                "track": packed(track),
                "corrected": packed(Track(track.shape, entries)),
                "erased": sorted(z for z, mask in masks.items() if not mask.area),
            }
        return found


def gather(
    editor: Editor,
    book: PromptBook,
    ids: Iterable[int],
    tracks: Mapping[int, Track],
    time: int = 0,
) -> Gathered:
    """Compare what is painted with what was applied.

    Parameters
    ----------
    editor
        Of the label image; what is unsaved is stored first.
    book
        The accepted prompts.
    ids
        Objects that are looked at.
    tracks
        What was propagated and applied before.
    time
        Time point.
    """
    new, corrected = [], {}
    for i in ids:
        track = tracks.get(i)
        painted = painted_masks(editor, i, track, book.slices_of(i, time), time)
        if track is not None:
            changed = corrections(painted, track)
            if not _taken_back(track, changed):
                if changed:
                    corrected[i] = (track, changed)
                continue
        prompted = book.with_masks(i, {z: m for z, m in painted.items() if m.area}, time)
        if prompted is not None:
            new.append(prompted)
    return Gathered(tuple(new), corrected, book.prompted(time))


def _taken_back(track: Track, changed: Masks) -> bool:
    """Whether the whole propagation was undone: nothing is left but prompted slices."""
    found = [z for z in track.slices if track.kind(z) != SliceKind.SEED]
    return bool(found) and all(z in changed and not changed[z].area for z in found)
