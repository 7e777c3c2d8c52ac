"""What happens to unsaved edits: choices in a conflict, discarding, closing, local copies and taking them up again."""

from __future__ import annotations

import atexit
import logging
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np

from volseg.editing.apply import dirty_regions
from volseg.editing.conflict import EditConflictError, UnsavedConflictError, conflict_message
from volseg.editing.deltas import Delta, Place, id_counts, make_delta
from volseg.editing.engine import Engine, deltas_by_place
from volseg.editing.options import EngineOptions
from volseg.editing.record import Operation, Record
from volseg.editing.sessions import Session
from volseg.editing.state import Clash, PendingOperation
from volseg.editing.table import drop_empty_rows, rescan_rows, update_rows
from volseg.editing.unsaved import default_folder, read_copy, write_copy
from volseg.errors import ConflictError, InputError, StorageError, UnsavedEditsError, VolsegError

if TYPE_CHECKING:
    from volseg.images.labels import Labels

_log = logging.getLogger(__name__)
_CLOSING_ATTEMPTS = 3
_CLOSING_PAUSE_S = 0.5


@dataclass(frozen=True)
class Pending:
    """What is not yet durable.

    Parameters
    ----------
    operations
        Finished operations that the journal does not have.
    voxels
        How many voxels they change.
    unapplied
        Durable records that are not yet in all chunks.
    error
        Why the last flush in the background failed, None if it did not.
    """

    operations: tuple[Operation, ...]
    voxels: int
    unapplied: int
    error: VolsegError | None

    def __len__(self) -> int:
        return len(self.operations)

    def __str__(self) -> str:
        if not self.operations:
            return "synced" if self.error is None else f"synced, but: {self.error}"
        state = "in conflict" if isinstance(self.error, ConflictError) else "unsaved"
        return f"{len(self.operations)} {state} ({self.voxels} voxels)"


