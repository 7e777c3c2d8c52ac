"""One label image open for editing, as the plugin's views see it: a queue of jobs, a state, signals. No Qt, no napari.

Everything that can wait for the store runs on the label image's own thread; whoever asks gets a future. Signals are
emitted on that thread (or the session's watching thread): a view goes back to the GUI thread by itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack

import numpy as np
from psygnal import EmitLoopError, Signal, SignalInstance

from napari_plugin.edit_state import EditState
from napari_plugin.kept_copies import KeptCopies
from volseg.editing import EditConflictError, Editor
from volseg.editing.engine import Changed
from volseg.editing.options import EditorOptions
from volseg.editing.record import Operation
from volseg.editing.state import Clash
from volseg.editing.unsaved import LocalCopy
from volseg.errors import InputError, StorageError, VolsegError
from volseg.geometry import Region, enclosing
from volseg.images.labels import Labels

_log = logging.getLogger(__name__)
_MOST_REGIONS = 32
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
T = TypeVar("T")


class LabelEditing:
    """A label image open for editing by one person.

    Parameters
    ----------
    labels
        The label image.
    annotator
        Who edits.
    **options
        See `EditorOptions`.

    Attributes
    ----------
    changed
        Signal(region, time): voxels of level 0 that look different now, own edits and those of others.
    state_changed
        Signal(EditState).
    failed
        Signal(Exception): a job failed; its future has the same error.
    decided
        Signal(Operation or None): objects may be gone, merged, or back; what was taken back or done again, if
        something was. Emitted on the label image's thread, whose editor a listener may use.
    """

    changed = Signal(tuple, int)
    decided = Signal(object)
    state_changed = Signal(EditState)
    failed = Signal(Exception)

    def __init__(self, labels: Labels, annotator: str, **options: Unpack[EditorOptions]) -> None:
        self.labels = labels
        self.annotator = annotator
        self.renew: Callable[[list[tuple[int, Region]]], None] | None = None
        """Called on the label image's thread before `changed`, to bring new voxels into what is on the screen."""
        self._lock = threading.Lock()
        self._noted: list[tuple[int, Region]] = []
        self._waiting = 0
        self._working: str | None = None
        self._state = EditState()
        self._closed = False
        self._suspect = False  # there may be a conflict: worth the search
        self._away: VolsegError | None = None  # why the last look at the store failed
        self._kept = KeptCopies()
        self._warned: object = None
        self._again = threading.Event()  # try at once what waits for the store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"volseg-edit-{labels.name}")
        self._opening: Future[Editor] = self._pool.submit(self._open, options)

    def __repr__(self) -> str:
        return f"LabelEditing({str(self.labels.location)!r}, {self._state})"

    def __deepcopy__(self, memo: dict[int, Any]) -> LabelEditing:
        return self  # napari copies layers' metadata

    @property
    def name(self) -> str:
        """Name of the label image."""
        return self.labels.name

    @property
    def editor(self) -> Editor:
        """The editor; waits until it is open. In the GUI thread use `submit` instead.

        Raises
        ------
        VolsegError
            If it could not be opened.
        """
        return self._opening.result()

    @property
    def is_open(self) -> bool:
        """Whether `editor` can be had without waiting."""
        return self._opening.done() and self._opening.exception() is None and not self._closed

    @property
    def state(self) -> EditState:
        """The state as last looked at; never waits."""
        return self._state

    @property
    def busy(self) -> bool:
        """Whether something is not stored, or still to be done; never waits."""
        return self._waiting > 0 or not self._state.synced

    # --- jobs

    def submit(
        self, function: Callable[[Editor], T], what: str, *, insist: bool = False
    ) -> Future[T]:
        """Run a function of the editor on the label image's own thread, after all earlier ones; returns at once.

        Parameters
        ----------
        function
            Gets the editor.
        what
            What it does, for people: "merge 3 objects".
        insist
            Try again until the store answers: for what a person would have to draw anew.

        Returns
        -------
        Future
            Its result, or its error, of which `failed` tells too.

        Raises
        ------
        InputError
            If the label image is closed.
        """
        with self._lock:
            if self._closed:
                raise InputError(f"{self.labels.location} is closed; open the volume again")
            self._waiting += 1
            done = partial(self._insist, function) if insist else function
            return self._pool.submit(self._run, done, what)

    def apply_mask(
        self,
        z: int,
        mask: np.ndarray[Any, Any],
        origin: tuple[int, int],
        object_id: int,
        *,
        protect: bool = True,
        replace: bool = False,
        time: int = 0,
    ) -> Future[None]:
        """Give an object the voxels of a mask in one slice, as one step of undo.

        Parameters
        ----------
        z, time
            Slice and time index.
        mask
            bool (y, x).
        origin
            Voxel (y, x) of level 0 at which the mask's first one lies.
        object_id
            The object.
        protect
            Leave other objects alone.
        replace
            Take away what the object had in this slice before.
        """
        chosen = np.array(mask, dtype=bool)

        def apply(editor: Editor) -> None:
            editor.time = time
            with editor.stroke("prompt", ids=[object_id]):
                if replace:
                    editor.clear_slice(object_id, z)
                editor.paint(z, chosen, object_id, origin=origin, protect=protect)

        return self.submit(apply, f"object {object_id} in slice {z}")

    def undo(self) -> Future[Operation | None]:
        """Take back the last operation, of a former session too."""
        return self.submit(lambda editor: self._decide(editor.undo()), "undo")

    def redo(self) -> Future[Operation | None]:
        """Do again what was last undone."""
        return self.submit(lambda editor: self._decide(editor.redo()), "redo")

    def merge(self, ids: Sequence[int]) -> Future[int]:
        """Make one object of several; it keeps the first one's id."""
        return self.submit(
            lambda editor: self._after(editor.merge(list(ids))), f"merge {len(ids)} objects"
        )

    def delete(self, ids: Sequence[int]) -> Future[None]:
        """Delete objects, each as a step of undo."""

        def run(editor: Editor) -> None:
            for label in ids:
                editor.delete(label)
            self._decide(None)

        return self.submit(run, f"delete {len(ids)} objects")

    def _decide(self, operation: Operation | None) -> Operation | None:
        self._emit(self.decided, operation)
        return operation

    def _after(self, result: T) -> T:
        self._decide(None)
        return result

    def flush(self) -> Future[None]:
        """Make everything durable now that is not in conflict."""
        self._again.set()
        return self.submit(lambda editor: editor.flush(around_conflicts=True), "save")

    def refresh(self) -> Future[int]:
        """Take in what others have stored since; that the store is away is told by the state."""

        def look(editor: Editor) -> int:
            try:
                found = editor.refresh()
            except StorageError as error:
                self._away = error
                return 0
            self._away = None
            self._suspect |= bool(found)
            if found:
                self._decide(None)
            return found

        return self.submit(look, "look for edits of others")

    def resolve(self, keep: Literal["mine", "theirs"]) -> Future[int]:
        """Settle a conflict and save; see `Editor.resolve`."""

        def settle(editor: Editor) -> int:
            number = editor.resolve(keep)
            editor.flush(around_conflicts=True)
            return self._after(number)

        return self.submit(settle, f"keep {keep}")

    def discard(self) -> Future[int]:
        """Drop all unsaved edits."""
        return self.submit(lambda editor: editor.discard(), "drop the unsaved edits")

    # --- copies on this machine

    def keep_copy(self, folder: Path | None = None) -> Future[Path | None]:
        """Write the unsaved edits into a file on this machine; its path, None where there are none.

        It waits for no other job: one of them may wait for the store.
        """
        done: Future[Path | None] = Future()

        def keep() -> None:
            try:
                done.set_result(self.editor.keep_copy(folder))
            except OSError as error:
                place = folder or self.editor.local_folder
                done.set_exception(
                    StorageError(
                        f"no copy of the edits can be kept in {place}: {error}; free some space there, or choose "
                        "another folder"
                    )
                )
            except Exception as error:
                done.set_exception(error)

        threading.Thread(target=keep, name="volseg-keep-copy").start()
        return done

    def take_up(self, copy: LocalCopy) -> Future[None]:
        """Take up the edits of a local copy and save them; the file goes once they are stored."""

        def restore(editor: Editor) -> None:
            try:
                self._kept.take_up(editor, copy)
                editor.flush(around_conflicts=True)
            except EditConflictError:
                self._suspect = True  # they are pending, and the state tells it

        return self.submit(restore, "take up edits of an earlier session")

    def drop_copy(self, copy: LocalCopy) -> Future[None]:
        """Delete a local copy: nobody wants its edits."""
        return self.submit(lambda editor: self._kept.forget(copy), "delete a local copy")

    # --- the end

    def close(self) -> None:
        """Finish all jobs and close the editor; waits.

        Raises
        ------
        UnsavedEditsError
            If not everything could be stored; the message names the local copy. Where none could be written, the
            label image stays open.
        """
        self._end(lambda editor: editor.close())

    def abandon(self) -> None:
        """Close the editor without storing what is pending: a copy of it was kept, or nobody wants it; waits."""
        self._end(lambda editor: editor.abandon())

    def _end(self, end: Callable[[Editor], None]) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._again.set()
        try:
            self._pool.submit(self._close, end).result()
        finally:
            open_still = self._opening.exception() is None and not self.editor.closed
            self._closed = not open_still
            if self._closed:
                self._pool.shutdown(wait=True)

    def look(self) -> EditState:
        """Look at the editor's state anew, tell if it changed, and return it; not for the GUI thread."""
        state = self._now()
        with self._lock:
            changed, self._state = state != self._state, state
        if changed:
            self._emit(self.state_changed, state)
            self._warn(state)
        return state

    def _warn(self, state: EditState) -> None:
        """Tell once of each conflict, and of each time that the store begins to fail."""
        trouble: object = state.error
        if state.conflicts:
            trouble = frozenset(clash.operation.uuid for clash in state.conflicts)
        if trouble == self._warned:
            return
        known, self._warned = self._warned, trouble
        if state.conflicts:
            if not (
                isinstance(known, frozenset) and isinstance(trouble, frozenset) and trouble <= known
            ):
                self._emit(
                    self.failed, EditConflictError(_conflict_text(self, state), state.conflicts)
                )
        elif state.error and known is None:
            problem = self.editor.pending.error or self._away
            self._emit(self.failed, problem or StorageError(state.error))

    # --- on the label image's thread

    def _open(self, options: EditorOptions) -> Editor:
        try:
            mine: EditorOptions = {**options, "on_change": self._note}
            editor = self.labels.edit(self.annotator, **mine)
            self._kept.look(editor)
            return editor
        except Exception as error:
            self._emit(self.failed, error)
            raise

    def _run(self, function: Callable[[Editor], T], what: str) -> T:
        self._working = what
        self.look()
        try:
            return function(self.editor)
        except Exception as error:
            self._suspect |= isinstance(error, EditConflictError)
            if self._opening.exception() is None and not self._told_by_state(error):
                self._emit(self.failed, error)
            raise
        finally:
            with self._lock:
                self._waiting -= 1
            self._working = None
            if self._opening.exception() is None:
                self._kept.forget_stored(self.editor)
            self._announce()
            self.look()

    def _insist(self, function: Callable[[Editor], T], editor: Editor) -> T:
        """Run a function until the store does not fail; what comes later waits, so that the order stays."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                result = function(editor)
            except StorageError as error:
                self._away = error
                self.look()
                self._again.wait(pause)
                self._again.clear()
                if self._closed:
                    raise
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                self._away = None
                return result

    def _told_by_state(self, error: Exception) -> bool:
        """Tell whether an error is a conflict of unsaved edits, which the state tells in words for a window."""
        return isinstance(error, EditConflictError) and bool(self.editor.conflicts)

    def _close(self, end: Callable[[Editor], None]) -> None:
        if self._opening.exception() is None:
            end(self.editor)
        self._state = EditState()

    def _note(self, regions: Changed) -> None:
        """Take in what the editor tells, on whatever thread; announce it on our own."""
        with self._lock:
            first = not self._noted
            self._noted += regions
            if first and not self._closed:
                with suppress(RuntimeError):  # the pool has just shut down
                    self._pool.submit(self._announce)

    def _announce(self) -> None:
        with self._lock:
            noted, self._noted = self._noted, []
        regions = _few(noted)
        if not regions:
            return
        if self.renew is not None:
            try:
                self.renew(regions)
            except VolsegError as error:
                self._emit(self.failed, error)
        for time, region in regions:
            self._emit(self.changed, region, time)

    def _now(self) -> EditState:
        if not self.is_open:
            return EditState(unsaved=self._waiting, synced=self._waiting == 0)
        pending = self.editor.pending
        error = pending.error or self._away
        clashes: tuple[Clash, ...] = ()
        if self._suspect or isinstance(error, EditConflictError):
            clashes = tuple(self.editor.conflicts)
            self._suspect = bool(clashes)
        waiting = self._waiting - (self._working is not None)
        unsaved = len(pending) + waiting
        return EditState(
            unsaved=unsaved,
            synced=unsaved == 0 and pending.unapplied == 0 and self._working is None,
            conflicts=clashes,
            voxels=pending.voxels,
            error=None if error is None else str(error),
            working=self._working,
            copies=self._kept.waiting,
        )

    @staticmethod
    def _emit(signal: SignalInstance, *values: Any) -> None:
        """Emit; a listener that fails must not stop the edit that it listens to."""
        try:
            signal.emit(*values)
        except EmitLoopError:
            _log.exception("a listener of %s failed", signal.name)


def _conflict_text(editing: LabelEditing, state: EditState) -> str:
    places = "; ".join(str(clash) for clash in state.conflicts[:3])
    return (
        f"{editing.labels.location}: {state}: {places}. These edits are not saved, others are. Click the sign in the "
        "status bar to see them and to choose: keep yours, or keep theirs"
    )


def _few(noted: list[tuple[int, Region]]) -> list[tuple[int, Region]]:
    """Return the regions without repetition, where there are many the one around them, by time."""
    by_time: dict[int, dict[Region, None]] = {}
    for time, region in noted:
        by_time.setdefault(time, {})[region] = None
    return [
        (time, region)
        for time, regions in by_time.items()
        for region in (regions if len(regions) <= _MOST_REGIONS else [enclosing(regions)])
    ]
