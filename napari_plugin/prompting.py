"""Prompting one label image: marks by object and slice, the mask at once, candidates, accepting, the next object.

A model without Qt: views call it from the GUI thread and follow its signals, which may come from any thread.
Nothing here waits for the model or the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_plugin.marks import Marks
from napari_plugin.promptbook import Place, PromptBook
from napari_plugin.slicing import Candidate, SliceModel
from volseg.errors import InputError
from volseg.propagation.window import MaskWindow

if TYPE_CHECKING:
    from napari_plugin.editing import LabelEditing
    from volseg.editing import Editor


@dataclass(frozen=True)
class Shown:
    """What is to be seen on the slice in view: marks, and the candidates of the model, one of them chosen."""

    marks: Marks = field(default_factory=Marks)
    candidates: tuple[Candidate, ...] = ()
    choice: int = 0
    waiting: bool = False
    answered: bool = False

    @property
    def mask(self) -> MaskWindow | None:
        """The chosen candidate's mask."""
        return self.candidates[self.choice].mask if self.candidates else None


class Prompting:
    """Prompts of one label image.

    Parameters
    ----------
    editing
        The label image open for editing.
    model
        Answers prompts.
    book
        The accepted prompts, where they were read already.

    Attributes
    ----------
    changed
        Marks, candidates, object or slice are others now.
    accepted
        Signal(object id, z): a mask went into the labels.
    failed
        Signal(exception, what was being done).
    """

    changed = Signal()
    accepted = Signal(int, int)
    failed = Signal(object, str)

    def __init__(
        self, editing: LabelEditing, model: SliceModel, book: PromptBook | None = None
    ) -> None:
        self.editing, self.model = editing, model
        self.shape = editing.labels.shape
        self._lock = threading.RLock()
        self.book = book or PromptBook(editing)
        self.book.failed.connect(self._fail)
        self._past: dict[tuple[int, Place], list[Marks]] = {}
        self._drafts: dict[tuple[int, Place], Marks] = {}  # marked, but not accepted yet
        self._shown = Shown()
        self._place: Place = (0, 0)
        self._object: int | None = None
        self._new: Future[int] | None = None
        self._asked = 0
        self.next_object()

    # --- what is in view

    @property
    def shown(self) -> Shown:
        """What is to be seen."""
        return self._shown

    @property
    def z(self) -> int:
        """The slice in view."""
        return self._place[1]

    @property
    def time(self) -> int:
        """The time point in view."""
        return self._place[0]

    @property
    def object_id(self) -> int | None:
        """The object that is being prompted; None until a new one's id has come from the store."""
        with self._lock:
            new = self._new if self._object is None else None
            if new is not None and new.done() and not new.cancelled() and not new.exception():
                self._object = new.result()
            return self._object

    def look_at(self, z: int, time: int = 0) -> None:
        """Go to a slice: its marks come back, and the model prepares it."""
        if (time, z) == self._place:
            return
        with self._lock:
            self._place = (time, z)
        self._show_here()

    def select_object(self, object_id: int) -> None:
        """Prompt an object that exists."""
        if object_id < 1 or object_id == self.object_id:
            return
        with self._lock:
            self._object, self._new = object_id, None
        self._show_here()

    def next_object(self) -> None:
        """Begin a new object; its id comes from the store, so that no other person gets the same."""
        with self._lock:
            unused = self._new is not None and self.object_id not in self.book
            if unused and self._shown.marks.empty:
                return
            self._object = None
            self._new = self.editing.submit(self._fresh_id, "take a new id")
            self._new.add_done_callback(lambda _: self.changed.emit())
            for kept in (self._past, self._drafts):
                for key in [key for key in kept if key[0] == 0]:
                    kept.pop(key)
        self._show_marks(Marks())

    def _fresh_id(self, editor: Editor) -> int:
        """An id that no object has, nor any that is only prompted so far."""
        while True:
            found = editor.new_id()
            if found not in self.book:
                return found

    # --- marks

    def add_point(self, y: float, x: float, inside: bool = True) -> None:
        """Mark a place on the object, or beside it, on the slice in view (voxels)."""
        self._mark(lambda marks: marks.with_point(y, x, inside))

    def set_box(self, corner: tuple[float, float], opposite: tuple[float, float]) -> None:
        """Draw a box around the object instead of the one before."""
        self._mark(lambda marks: marks.with_box(corner, opposite))

    def add_scribble(
        self, path: Iterable[tuple[float, float]], radius: float = 2.0, inside: bool = True
    ) -> None:
        """Scribble on the object, or beside it."""
        line = list(path)
        self._mark(lambda marks: marks.with_scribble(line, radius, inside))

    def mark_end(self) -> None:
        """Say that the object stops before this slice; stored at once."""
        object_id = self.object_id
        if object_id is None or object_id not in self.book:
            self._fail(
                InputError("first accept a mask of the object, then mark where it ends"), "end mark"
            )
            return
        self._show_marks(Marks(ends=True))
        self.book.keep(object_id, self._place, Marks(ends=True))

    def use_mask(self) -> Future[None]:
        """Take what is painted of the object on this slice as the prompt, as it is."""
        object_id, place = self.object_id, self._place

        def read(editor: Editor) -> MaskWindow:
            editor.time = place[0]
            return MaskWindow.crop(np.asarray(editor[place[1]] == (object_id or 0)))

        def take(done: Future[MaskWindow]) -> None:
            if done.exception() is not None or self._place != place:
                return
            mask = done.result()
            if not mask.area or object_id is None:
                self._fail(
                    InputError(
                        f"nothing of object {object_id} is painted on slice {place[1]}; paint it first"
                    ),
                    "mask prompt",
                )
                return
            self._mark(lambda marks: Marks(mask=mask))

        future = self.editing.submit(read, "read the painted mask")
        future.add_done_callback(take)
        return future  # type: ignore[return-value]

    def take_back(self) -> None:
        """Take back the last mark on this slice."""
        past = self._past.get(self._key())
        if past:
            self._drafts[self._key()] = marks = past.pop()
            self._show_marks(marks)

    def clear(self) -> None:
        """Take back all marks on this slice that were not accepted."""
        self._past.pop(self._key(), None)
        self._drafts.pop(self._key(), None)
        self._show_marks(Marks())

    def _mark(self, change: Callable[[Marks], Marks]) -> None:
        before = self._shown.marks
        try:
            after = change(replace(before, ends=False)).clipped(self.shape[1:])
        except (InputError, ValueError) as error:
            self._fail(error, "marking")
            return
        self._past.setdefault(self._key(), []).append(before)
        self._drafts[self._key()] = after
        self._show_marks(after)

    # --- candidates

    def cycle(self, step: int = 1) -> None:
        """Show the next candidate (or with -1 the one before)."""
        with self._lock:
            count = len(self._shown.candidates)
            if count:
                choice = (self._shown.choice + step) % count
                self._shown = replace(self._shown, choice=choice)
        if not count and not self._shown.waiting:
            self._show_marks(self._shown.marks)  # accepted earlier: ask again
        self.changed.emit()

    def _show_here(self) -> None:
        """Show what is marked at the place in view; the model is asked only about what is not accepted yet."""
        draft = self._drafts.get(self._key())
        if draft is not None:
            self._show_marks(draft)
            return
        with self._lock:
            self._asked += 1
            self._shown = Shown(self.book.marks(self.object_id, self._place))
        self.changed.emit()

    def _show_marks(self, marks: Marks) -> None:
        with self._lock:
            self._asked += 1
            ticket = self._asked
            self._shown = Shown(marks, waiting=marks.positive)
            place = self._place
        self.changed.emit()
        if not marks.positive:
            return
        asked = self.object_id or 0
        prompts = self.book.context(place[0])
        prompts.setdefault(asked, {})[place[1]] = marks.slice_prompt()
        future = self.model.ask(asked, place[1], prompts)
        future.add_done_callback(lambda done: self._answered(ticket, done))

    def _answered(self, ticket: int, done: Future[list[Candidate]]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        with self._lock:
            if ticket != self._asked:
                return  # marks have changed since
            found = () if error is not None else tuple(done.result())
            self._shown = replace(self._shown, candidates=found, waiting=False, answered=True)
        self.changed.emit()
        if error is not None:
            self._fail(error, "asking the model")

    # --- accepting

    def accept(self) -> Future[None] | None:
        """Put the shown mask into the labels and store the prompts; None where there is nothing to accept."""
        shown, place = self._shown, self._place
        mask = shown.mask
        if mask is None:
            return None
        # what is stored must give this very mask back: another candidate than the model's first stands as a mask
        marks = shown.marks if shown.choice == 0 else Marks(mask=mask)
        result: Future[None] = Future()
        object_id = self.object_id
        if object_id is not None:
            self._accept(object_id, place, marks, mask, result)
        elif self._new is not None:
            self._new.add_done_callback(
                lambda done: self._accept_new(done, place, marks, mask, result)
            )
        return result

    def _accept_new(
        self,
        done: Future[int],
        place: Place,
        marks: Marks,
        mask: MaskWindow,
        result: Future[None],
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            error = done.exception() if not done.cancelled() else InputError("closed")
            result.set_exception(error or InputError("no id"))
            return
        self._accept(done.result(), place, marks, mask, result)

    def _accept(
        self,
        object_id: int,
        place: Place,
        marks: Marks,
        mask: MaskWindow,
        result: Future[None],
    ) -> None:
        time, z = place
        self.book.keep(object_id, place, marks)
        painted = self.editing.apply_mask(
            z, mask.mask, mask.origin, object_id, protect=True, replace=True, time=time
        )

        def after(done: Future[None]) -> None:
            error = done.exception()
            if error is not None:
                result.set_exception(error)
                self._fail(error, "accepting")
                return
            if (self.object_id, self._place) == (object_id, place):
                self._show_here()
            result.set_result(None)
            self.accepted.emit(object_id, z)

        for key in ((object_id, place), (0, place)):
            self._past.pop(key, None)
            self._drafts.pop(key, None)
        painted.add_done_callback(after)

    def _key(self) -> tuple[int, Place]:
        return self.object_id or 0, self._place

    def _fail(self, error: BaseException, doing: str) -> None:
        self.failed.emit(error, doing)
