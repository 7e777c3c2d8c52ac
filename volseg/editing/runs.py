"""What a segmentation run needs of the journal: its own record, the voxels that people own, and puts among editors.

A run's record names its plan and tracks instead of voxels. It is numbered before the run's first block is composed and
its tracks never change afterwards, so that record numbers alone decide who was last.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.editing.apply import Applier, Dirty
from volseg.editing.cache import ChunkCache
from volseg.editing.chunks import StoredLevel
from volseg.editing.deltas import Place
from volseg.editing.engine import no_step, step_factors
from volseg.editing.index import JournalIndex
from volseg.editing.opening import open_editor
from volseg.editing.record import Operation, Record
from volseg.editing.sessions import Session, Sessions
from volseg.editing.state import EditState
from volseg.errors import ChangedError, InputError, LeaseHeldError, StorageError
from volseg.geometry import Region, refined
from volseg.images.pyramid import coarser

if TYPE_CHECKING:
    from volseg.images.labels import Labels

_ATTEMPTS = 60
_CACHE_BYTES = 256 * 2**20


def append_run_record(
    labels: Labels,
    *,
    plan: str,
    tracks: str,
    region: Region | None = None,
    time: int = 0,
    overwrite_edits: bool = False,
    annotator: str = "volseg",
    details: Mapping[str, Any] | None = None,
) -> int:
    """Put one record for a segmentation run into the journal, before its first block is composed.

    Calling again for the same plan and tracks returns the number that they have already.

    Parameters
    ----------
    labels
        The label image.
    plan
        Hash of the plan.
    tracks
        Where the tracks are, or the digest over them: what decides what the run writes.
    region
        Voxels of level 0 that the run may write; None for all.
    time
        Time index.
    overwrite_edits
        The run also replaces voxels that people edited (`--overwrite-edits`).
    annotator
        Stands in the record.
    details
        JSON values for people: model, number of objects.

    Returns
    -------
    number
        Of the record. Editors' records with higher numbers win over the run.

    Raises
    ------
    LeaseHeldError
        If `overwrite_edits` is given while somebody has the labels open: their edits could come back.
    """
    index = JournalIndex(labels)
    for number, operation in reversed(index.runs()):
        run = operation.run or {}
        if (run.get("plan"), run.get("tracks")) == (plan, tracks):
            return number
    if overwrite_edits:
        _settle_before_overwriting(labels)
    run = {
        "plan": plan,
        "tracks": tracks,
        "region": None if region is None else [list(r) for r in region],
        "time": time,
        "overwrite_edits": overwrite_edits,
    }
    record = Record(
        annotator=annotator,
        session="",
        base=index.last,
        operations=(Operation("segment", run=run, details=dict(details or {})),),
        shape=labels.grid.shape,
        chunks=labels.grid.chunk,
        dtype=labels.dtype,
    )
    while True:
        number = index.last + 1
        if index.journal.create(record, number) is None:
            return number
        index.refresh()


def _settle_before_overwriting(labels: Labels) -> None:
    """Make sure that no editor lives, and that all chunks hold all edits: later openings must not bring them back."""
    journal = JournalIndex(labels).journal
    living, _ = Sessions(journal.store).others(Session("volseg"))
    if living:
        who = ", ".join(f"{s.annotator} on {s.host}" for s in living)
        raise LeaseHeldError(
            f"{labels.location} is being edited by {who}; a run that overwrites edits waits until they have closed"
        )
    with open_editor(labels, "volseg", flush_after=None):
        pass  # opening applies what is outstanding
    journal.set_checkpoint(journal.last())


def person_edited_mask(
    labels: Labels, region: Region, *, time: int = 0, index: JournalIndex | None = None
) -> NDArray[np.bool_]:
    """Return which voxels of a region were last edited by a person.

    Edits that were undone don't count, nor do those before a run that overwrote edits. For safety against editors at
    work read the chunk (with its tag) first, ask this second, and put conditionally third: `RunWriter` does.

    Parameters
    ----------
    labels
        The label image.
    region
        Half-open voxel ranges of level 0.
    time
        Time index.
    index
        An index to use (and refresh) instead of reading all records again; one per process.

    Returns
    -------
    mask
        bool (z, y, x) of the region's shape.
    """
    if index is None:
        index = JournalIndex(labels)
    else:
        index.refresh()
    return index.person_edited(region, time)


class RunWriter:
    """Writes a run's blocks into labels that people may be editing at the same time.

    Parameters
    ----------
    labels
        The label image.
    index
        Its records; one per process.
    levels
        How many levels, from 0, `write` keeps right; None: all. The others are `renew`'s, so that many workers don't
        meet in the few objects of the coarsest ones.
    """

    def __init__(
        self, labels: Labels, index: JournalIndex | None = None, levels: int | None = None
    ) -> None:
        self._index = index or JournalIndex(labels)
        self._levels = [StoredLevel(level) for level in labels.levels]
        self._own = len(self._levels) if levels is None else levels
        grid = self._levels[0]
        state = EditState(grid.shape, grid.chunks, grid.dtype, "", self._index.last)
        cache = ChunkCache(
            self._levels, _CACHE_BYTES, lambda *_: None, lambda _: 0, lambda _: False
        )
        self._cache = cache

        def downsample(block: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
            return coarser(block, factors, keep_thin=labels.metadata.keep_thin)

        self._steps = step_factors(labels.factors)
        self._applier = Applier(
            self._levels,
            self._steps,
            downsample,
            self._index.journal,
            state,
            cache,
            lambda _: None,
            no_step,
        )

    def write(
        self,
        region: Region,
        combine: Callable[[np.ndarray, np.ndarray, Region], np.ndarray],
        *,
        time: int = 0,
    ) -> int:
        """Change the chunks below a region by compare-and-swap, then the coarser voxels above them.

        Parameters
        ----------
        region
            Half-open voxel ranges of level 0; need not be whole chunks.
        combine
            From a chunk's present ids (z, y, x), the mask of voxels that people own, and the chunk's region: the new
            ids. It may be called again for a chunk that an editor changed meanwhile; it must leave the mask's voxels
            as they are, unless the run overwrites edits, and those outside of its own region.
        time
            Time index.

        Returns
        -------
        changed
            Number of chunks of level 0 that were put.

        Raises
        ------
        StorageError
            If the store fails past its retries.
        """
        level = self._levels[0]
        changed = 0
        for place in level.places(time, region):
            changed += self._write_one(place, combine)
        dirty: Dirty = {time: [region]}
        for at in range(1, self._own):
            dirty = self._applier.renew_level(at, dirty)
        self._cache.clear()
        return changed

    def renew(self, level: int, region: Region, *, time: int = 0) -> None:
        """Make voxels of a coarser level anew from the level below it, by compare-and-swap.

        Parameters
        ----------
        level
            From 1.
        region
            Half-open voxel ranges of that level.
        time
            Time index.

        Raises
        ------
        StorageError
            If the store fails past its retries.
        """
        below = refined(region, self._steps[level - 1], self._levels[level - 1].shape)
        self._applier.renew_level(level, {time: [below]})
        self._cache.clear()

    def _write_one(
        self, place: Place, combine: Callable[[np.ndarray, np.ndarray, Region], np.ndarray]
    ) -> int:
        level = self._levels[0]
        region = level.region(place)
        for attempt in range(_ATTEMPTS):
            block, etag = level.read(place)
            self._index.refresh()  # after the read: no edit can hide between tag and mask
            owned = self._index.person_edited(region, place.time)
            new = np.asarray(combine(block.copy(), owned, region), level.dtype)
            if new.shape != block.shape:
                raise InputError(
                    f"combine returned {new.shape} voxels for a chunk of {block.shape}"
                )
            if np.array_equal(new, block):
                return 0
            try:
                level.put(place, new, etag)
                return 1
            except ChangedError:
                clock.sleep(min(0.5, 0.01 * 2**attempt))
        raise StorageError(
            f"{level.store.location}/{level.key(place)} changes too fast; resume the run"
        )

    def close(self) -> None:
        """Stop the threads."""
        self._applier.close()
        self._cache.close()
