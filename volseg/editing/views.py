"""Levels as a viewer sees them: all edits in them at once, also those that the stored pyramid does not have yet."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from volseg.editing.apply import few
from volseg.editing.cache import Key
from volseg.editing.engine import Engine
from volseg.geometry import (
    Region,
    coarsened,
    intersection,
    refined,
    region_origin,
    region_shape,
    shifted,
    slices,
)

_MOST_PARTS = 4


class LevelViews(Engine):
    """Reading regions of any level from the chunk cache."""

    def read_level(self, region: Region, level: int, time: int) -> NDArray[np.integer]:
        """Read a region of voxels of a level; waits for the store where chunks are not in memory.

        Parameters
        ----------
        region
            Of the level's voxels, inside it.
        level, time
            Indices from 0.
        """
        self._check_open()
        stored = self._levels[level]
        out = np.zeros(region_shape(region), stored.dtype)
        corner = region_origin(region)
        self._cache.load(
            self._keys(region, level, time)
        )  # together; a small cache may not hold them all
        for place in stored.places(time, region):
            key = (level, place)
            part = intersection(region, stored.region(place))
            while part is not None:
                with self._lock:
                    chunk = self._cache.peek(key)
                    if chunk is not None:
                        inner = slices(part, stored.origin(place))
                        out[slices(part, corner)] = chunk.view[inner]
                        break
                self._cache.load([key])
        if level:
            self._renew_view(out, region, level, time)
        return out

    def _renew_view(self, out: np.ndarray, region: Region, level: int, time: int) -> None:
        """Make the part of a coarser level above edits that it does not have yet, from the next finer level."""
        factors = self._factors[level - 1]
        corner = region_origin(region)
        parts = (intersection(edited, region) for edited in self._edited_regions(level, time))
        edited = [part for part in parts if part is not None]
        # each part costs a look at all edits on every finer level
        for part in few(edited, _MOST_PARTS):
            fine = refined(part, factors, self._levels[level - 1].shape)
            block = self.read_level(fine, level - 1, time)
            out[slices(part, corner)] = self._applier.downsample(block, factors)

    def _edited_regions(self, level: int, time: int) -> list[Region]:
        """Return the regions of a coarser level above edits that its chunks do not have yet."""
        with self._lock:
            regions = [
                delta.region
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
                        origin = self._grid.origin(place)
                        regions += [
                            shifted(region, origin) for region in self._stroke.regions(place)
                        ]
        for factors in self._factors[:level]:
            regions = [coarsened(region, factors) for region in regions]
        return list(dict.fromkeys(regions))

    def holds(self, region: Region, level: int, time: int) -> bool:
        """Tell whether a region can be read (and at level 0 edited) without waiting for the store."""
        return self._cache.holds(self._keys(region, level, time))

    def prefetch(self, region: Region, level: int, time: int) -> None:
        """Start reading a region into memory and return at once."""
        self._cache.prefetch(self._keys(region, level, time))

    def _keys(self, region: Region, level: int, time: int) -> Iterable[Key]:
        return [(level, place) for place in self._levels[level].places(time, region)]
