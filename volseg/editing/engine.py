"""The engine under `Editor`: opening with recovery, views of chunks, operations, undo, conflicts, closing.

Knows nothing of tools: those are in `editor` and `tools`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.editing.apply import Applier, dirty_regions
from volseg.editing.background import BackgroundFlush
from volseg.editing.cache import Chunk, ChunkCache, Key
from volseg.editing.chunks import StoredLevel
from volseg.editing.deltas import Delta, Place, id_counts
from volseg.editing.flush import Flusher
from volseg.editing.journal import Journal
from volseg.editing.record import Operation, Record
from volseg.editing.sessions import HEARTBEAT_SECONDS, Session, Sessions
from volseg.editing.state import EditState, PendingOperation
from volseg.editing.stroke import Stroke
from volseg.editing.timeline import Link, Timeline, check_free
from volseg.errors import InputError
from volseg.geometry import Region, Triple, slices
from volseg.images.pyramid import coarser

if TYPE_CHECKING:
    from volseg.images.labels import Labels

_log = logging.getLogger(__name__)


Changed = Sequence[tuple[int, Region]]
"""Regions of voxels of level 0 that look different now, each with its time."""


def no_step(name: str) -> None:
    """Do nothing at a step."""


def not_watched(boxes: Changed) -> None:
    """Do nothing on a change."""


class Engine:
    """One label image, open for editing by one person.

    Parameters
    ----------
    labels
        The label image.
    annotator
        Who edits; stands in every record.
    cache_bytes
        Bound of the memory for decoded chunks.
    flush_after
        Seconds without edits after which a background thread flushes; None: only when asked to.
    local_folder
        Where copies of edits go that could not be stored.
    step
        Called with the name of each step of opening, flushing and closing; for tests that stop there.
    on_change
        Called where voxels look different now: from any thread, also under the lock, so it must return at once and
        must not call the editor.

    Raises
    ------
    InputError
        If the labels are read only, or the annotator has no name.
    StorageError
        If the store fails past its retries.
    """

    def __init__(
        self,
        labels: Labels,
        annotator: str,
        *,
        cache_bytes: int = 512 * 2**20,
        flush_after: float | None = 2.0,
        local_folder: Path | None = None,
        step: Callable[[str], None] = no_step,
        on_change: Callable[[Changed], None] = not_watched,
    ) -> None:
        if not annotator.strip():
            raise InputError("an editor needs the annotator's name: labels.edit(annotator='…')")
        self.labels = labels
        self.annotator = annotator
        self._local_folder = local_folder
        self._step = step
        self._on_change = on_change
        self._levels = [StoredLevel(level) for level in labels.levels]
        self._grid = self._levels[0]
        self._factors = step_factors(labels.factors)
        self._journal = Journal(labels.store)
        self._session = Session(annotator)
        self._sessions = Sessions(self._journal.store)
        self._sessions.write(self._session)
        step("session-written")
        self._state = EditState(
            self._grid.shape,
            self._grid.chunks,
            self._grid.dtype,
            self._session.uuid,
            self._journal.checkpoint(),
        )
        self._cache = ChunkCache(
            self._levels, cache_bytes, self._prepare, self._applied, self._pinned
        )
        self._lock = self._cache.lock
        self._operating = threading.RLock()  # one operation at a time
        self._stroke: Stroke | None = None
        self._closed = False
        self._applier = Applier(
            self._levels,
            self._factors,
            partial(coarser, keep_thin=labels.metadata.keep_thin),
            self._journal,
            self._state,
            self._cache,
            self._on_records,
            step,
        )
        self._flusher = Flusher(
            self._journal,
            self._state,
            self._cache,
            self._applier,
            annotator,
            self._stroke_places,
            self._after_apply,
            step,
            str(labels.location),
        )
        self._timeline = Timeline(self._journal, self._state, annotator)
        self._recover()
        self._background: BackgroundFlush | None = None
        if flush_after is not None:
            self._background = BackgroundFlush(
                partial(self._flusher.flush, around_conflicts=True),
                self._beat,
                flush_after,
                HEARTBEAT_SECONDS,
            )

    # --- opening

    def _recover(self) -> None:
        """Bring everything since the checkpoint into the chunks, in order: somebody may have been stopped half-way."""
        records = self._applier.sync()
        self._step("records-read")
        if not records:
            return
        for record in records:
            self._check_grid(record)
        places = {delta.place(self._state.chunks) for r in records for delta in r.deltas}
        self._applier.apply(places, dirty_regions(records))
        self._step("recovered")

    def _check_grid(self, record: Record) -> None:
        """Raise if a record was made for another grid than the label image has now."""
        if (record.shape, record.chunks) != (self._state.shape, self._state.chunks):
            raise InputError(
                f"{self.labels.location}: record {record.number} was made for {record.shape} voxels in chunks of "
                f"{record.chunks}, but the labels have {self._state.shape} in {self._state.chunks}: the array was "
                "replaced under its journal; restore it, or copy the labels under a new name"
            )

    def _beat(self) -> None:
        import time

        self._session = replace(self._session, heartbeat=time.time())
        self._sessions.write(self._session)

    # --- what the cache asks

    def _prepare(self, key: Key, chunk: Chunk) -> None:
        level, place = key
        if level == 0:
            origin = self._grid.origin(place)
            if self._state.outstanding(place, chunk.applied) or self._state.pending_deltas(place):
                self._state.overlay(place, chunk.writable(), chunk.applied, origin)

    def _applied(self, key: Key) -> int:
        with self._lock:
            return self._state.applied(key[1]) if key[0] == 0 else 0

    def _pinned(self, key: Key) -> bool:
        return key[0] == 0 and key[1] in self._stroke_places()

    def _stroke_places(self) -> set[Place]:
        return set() if self._stroke is None else self._stroke.places

    def _on_records(self, records: Sequence[Record]) -> None:
        """Show others' records in the chunks in memory, except where own unwritten edits lie (under the lock)."""
        chunks = self._state.chunks
        for record in records:
            for delta in record.deltas:
                place = delta.place(chunks)
                chunk = self._cache.peek((0, place))
                if chunk is not None:
                    self._show(delta, place, chunk)
        self._tell(delta for record in records for delta in record.deltas)

    def _tell(self, deltas: Iterable[Delta]) -> None:
        regions = [(delta.time, delta.region) for delta in deltas]
        if regions:
            self._on_change(regions)

    def _show(self, delta: Delta, place: Place, chunk: Chunk) -> None:
        origin = self._grid.origin(place)
        block = chunk.writable()
        mine = np.zeros(block.shape, bool)
        for own in self._state.pending_deltas(place):
            mine[slices(own.region, origin)] |= own.change().mask
        if self._stroke is not None:
            for region in self._stroke.regions(place):
                mine[slices(region)] = True
        keep = block[mine]
        delta.apply(block, origin)
        block[mine] = keep

    # --- views

    def block(self, place: Place) -> np.ndarray:
        """Return a copy of a level-0 chunk as it is with all edits; read without keeping it if it is not in memory."""
        key = (0, place)
        with self._lock:
            chunk = self._cache.peek(key)
            if chunk is not None:
                return chunk.view.copy()
        chunk = self._cache.read(key)
        with self._lock:
            block = chunk.stored.copy()
            self._state.overlay(place, block, chunk.applied, self._grid.origin(place))
            return block

    # --- operations

    @contextmanager
    def stroke(self, kind: str = "paint", **details: Any) -> Iterator[None]:
        """Group edits into one operation: one step of undo, stored whole or not at all.

        Parameters
        ----------
        kind
            What history calls it.
        details
            Stand in the record (JSON values).
        """
        self._check_open()
        with self._operating:
            if self._stroke is not None:
                yield  # part of the operation that is open already
                return
            with self._lock:
                self._stroke = Stroke(kind, self._state.base, dict(details))
            try:
                yield
            except BaseException:
                self._drop_stroke()
                raise
            self._close_stroke()

    def _close_stroke(self) -> None:
        with self._lock:
            stroke = self._stroke
            if stroke is None:
                return
            deltas = tuple(stroke.deltas(self._view, self._grid.origin))
            untouched = stroke.places - {delta.place(self._state.chunks) for delta in deltas}
            self._stroke = None
            for place in untouched:
                if not self._lies_on(place):
                    self._cache.settle((0, place))
            if deltas:
                operation = Operation(stroke.kind, deltas, details=stroke.details)
                self._state.push(PendingOperation(operation, stroke.base))
        if deltas:
            self._touched()
            self._tell(deltas)

    def _lies_on(self, place: Place) -> bool:
        """Tell whether anything lies on a chunk in memory that its stored version lacks."""
        chunk = self._cache.peek((0, place))
        applied = 0 if chunk is None else chunk.applied
        return bool(self._state.pending_deltas(place) or self._state.outstanding(place, applied))

    def _drop_stroke(self) -> None:
        """Take back everything of the open stroke."""
        with self._lock:
            stroke, self._stroke = self._stroke, None
            places = set() if stroke is None else stroke.places
            for place in places:
                self._rebuild(place)
        self._tell_places(places)

    def _tell_places(self, places: Iterable[Place]) -> None:
        regions = [(place.time, self._grid.region(place)) for place in places]
        if regions:
            self._on_change(regions)

    def _view(self, place: Place) -> np.ndarray:
        chunk = self._cache.peek((0, place))
        if chunk is None:
            raise RuntimeError(f"chunk {place} of an open stroke left the cache")
        return chunk.view

    def _rebuild(self, place: Place) -> None:
        """Make a chunk's view anew from what is stored, known and pending (under the lock)."""
        chunk = self._cache.peek((0, place))
        if chunk is not None:
            chunk.working = None
            self._prepare((0, place), chunk)

    def push(self, operation: Operation, base: int | None = None) -> None:
        """Append an operation whose changes no chunk in memory shows yet, and show them."""
        with self._lock:
            self._state.push(
                PendingOperation(operation, self._state.base if base is None else base)
            )
            for delta in operation.deltas:
                place = delta.place(self._state.chunks)
                chunk = self._cache.peek((0, place))
                if chunk is not None:
                    delta.apply(chunk.writable(), self._grid.origin(place))
        self._touched()
        self._tell(operation.deltas)

    def _touched(self) -> None:
        self._cache.shrink()
        if self._background is not None:
            self._background.touch()

    # --- undo and redo

    def undo(self, operation: str | None = None) -> Operation | None:
        """Take back the last operation: this session's own first, then whoever's stands last in the journal.

        Parameters
        ----------
        operation
            The `uuid` of a certain operation (as in `history`) instead of the last.

        Returns
        -------
        operation
            The undo, None if there is nothing to take back.

        Raises
        ------
        EditConflictError
            If something later touches the same voxels; nothing is changed.
        """
        return self._take_back(lambda: self._timeline.to_undo(operation))

    def redo(self, operation: str | None = None) -> Operation | None:
        """Do again what was last undone; None if there is nothing, or something new was done since."""
        return self._take_back(lambda: self._timeline.to_redo(operation))

    def _take_back(self, find: Callable[[], tuple[Link, list[Link]] | None]) -> Operation | None:
        self._check_open()
        with self._operating:
            if self._stroke is not None:
                raise InputError("undo and redo wait until the open stroke ends")
            while True:
                with self._lock:
                    found = find()
                    if found is not None:
                        step = self._timeline.step_of(found[0])
                        break
                    if self._timeline.complete:
                        return None
                self._timeline.read_older()
            for link, later in step:
                check_free(link, later, self._state.chunks, str(self.labels.location))
            inverses = [link.operation.inverse() for link, _ in step]
            for inverse in inverses:
                self.push(inverse)
            return inverses[0]

    # --- the way to the store

    def flush(self, *, around_conflicts: bool = False) -> None:
        """Make every finished operation durable, and bring it into the chunks of all levels.

        Parameters
        ----------
        around_conflicts
            Store what is not in conflict first, as the flush in the background does; else all or nothing.

        Raises
        ------
        EditConflictError
            If another's record touches the same voxels; what is in conflict was not written, and without
            `around_conflicts` nothing was. Choose with `resolve` or `discard`.
        StorageError
            If the store fails past its retries; nothing is lost, flush again.
        """
        self._check_open()
        self._flusher.flush(around_conflicts=around_conflicts)

    def refresh(self) -> int:
        """Take in what others have stored since; return how many records."""
        self._check_open()
        return len(self._flusher.refresh())

    def _after_apply(self, records: Sequence[Record]) -> None:
        """Called when all levels hold some records of this session."""

    def _check_open(self) -> None:
        if self._closed:
            raise InputError(f"the editor of {self.labels.location} is closed; open another")

    def counts_of(self, operation: Operation) -> dict[int, int]:
        """Return by how many voxels each id changes."""
        return dict(operation.counts) or id_counts(operation.deltas)


def step_factors(totals: Sequence[Triple]) -> list[Triple]:
    """Return the factors from each level to the next, from those from level 0."""
    steps = []
    for fine, coarse in pairwise(totals):
        z, y, x = (c // f for c, f in zip(coarse, fine, strict=True))
        steps.append((z, y, x))
    return steps


def deltas_by_place(
    operations: Iterable[Operation], chunks: Triple
) -> dict[Place, list[tuple[int, int, Delta]]]:
    """Return (operation's position, delta's position, delta) by chunk, in order."""
    found: dict[Place, list[tuple[int, int, Delta]]] = {}
    for number, operation in enumerate(operations):
        for at, delta in enumerate(operation.deltas):
            found.setdefault(delta.place(chunks), []).append((number, at, delta))
    return found
