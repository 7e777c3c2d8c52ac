"""Levels as a viewer sees them: all edits in them at once, also those that the stored pyramid does not have yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from volseg.editing.apply import coarsened, few, meet, moved, refined
from volseg.editing.cache import Key
from volseg.editing.deltas import Box
from volseg.editing.engine import Engine

_MOST_PARTS = 4


class LevelViews(Engine):
    """Reading regions of any level from the chunk cache."""

    def read_level(self, box: Box, level: int, time: int) -> np.ndarray[Any, Any]:
        """Read a box of voxels of a level; waits for the store where chunks are not in memory.

        Parameters
        ----------
        box
            Slices z, y, x of the level's voxels, inside it.
        level, time
            Indices from 0.
        """
        self._check_open()
        stored = self._levels[level]
        out = np.zeros([s.stop - s.start for s in box], stored.dtype)
        corner = (box[0].start, box[1].start, box[2].start)
        self._cache.load(
            self._keys(box, level, time)
        )  # together; a small cache may not hold them all
        for place in stored.places(time, box):
            key = (level, place)
            part = meet(box, stored.box(place.zyx))
            while True:
                with self._lock:
                    chunk = self._cache.peek(key)
                    if chunk is not None:
                        inner = moved(part, stored.origin(place.zyx))
                        out[moved(part, corner)] = chunk.view[inner]
                        break
                self._cache.load([key])
        if level:
            self._renew_view(out, box, level, time)
        return out

    def _renew_view(self, out: np.ndarray, box: Box, level: int, time: int) -> None:
        """Make the part of a coarser level above edits that it does not have yet, from the next finer level."""
        factors = self._factors[level - 1]
        corner = (box[0].start, box[1].start, box[2].start)
        parts = (meet(edited, box) for edited in self._edited_boxes(level, time))
        edited = [part for part in parts if all(s.start < s.stop for s in part)]
        # each part costs a look at all edits on every finer level
        for part in few(edited, _MOST_PARTS):
            fine = refined(part, factors, self._levels[level - 1].shape)
            block = self.read_level(fine, level - 1, time)
            out[moved(part, corner)] = self._applier.downsample(block, factors)

    def _edited_boxes(self, level: int, time: int) -> list[Box]:
        """Return the boxes of a coarser level above edits that its chunks do not have yet."""
        with self._lock:
            boxes = [
                delta.box
                for operation in (
                    *(item.operation for item in self._state.pending),
                    *(o for record in self._flusher.unapplied for o in record.operations),
                )
                for delta in operation.deltas
                if delta.time == time
            ]
            if self._stroke is not None:
                for place in self._stroke.places:
                    if place.time == time:
                        origin = self._grid.origin(place.zyx)
                        boxes += [
                            moved(box, (-origin[0], -origin[1], -origin[2]))
                            for box in self._stroke.boxes(place)
                        ]
        for factors in self._factors[:level]:
            boxes = [coarsened(box, factors) for box in boxes]
        return list({str(box): box for box in boxes}.values())

    def holds(self, box: Box, level: int, time: int) -> bool:
        """Tell whether a box can be read (and at level 0 edited) without waiting for the store."""
        return self._cache.holds(self._keys(box, level, time))

    def prefetch(self, box: Box, level: int, time: int) -> None:
        """Start reading a box into memory and return at once."""
        self._cache.prefetch(self._keys(box, level, time))

    def _keys(self, box: Box, level: int, time: int) -> Iterable[Key]:
        return [(level, place) for place in self._levels[level].places(time, box)]
