"""Prompting one label image: marks by object and slice, the mask at once, candidates, accepting, the next object.

A model without Qt: views call it from the GUI thread and follow its signals, which may come from any thread.
Nothing here waits for the model or the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from psygnal import Signal

from napari_plugin.acceptance import Overlap, Rule, accept_mask
from napari_plugin.marks import Marks
from napari_plugin.promptbook import Place, PromptBook
from napari_plugin.slicing import Candidate, SliceModel
from volseg.errors import InputError
from volseg.propagation.window import MaskWindow

if TYPE_CHECKING:
    from napari_plugin.editing import LabelEditing
    from volseg.editing import Editor


Answer = Literal["other", "take", "rest", "no"]
"""The mask corrects the object that owns most of it; takes it all over; takes what is free; is not accepted."""


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


@dataclass(eq=False)
class _Draft:
    """A mask that a person accepts, until it is in the labels."""

    object_id: int | None
    place: Place
    marks: Marks
    mask: MaskWindow
    result: Future[None] = field(default_factory=Future)
    kept: Future[None] | None = None

    @property
    def as_mask(self) -> bool:
        """Whether the mask itself is the prompt, instead of the marks that led to it."""
        return self.marks.mask is not None


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
    answered
        Signal(marks, place): the model found an object by these marks.
    accepted
        Signal(object id, z): a mask went into the labels.
    asked
        Signal(Overlap, answer): other objects own much of a mask that is to be accepted; `answer` takes an `Answer`.
    failed
        Signal(exception, what was being done).
    """

    changed = Signal()
    answered = Signal(object, object)
    accepted = Signal(int, int)
    asked = Signal(object, object)
    failed = Signal(object, str)

    def __init__(
        self, editing: LabelEditing, model: SliceModel, book: PromptBook | None = None
    ) -> None:
        self.editing, self.model = editing, model
        self.shape = editing.labels.shape
        self._lock = threading.RLock()
        self.book = book or PromptBook(editing)
        self.book.failed.connect(self._fail)
        self.book.changed.connect(self._prompts_changed)
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
                for kept in (self._past, self._drafts):  # what was marked while nobody knew the id
                    for key in [key for key in kept if key[0] == 0]:
                        kept[self._object, key[1]] = kept.pop(key)  # type: ignore[assignment]
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
            if not self.book.knows(found):
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

    def _prompts_changed(self) -> None:
        """Show what is accepted at the place in view, unless something is being marked there."""
        if self._key() in self._drafts:
            self.changed.emit()
        else:
            self._show_here()

    def undo(self) -> None:
        """Take back the last mark on this slice, or where there is none the last edit of the label image."""
        if self._past.get(self._key()):
            self.take_back()
        else:
            self.editing.undo()

    def redo(self) -> None:
        """Do the last edit again that was taken back."""
        self.editing.redo()

    def _show_marks(self, marks: Marks) -> None:
        with self._lock:
            self._asked += 1
            ticket = self._asked
            self._shown = Shown(marks, waiting=marks.positive)
            place = self._place
        self.changed.emit()
        if marks.positive:
            self._ask_model(ticket, place, marks)

    def ask_again(self) -> None:
        """Ask the model once more about what is marked, because it sees it at another zoom now.

        What is shown stays until it has answered, and where a person chose among the candidates already.
        """
        with self._lock:
            shown, place = self._shown, self._place
            if self._key() not in self._drafts or not shown.candidates or shown.choice:
                return
            self._asked += 1
            ticket = self._asked
        self._ask_model(ticket, place, shown.marks)

    def _ask_model(self, ticket: int, place: Place, marks: Marks) -> None:
        asked = self.object_id or 0
        prompts = self.book.context(place[0])
        prompts.setdefault(asked, {})[place[1]] = marks.slice_prompt()
        future = self.model.ask(asked, place[1], prompts)
        future.add_done_callback(lambda done: self._answered(ticket, place, marks, done))

    def _answered(
        self, ticket: int, place: Place, marks: Marks, done: Future[list[Candidate]]
    ) -> None:
        if done.cancelled():
            return
        error = done.exception()
        with self._lock:
            if ticket != self._asked:
                return  # marks have changed since
            found = () if error is not None else tuple(done.result())
            self._shown = replace(
                self._shown, candidates=found, choice=0, waiting=False, answered=True
            )
        self.changed.emit()
        if error is not None:
            self._fail(error, "asking the model")
        elif found:
            self.answered.emit(marks, place)

    # --- accepting

    def accept(self) -> Future[None] | None:
        """Put the shown mask into the labels and store the prompts; None where there is nothing to accept.

        Where other objects own much of the mask, `asked` is emitted instead, and the future waits for `answer`.
        """
        shown, place = self._shown, self._place
        mask = shown.mask
        if mask is None:
            return None
        # what is stored must give this very mask back: another candidate than the model's first stands as a mask
        marks = shown.marks if shown.choice == 0 else Marks(mask=mask)
        draft = _Draft(self.object_id, place, marks, mask)
        if draft.object_id is not None:
            self._accept(draft, "ask")
        elif self._new is not None:
            self._new.add_done_callback(lambda done: self._accept_new(done, draft))
        return draft.result

    def _accept_new(self, done: Future[int], draft: _Draft) -> None:
        if done.cancelled() or done.exception() is not None:
            error = done.exception() if not done.cancelled() else InputError("closed")
            draft.result.set_exception(error or InputError("no id"))
            return
        draft.object_id = done.result()
        self._accept(draft, "ask")

    def _accept(self, draft: _Draft, rule: Rule) -> None:
        object_id, place = draft.object_id or 0, draft.place
        time, z = place
        shape_yx = self.shape[1:]

        def work(editor: Editor) -> Overlap | None:
            old = self.book.stored_marks(object_id, place)
            prompt = {
                "t": time,
                "z": z,
                "old": None
                if old is None
                else old.prompt(z, time, shape_yx).model_dump(mode="json"),
                "new": draft.marks.prompt(z, time, shape_yx).model_dump(mode="json"),
            }
            overlap = accept_mask(
                editor, object_id, z, draft.mask, time=time, rule=rule, prompt=prompt
            )
            if overlap is None:
                draft.kept = self.book.keep(object_id, place, draft.marks)
            return overlap

        def after(done: Future[Overlap | None]) -> None:
            error = done.exception()
            if error is not None:
                draft.result.set_exception(error)
                self._fail(error, "accepting")
            elif (overlap := done.result()) is not None:
                self._ask(overlap, draft)
            elif draft.kept is not None:  # that it could not be stored is told by the book
                draft.kept.add_done_callback(lambda _: self._accepted(draft))

        what = f"object {object_id} in slice {z}"
        self.editing.submit(work, what).add_done_callback(after)

    def _accepted(self, draft: _Draft) -> None:
        object_id, place = draft.object_id or 0, draft.place
        for key in ((object_id, place), (0, place)):
            if self._drafts.get(key) in (None, draft.marks) or draft.as_mask:
                self._past.pop(key, None)
                self._drafts.pop(key, None)
        if (self.object_id, self._place) == (object_id, place):
            self._show_here()
        draft.result.set_result(None)
        self.accepted.emit(object_id, place[1])

    def _ask(self, overlap: Overlap, draft: _Draft) -> None:
        if not len(self.asked):
            error = InputError(f"{overlap}: nothing was accepted; mark the object elsewhere")
            draft.result.set_exception(error)
            self._fail(error, "accepting")
            return

        def answer(meant: Answer) -> None:
            if meant == "no":
                draft.result.cancel()
            elif meant == "other":
                draft.object_id = overlap.main
                self._accept(draft, "rest")
                self.select_object(overlap.main)
            else:
                self._accept(draft, meant)

        self.asked.emit(overlap, answer)

    def _key(self) -> tuple[int, Place]:
        return self.object_id or 0, self._place

    def _fail(self, error: BaseException, doing: str) -> None:
        self.failed.emit(error, doing)
