"""A label image as levels that napari may read without waiting, and a finest level that it may write.

What a person paints is a draft: shown at once on every level, handed to the label image's own thread, and forgotten
when the editor's voxels have come in. No Qt, no napari.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from napari_plugin.editing import LabelEditing
from napari_plugin.levels import load_tile, tile_levels
from napari_plugin.steps import Stamp, Step, run_steps
from napari_plugin.tilegrid import Key
from napari_plugin.tiles import Tiles
from volseg.editing.editor import Editor
from volseg.errors import InputError, VolsegError
from volseg.geometry import Region, coarsened
from volseg.images.labels import Labels

_LABEL_TILE_BYTES = 256 * 2**20


class LabelTiles(Tiles):
    """Tiles of a label image under edit, with drafts on top.

    Parameters
    ----------
    labels
        The label image.
    editing
        Its editing; None where it can't be edited: then the stored voxels are shown.
    """

    def __init__(self, labels: Labels, editing: LabelEditing | None) -> None:
        self.labels = labels
        self.editing = editing
        self.factors = labels.factors if editing is not None else []
        self._lazies = labels.levels
        self._drafts: list[Stamp] = []
        self._drafting = threading.Lock()
        super().__init__(
            tile_levels(labels.levels),
            labels.dtype,
            self._load_tile,
            max_bytes=_LABEL_TILE_BYTES,
        )
        if editing is not None:
            editing.renew = self.bring_in

    def show(self, level: int, time: int, channel: int, region: Region) -> np.ndarray:
        """Return a region as far as it is in memory, drafts included; never waits."""
        with self._drafting:  # before the tiles: a draft that goes is in the tiles already
            drafts = list(self._drafts)
        out = super().show(level, time, channel, region)
        return self._overlaid(out, level, time, region, drafts)

    def _overlaid(
        self,
        out: np.ndarray,
        level: int,
        time: int,
        region: Region,
        drafts: Sequence[Stamp] | None = None,
    ) -> np.ndarray:
        for stamp in list(self._drafts) if drafts is None else drafts:
            if stamp.time == time:
                stamp.apply(out, region, self.factors[level])
        return out

    def show_point(self, time: int, region: Region) -> int:
        """Return the id of one voxel (a region of it) from the finest level that has it in memory; never waits."""
        for level, factors in enumerate(self.factors):
            there = coarsened(region, factors)
            if level == len(self.factors) - 1 or self.holds(level, time, 0, there):
                with_drafts = self._overlaid(
                    super().peek(level, time, 0, there), level, time, there
                )
                return int(with_drafts.reshape(-1)[0])
        return 0

    def add_draft(self, stamp: Stamp) -> None:
        """Show a stamp until it is dropped."""
        with self._drafting:
            self._drafts.append(stamp)

    def drop_drafts(self, steps: Sequence[Step]) -> None:
        """Forget stamps: they are in the editor, or nowhere."""
        gone = {id(step) for step in steps}
        with self._drafting:
            self._drafts = [stamp for stamp in self._drafts if id(stamp) not in gone]

    def paint(self, steps: Sequence[Step], kind: str) -> Future[None]:
        """Hand steps to the editor as one operation; stamps that are drafts are shown until its voxels have come in."""
        future = self.edit.submit(lambda editor: run_steps(editor, steps, kind), kind, insist=True)
        future.add_done_callback(lambda _: self.drop_drafts(steps))
        return future

    def bring_in(self, regions: Sequence[tuple[int, Region]]) -> None:
        """Take over what changed in the editor, in every level; on the label image's thread."""
        self.renew(
            (level, time, coarsened(region, factors))
            for time, region in regions
            for level, factors in enumerate(self.factors)
        )

    @property
    def edit(self) -> LabelEditing:
        """The editing; InputError where the label image is read only."""
        if self.editing is None:
            raise InputError(f"{self.labels.location} can't be edited: it is read only")
        return self.editing

    def load_part(self, key: Key, region: Region) -> np.ndarray:
        """Return a part of a tile as the editor has it."""
        editor = self._editor()
        if editor is None:
            return super().load_part(key, region)
        return editor.read_level(region, key.level, key.time)[None]

    def _load_tile(self, key: Key) -> np.ndarray:
        editor = self._editor()
        level = self.levels[key.level]
        if editor is None:
            return load_tile(self._lazies[key.level], level, key)
        return editor.read_level(level.region(key[3:]), key.level, key.time)[None]

    def _editor(self) -> Editor | None:
        """Return the editor, None where the labels can't be edited (then `failed` has told why)."""
        try:
            return None if self.editing is None else self.editing.editor
        except VolsegError:
            return None
