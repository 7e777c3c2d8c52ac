"""Operations on whole objects: chunk by chunk over wherever they lie, with memory that does not grow with them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from volseg.editing.chunks import StoredLevel
from volseg.editing.deltas import Delta, Place, id_counts, make_delta
from volseg.editing.journal import PART_BYTES, Journal
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from volseg.images.objects import ObjectRow

_WINDOW = 16


class DeltaCollector:
    """The deltas of one large operation; what is too much to keep goes into parts ahead of the record."""

    def __init__(self, journal: Journal) -> None:
        self.uuid = uuid.uuid4().hex
        self.counts: dict[int, int] = {}
        self._journal = journal
        self._ready: list[Delta] = []
        self._waiting: list[Delta] = []
        self._bytes = 0
        self._part = 0

    def add(self, delta: Delta | None) -> None:
        """Take in one chunk's changes."""
        if delta is None:
            return
        for label, number in id_counts([delta]).items():
            self.counts[label] = self.counts.get(label, 0) + number
        self._waiting.append(delta)
        self._bytes += len(delta.raw)
        if self._bytes >= PART_BYTES:
            self._spill()

    def deltas(self) -> tuple[Delta, ...]:
        """Return all changes, in the order in which they came."""
        return (*self._ready, *self._waiting)

    def _spill(self) -> None:
        stored, self._part = self._journal.store_parts(self.uuid, self._waiting, self._part)
        self._ready += stored
        self._waiting, self._bytes = [], 0


def collect(
    places: Iterable[Place],
    block: Callable[[Place], np.ndarray],
    change: Callable[[np.ndarray, Place], np.ndarray],
    level: StoredLevel,
    collector: DeltaCollector,
    progress: Progress = silent,
    stage: str = "edit",
) -> None:
    """Run over chunks and collect what a function changes in them.

    Parameters
    ----------
    places
        The chunks.
    block
        Returns a chunk's voxels as they are; called from several threads.
    change
        Returns what they shall be.
    level
        Level 0.
    collector
        Takes the changes.
    progress, stage
        Called after each chunk.
    """
    todo = sorted(places)

    def work(place: Place) -> Delta | None:
        before = block(place)
        return make_delta(place.time, level.origin(place), before, change(before, place))

    with ThreadPoolExecutor(4, thread_name_prefix="volseg-bulk") as pool:
        for start in range(0, len(todo), _WINDOW):
            for done, delta in enumerate(pool.map(work, todo[start : start + _WINDOW]), start + 1):
                collector.add(delta)
                progress(stage, done, len(todo))


def places_of(
    ids: Iterable[int],
    rows: Iterable[ObjectRow],
    level: StoredLevel,
    unlisted: Callable[[], Iterable[Place]],
) -> set[Place]:
    """Return the chunks in which objects may lie.

    Parameters
    ----------
    ids
        The objects.
    rows
        The object table: boxes that surely contain the objects as stored.
    level
        Level 0.
    unlisted
        Returns all chunks that may hold something, for objects that the table does not know.
    """
    wanted = set(ids)
    found: set[Place] = set()
    listed: set[int] = set()
    for row in rows:
        if row.id in wanted and row.bbox is not None:
            listed.add(row.id)
            found.update(level.places(row.time, row.bbox))
    if wanted - listed:
        found.update(unlisted())
    return found