class Lifecycle(Engine):
    """An engine with an end; see `Engine` for the parameters."""

    def __init__(self, labels: Labels, annotator: str, **options: Unpack[EngineOptions]) -> None:
        super().__init__(labels, annotator, **options)
        this = weakref.ref(self)

        def at_exit() -> None:
            editor = this()
            if editor is not None:
                editor._keep_at_exit()

        self._exit_hook = at_exit
        atexit.register(at_exit)

    @property
    def pending(self) -> Pending:
        """What is not yet durable; its length is the number of operations, and its text is meant for people."""
        with self._lock:
            operations = tuple(item.operation for item in self._state.pending)
            return Pending(
                operations,
                sum(operation.voxels for operation in operations),
                len(self._flusher.unapplied),
                None if self._background is None else self._background.error,
            )

    @property
    def conflicts(self) -> list[Clash]:
        """Where known records of others are in the way of unsaved edits."""
        with self._lock:
            return self._state.clashes(self._state.pending)

    # --- choices

    def discard(self) -> int:
        """Drop all unsaved edits, an open stroke included; return how many operations.

        Raises
        ------
        StorageError
            If an attempt to store some was never answered, and still isn't: they may be stored already.
        """
        self._check_open()
        with self._operating:
            self._drop_stroke()
            with suppress(EditConflictError):  # then it is certain that they were not stored
                self._flusher.settle_doubt()
            with self._lock:
                dropped = len(self._state.pending)
                self._replace_pending([])
            self._touched()
            return dropped

    def resolve(self, keep: Literal["mine", "theirs"]) -> int:
        """Settle a conflict; return how many operations were dropped or changed. Flush afterwards.

        Parameters
        ----------
        keep
            "theirs" drops the operations that are in conflict, and later ones on the same voxels. "mine" puts one's
            own on top of the others': what one undoes later is then what they did.
        """
        if keep not in ("mine", "theirs"):
            raise InputError(f"resolve({keep!r}): expected 'mine' or 'theirs'")
        self._check_open()
        with self._operating:
            if self._stroke is not None:
                raise InputError("a conflict is settled after the open stroke has ended")
            self.refresh_quietly()
            changed = self._drop_clashing() if keep == "theirs" else self._put_on_top()
            self._touched()
            return changed

    def refresh_quietly(self) -> None:
        """Take in what others stored; a conflict of an unanswered attempt is what is being settled."""
        with suppress(EditConflictError):
            self.refresh()

    def _drop_clashing(self) -> int:
        with self._lock:
            kept, dropped = self._state.parted()
            self._replace_pending(kept)
            return len(dropped)

    def _put_on_top(self) -> int:
        """Give every pending operation the old values that are there now."""
        with self._lock:
            items = list(self._state.pending)
            base = self._state.base
        operations = [item.operation for item in items]
        fresh: list[dict[int, Delta]] = [{} for _ in items]
        for place, entries in deltas_by_place(operations, self._state.chunks).items():
            block = self._without_pending(place)
            origin = self._grid.origin(place)
            for number, at, delta in entries:
                before = block.copy()
                delta.apply(block, origin)
                made = make_delta(delta.time, origin, before, block)
                if made is not None:
                    fresh[number][at] = made
        with self._lock:
            rebased = [
                PendingOperation(
                    _with_deltas(operation, [deltas[at] for at in sorted(deltas)]), base
                )
                for operation, deltas in zip(operations, fresh, strict=True)
            ]
            later = self._state.pending[len(items) :]
            self._replace_pending(
                [i for i in rebased if i.operation.deltas or i.operation.classes] + later
            )
        return len(items)

    def _without_pending(self, place: Place) -> np.ndarray:
        chunk = self._cache.peek((0, place)) or self._cache.read((0, place))
        with self._lock:
            block = chunk.stored.copy()
            for delta in self._state.outstanding(place, chunk.applied):
                delta.apply(block, self._grid.origin(place))
            return block

    def _replace_pending(self, items: Sequence[PendingOperation]) -> None:
        places = self._state.pending_places()
        self._state.set_pending(items)
        places = places | self._state.pending_places()
        for place in places:
            self._rebuild(place)
        self._tell_places(places)

    # --- closing

    def close(self) -> None:
        """End editing with everything durable, and write the checkpoint if nobody else edits.

        An open stroke is dropped: half a stroke is never stored.

        Raises
        ------
        UnsavedEditsError
            If not everything could be stored; the message names the local copy, which `restore` takes up. In a
            conflict it is a ConflictError too. Where no copy could be written either, the editor stays open.
        """
        if self._closed:
            return
        with self._operating:
            self._drop_stroke()
            error = self._flush_for_good()
            with self._lock:
                items = list(self._state.pending)
            unsaved = self._unsaved(items, error) if items and error is not None else None
            try:
                if unsaved is not None:
                    raise unsaved from error
                if self._background is not None:
                    self._background.stop()
                self._close_journal(error)
            finally:
                self._end()

    def abandon(self) -> None:
        """End editing without storing what is pending: a copy of it was kept, or nobody wants it."""
        if self._closed:
            return
        with self._operating:
            self._drop_stroke()
            self._end()

    def _end(self) -> None:
        atexit.unregister(self._exit_hook)
        if self._background is not None:
            self._background.stop()
        self._closed = True
        self._applier.close()
        self._cache.close()

    @property
    def closed(self) -> bool:
        """Whether editing has ended."""
        return self._closed

    def _close_journal(self, error: VolsegError | None) -> None:
        if error is not None:
            _log.warning(
                "edits are durable, but not yet in all chunks; the next open does it: %s", error
            )
            return
        try:
            self._checkpoint()
            self._sessions.remove(self._session)
            self._step("session-removed")
        except VolsegError as problem:
            _log.warning("everything is stored, but the checkpoint was not written: %s", problem)

    def _flush_for_good(self) -> VolsegError | None:
        for attempt in range(_CLOSING_ATTEMPTS):
            try:
                self._flusher.flush(around_conflicts=True)
                return None
            except StorageError as error:
                problem: VolsegError = error
                time.sleep(_CLOSING_PAUSE_S * 2**attempt if attempt < _CLOSING_ATTEMPTS - 1 else 0)
            except VolsegError as error:
                return error
        return problem

    def _checkpoint(self) -> None:
        """Write the number up to which all chunks hold everything, if no other editor lives."""
        with self._lock:
            floor, base = self._state.floor, self._state.base
        if base == floor:
            return
        self._journal.pack(floor + 1, base)
        living, crashed = self._sessions.others(self._session)
        if living:
            return
        self._applier.sync()
        if crashed:
            self._finish_for(crashed)
        drop_empty_rows(self.labels)
        with self._lock:
            number = self._state.base
        self._step("before-checkpoint")
        self._journal.set_checkpoint(number)
        self._step("checkpoint-written")

    def _finish_for(self, crashed: Sequence[Session]) -> None:
        """Bring into chunks and table what sessions that ended without closing had put into the journal."""
        names = {session.uuid for session in crashed}
        with self._lock:
            records = [record for record in self._state.records if record.session in names]
            places = {delta.place(self._state.chunks) for r in records for delta in r.deltas}
        if records:
            self._applier.apply(places, dirty_regions(records))
            rescan_rows(self.labels, records)
        for session in crashed:
            self._sessions.remove(session)

    def _keep_at_exit(self) -> None:
        """Copy edits to the local folder when the program ends without closing; too late for the store by then."""
        with self._lock:
            items = list(self._state.pending)
        if items and not self._closed:
            path = self._copy(items)
            _log.warning(
                "the program ended with %d edits not stored; their copy lies in %s",
                len(items),
                path,
            )

    def keep_copy(self, folder: Path | None = None) -> Path | None:
        """Write a local copy of the unsaved edits, which stay pending; return its path, None where there are none.

        Raises
        ------
        OSError
            If it can't be written.
        """
        with self._lock:
            items = list(self._state.pending)
        return self._copy(items, folder) if items else None

    def _copy(self, items: list[PendingOperation], folder: Path | None = None) -> Path:
        record = Record(
            annotator=self.annotator,
            session=self._session.uuid,
            base=min(item.base for item in items),
            operations=tuple(item.operation for item in items),
            shape=self._state.shape,
            chunks=self._state.chunks,
            dtype=self._state.dtype,
            where=self.labels.location.url,
        )
        return write_copy(folder or self.local_folder, self.labels.name, record)

    @property
    def local_folder(self) -> Path:
        """Where copies of edits go that could not be stored."""
        return self._local_folder or default_folder()

    def _unsaved(self, items: list[PendingOperation], error: VolsegError) -> UnsavedEditsError:
        voxels = sum(item.operation.voxels for item in items)
        edits = "1 edit" if len(items) == 1 else f"{len(items)} edits"
        what = f"{self.labels.location}: {edits} ({voxels} voxels) not stored: {error} "
        try:
            path = self._copy(items)
        except OSError as problem:
            raise UnsavedEditsError(
                f"{what}No copy could be kept in {self.local_folder} either: {problem}. The labels stay open; free "
                "some space and close them again"
            ) from error
        message = (
            f"{what}Their copy lies in {path}; napari offers it when the volume is opened again, in Python "
            f"editor.restore({str(path)!r}) takes it up"
        )
        if isinstance(error, EditConflictError):
            return UnsavedConflictError(message, error.clashes)
        return UnsavedEditsError(message)

    def restore(self, path: Path | str) -> int:
        """Take up the local copy of edits that a former editor could not store; return how many operations.

        They are pending afterwards. The file stays until they are flushed and somebody deletes it.

        Raises
        ------
        EditConflictError
            If records since touch the same voxels; they are pending then too, and `resolve` settles it.
        InputError
            If the copy belongs to other labels.
        """
        self._check_open()
        copy = read_copy(Path(path), self._journal)
        self._check_grid(copy)
        self.refresh()
        with self._lock:
            floor, base = self._state.floor, self._state.base
        since = list(self._journal.between(copy.base + 1, base))
        stored = {operation.uuid for record in since for operation in record.operations}
        operations = [item for item in copy.operations if item.uuid not in stored]
        with self._operating:
            with self._lock:
                self._state.remember(r for r in since if r.number <= floor)
            for operation in operations:
                self.push(operation, base=copy.base)
        clashes = self.conflicts
        if clashes:
            raise EditConflictError(conflict_message(str(self.labels.location), clashes), clashes)
        return len(operations)

    # --- the object table

    def _recover(self) -> None:
        super()._recover()
        living, crashed = self._sessions.others(self._session)
        if crashed and not living:  # else whoever of the living closes last does it
            self._finish_for(crashed)

    def _after_apply(self, records: Sequence[Record]) -> None:
        update_rows(self.labels, records)
        self._step("table-put")


def _with_deltas(operation: Operation, deltas: list[Delta]) -> Operation:
    counts = id_counts(deltas) if operation.counts else {}
    return replace(operation, deltas=tuple(deltas), counts=counts)
