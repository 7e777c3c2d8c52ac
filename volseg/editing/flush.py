"""From memory into the journal and on into the chunks: the commit, in steps that may each be the last.

After `commit` returns, the edit is durable; everything later can be done again by whoever opens the labels next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from volseg.editing.apply import Applier, dirty_regions
from volseg.editing.cache import ChunkCache
from volseg.editing.conflict import EditConflictError, conflict_message
from volseg.editing.journal import INLINE_BYTES, Journal
from volseg.editing.record import Operation, PartBytes, Record
from volseg.editing.state import EditState, PendingOperation


class Flusher:
    """Commits pending operations and applies records, one caller at a time.

    Parameters
    ----------
    journal, state, cache, applier
        Of one editor.
    annotator
        Who edits.
    stroke_places
        Returns the chunks that an open stroke has changed; asked under the lock.
    applied
        Called, without the lock, with records that all chunks now hold.
    step
        Called with the name of each step.
    where
        Place of the labels, for messages.
    """

    def __init__(
        self,
        journal: Journal,
        state: EditState,
        cache: ChunkCache,
        applier: Applier,
        annotator: str,
        stroke_places: Callable[[], set],
        applied: Callable[[list[Record]], None],
        step: Callable[[str], None],
        where: str,
    ) -> None:
        self._journal = journal
        self._state = state
        self._cache = cache
        self._applier = applier
        self._annotator = annotator
        self._stroke_places = stroke_places
        self._applied = applied
        self._step = step
        self._where = where
        self._one = threading.RLock()
        self._doubtful: tuple[Record, list[PendingOperation]] | None = None
        self.unapplied: list[Record] = []

    def flush(self, *, around_conflicts: bool = False) -> None:
        """Make everything durable that is pending now, and bring it into the chunks of all levels.

        Parameters
        ----------
        around_conflicts
            Store what is not in conflict, and only then tell of the rest; else all of it or nothing.

        Raises
        ------
        EditConflictError
            Another's record is in the way; what is in conflict was not written.
        StorageError
            The store failed past its retries; what was pending still is, or is durable and goes into the chunks later.
        """
        with self._one:
            if around_conflicts:
                held = self._commit_free()
                self.apply()
                if held:
                    self._check(held)
            else:
                self.commit()
                self.apply()

    def _commit_free(self) -> list[PendingOperation]:
        """Make everything durable that is not in conflict; return what is."""
        while True:
            try:
                self.settle_doubt()
                with self._cache.lock:
                    free, held = self._state.parted()
                if free:
                    self._store(free)
                return held
            except EditConflictError:  # somebody was quicker: their record is known now
                continue

    def commit(self) -> None:
        """Make everything durable that is pending now, or nothing where some of it is in conflict."""
        with self._one:
            if self._doubtful is not None:  # a former attempt may have got its number unheard
                self._commit(*self._doubtful)
            with self._cache.lock:
                batch = list(self._state.pending)
            if batch:
                self._check(batch)
                self._store(batch)

    def _store(self, batch: list[PendingOperation]) -> None:
        """Put operations into the journal of a label image that is still there."""
        with self._cache.lock:
            newest = self._state.base
        self._journal.check_there(newest)
        self._commit(self._record(batch), batch)

    def apply(self) -> None:
        """Bring what is durable into the chunks of all levels."""
        with self._one:
            records = list(self.unapplied)
            if not records:
                return
            with self._cache.lock:
                chunks = self._state.chunks
            places = {delta.place(chunks) for record in records for delta in record.deltas}
            self._applier.apply(places, dirty_regions(records))
            with self._cache.lock:
                busy = self._stroke_places()
                for place in places - busy:
                    if not self._state.pending_deltas(place):
                        self._cache.settle((0, place))
                self._cache.shrink()
            self._applied(records)
            self._step("applied")
            self.unapplied = self.unapplied[len(records) :]

    def refresh(self) -> list[Record]:
        """Take in what others stored; never while an own record is on its way."""
        with self._one:
            self.settle_doubt()
            return self._applier.sync()

    def settle_doubt(self) -> None:
        """Find out whether an unanswered attempt got its number, by repeating it."""
        with self._one:
            if self._doubtful is not None:
                self._commit(*self._doubtful)

    def _record(self, batch: list[PendingOperation]) -> Record:
        for item in batch:
            operation = self._with_parts(item.operation)
            with self._cache.lock:
                item.operation = operation
        finest = self._state
        return Record(
            annotator=self._annotator,
            session=finest.session,
            base=min(item.base for item in batch),
            operations=tuple(item.operation for item in batch),
            shape=finest.shape,
            chunks=finest.chunks,
            dtype=finest.dtype,
        )

    def _with_parts(self, operation: Operation) -> Operation:
        """Write the voxels of a large operation ahead of its record."""
        inline = [d for d in operation.deltas if not isinstance(d.data, PartBytes)]
        if sum(len(delta.raw) for delta in inline) <= INLINE_BYTES:
            return operation
        deltas, _ = self._journal.store_parts(operation.uuid, operation.deltas, 0)
        self._step("parts-put")
        return replace(operation, deltas=tuple(deltas))

    def _check(self, batch: list[PendingOperation]) -> None:
        with self._cache.lock:
            clashes = self._state.clashes(batch)
        if clashes:
            raise EditConflictError(conflict_message(self._where, clashes), clashes)

    def _commit(self, record: Record, batch: list[PendingOperation]) -> None:
        """Number the record: conditional create, and after a refusal a look at what is there."""
        self._doubtful = (record, batch)
        while True:
            with self._cache.lock:
                number = self._state.base + 1
            sent = time.monotonic()
            self._step("record-put")
            taken = self._journal.create(record, number)
            if taken is None:
                break
            self._applier.sync()
            try:
                self._check(batch)
            except EditConflictError:
                self._doubtful = None  # every number up to the newest is somebody else's
                raise
        numbered = record.numbered(number)
        with self._cache.lock:
            self._state.add_record(numbered)
            self._state.listed = max(self._state.listed, sent)
            self._state.set_pending(i for i in self._state.pending if i not in batch)
            self.unapplied.append(numbered)
        self._doubtful = None
        self._step("record-created")
