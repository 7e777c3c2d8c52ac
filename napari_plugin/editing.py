"""One label image open for editing, as the plugin's views see it: a queue of jobs, a state, signals. No Qt, no napari.

Everything that can wait for the store runs on the label image's own thread; whoever asks gets a future. Signals are
emitted on that thread (or the session's watching thread): a view goes back to the GUI thread by itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from psygnal import EmitLoopError, Signal, SignalInstance

from volseg.editing import EditConflictError, Editor
from volseg.editing.deltas import Box
from volseg.editing.state import Clash
from volseg.errors import InputError, VolsegError
from volseg.volume.blocks import Region
from volseg.volume.labels import Labels

_log = logging.getLogger(__name__)
_MOST_REGIONS = 32
T = TypeVar("T")


@dataclass(frozen=True)
class EditState:
    """How far the edits of a label image are.

    Parameters
    ----------
    unsaved
        Operations that are not durable yet, jobs in the queue included.
    synced
        Whether everything is durable and in all levels.
    conflicts
        Where records of others are in the way of unsaved edits.
    voxels
        How many voxels the unsaved operations change.
    error
        Why the last attempt to store failed, None if it did not; it is tried again.
    working
        What is being done right now, None if nothing.
    """

    unsaved: int = 0
    synced: bool = True
    conflicts: tuple[Clash, ...] = ()
    voxels: int = 0
    error: str | None = None
    working: str | None = None

    def __str__(self) -> str:
        if self.conflicts:
            people = ", ".join(sorted({clash.annotator for clash in self.conflicts}))
            operations = len({clash.operation.uuid for clash in self.conflicts})
            return f"conflict: {operations} of {self.unsaved} unsaved, with {people}"
        if self.unsaved:
            return f"{self.unsaved} unsaved" + (" (the store fails)" if self.error else "")
        if not self.synced:
            return "saved, being written to all levels"
        return "synced"


class LabelEditing:
    """A label image open for editing by one person.

    Parameters
    ----------
    labels
        The label image.
    annotator
        Who edits.
    **options
        Of `Labels.edit`, as `flush_after` and `cache_bytes`.

    Attributes
    ----------
    changed
        Signal(region, time): voxels of level 0 that look different now, own edits and those of others.
    state_changed
        Signal(EditState).
    failed
        Signal(Exception): a job failed; its future has the same error.
    """

    changed = Signal(tuple, int)
    state_changed = Signal(EditState)
    failed = Signal(Exception)

    def __init__(self, labels: Labels, annotator: str, **options: Any) -> None:
        self.labels = labels
        self.annotator = annotator
        self.renew: Callable[[list[tuple[int, Region]]], None] | None = None
        """Called on the label image's thread before `changed`, to bring new voxels into what is on the screen."""
        self._lock = threading.Lock()
        self._noted: list[tuple[int, Box]] = []
        self._waiting = 0
        self._working: str | None = None
        self._state = EditState()
        self._closed = False
        self._suspect = False  # there may be a conflict: worth the search
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

    # --- jobs

    def submit(self, function: Callable[[Editor], T], what: str) -> Future[T]:
        """Run a function of the editor on the label image's own thread, after all earlier ones; returns at once.

        Parameters
        ----------
        function
            Gets the editor.
        what
            What it does, for people: "merge 3 objects".

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
            return self._pool.submit(self._run, function, what)

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

    def undo(self) -> Future[Any]:
        """Take back the last operation, of a former session too."""
        return self.submit(lambda editor: editor.undo(), "undo")

    def redo(self) -> Future[Any]:
        """Do again what was last undone."""
        return self.submit(lambda editor: editor.redo(), "redo")

    def flush(self) -> Future[None]:
        """Make everything durable now."""
        return self.submit(lambda editor: editor.flush(), "save")

    def refresh(self) -> Future[int]:
        """Take in what others have stored since."""

        def look(editor: Editor) -> int:
            found = editor.refresh()
            self._suspect |= bool(found)
            return found

        return self.submit(look, "look for edits of others")

    def resolve(self, keep: Literal["mine", "theirs"]) -> Future[int]:
        """Settle a conflict and save; see `Editor.resolve`."""

        def settle(editor: Editor) -> int:
            number = editor.resolve(keep)
            editor.flush()
            return number

        return self.submit(settle, f"keep {keep}")

    def close(self) -> None:
        """Finish all jobs and close the editor; waits.

        Raises
        ------
        UnsavedEditsError
            If not everything could be stored; the message names the local copy.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        closing = self._pool.submit(self._close)
        self._pool.shutdown(wait=True)
        closing.result()

    def look(self) -> EditState:
        """Look at the editor's state anew, tell if it changed, and return it; not for the GUI thread."""
        state = self._now()
        with self._lock:
            changed, self._state = state != self._state, state
        if changed:
            self._emit(self.state_changed, state)
        return state

    # --- on the label image's thread

    def _open(self, options: dict[str, Any]) -> Editor:
        try:
            return self.labels.edit(self.annotator, on_change=self._note, **options)
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
            if self._opening.exception() is None:  # else it was told already
                self._emit(self.failed, error)
            raise
        finally:
            with self._lock:
                self._waiting -= 1
            self._working = None
            self._announce()
            self.look()

    def _close(self) -> None:
        if self._opening.exception() is None:
            self.editor.close()
        self._state = EditState()

    def _note(self, boxes: Any) -> None:
        """Take in what the editor tells, on whatever thread; announce it on our own."""
        with self._lock:
            first = not self._noted
            self._noted += boxes
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
        error = pending.error
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
        )

    @staticmethod
    def _emit(signal: SignalInstance, *values: Any) -> None:
        """Emit; a listener that fails must not stop the edit that it listens to."""
        try:
            signal.emit(*values)
        except EmitLoopError:
            _log.exception("a listener of %s failed", signal.name)


def _few(boxes: list[tuple[int, Box]]) -> list[tuple[int, Region]]:
    """Return the boxes as regions without repetition, where there are many the one around them, by time."""
    by_time: dict[int, dict[Region, None]] = {}
    for time, box in boxes:
        z, y, x = ((s.start, s.stop) for s in box)
        by_time.setdefault(time, {})[z, y, x] = None
    return [
        (time, region)
        for time, regions in by_time.items()
        for region in (regions if len(regions) <= _MOST_REGIONS else [_around(list(regions))])
    ]


def _around(regions: list[Region]) -> Region:
    z, y, x = (
        (min(region[axis][0] for region in regions), max(region[axis][1] for region in regions))
        for axis in range(3)
    )
    return z, y, x
