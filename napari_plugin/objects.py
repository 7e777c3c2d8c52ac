"""The table of objects of a label image as a model: rows with unsaved edits, filter, order, selection, status, classes.

No Qt, no napari. What changes the store runs on the label image's thread; the rows show it at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from psygnal import Signal

from napari_plugin.editing import EditState
from napari_plugin.session import Session
from napari_plugin.taking import store_free
from volseg.editing.deltas import id_counts
from volseg.editing.editor import Editor
from volseg.errors import InputError
from volseg.geometry import Region, joined
from volseg.images.objects import ObjectRow

Status = Literal["todo", "accepted", "rejected"]
STATUSES: tuple[Status, ...] = ("todo", "accepted", "rejected")
COLUMNS = ("id", "class", "parent", "voxels", "confidence", "annotator", "status")
_ATTRIBUTES = {"class": "class_"}


@dataclass(frozen=True)
class _Unsaved:
    """What unsaved operations do to an object."""

    voxels: int
    box: Region | None
    class_: tuple[str | None] | None


class ObjectTableModel:
    """Rows of one label image at one time.

    Parameters
    ----------
    session
        The open volume.
    name
        Of the label image.

    Attributes
    ----------
    changed
        Signal(): other rows, order or values.
    selection_changed
        Signal(tuple of ids).
    """

    changed = Signal()
    selection_changed = Signal(tuple)

    def __init__(self, session: Session, name: str, time: int = 0) -> None:
        self.editing = session.editing(name)
        self.time = time
        self.classes: list[str] = []
        """Classes by key: the first is that of key 1."""
        self._stored: dict[int, ObjectRow] = {}
        self._unsaved: dict[int, _Unsaved] = {}
        self._said: dict[int, dict[str, Any]] = {}  # values on their way to the store
        self._counted: dict[tuple[str, int], dict[int, int]] = {}  # by operation and time
        self._lock = threading.RLock()
        self._wanted: Callable[[ObjectRow], bool] = lambda row: True
        self._column, self._descending = "id", False
        self._selected: tuple[int, ...] = ()
        self._looking = False
        self._seen = (0, 0, True)
        self._stale = False  # voxels changed since the table was read
        self.editing.state_changed.connect(self._state_changed)
        self.editing.changed.connect(self._voxels_changed)
        self.refresh()

    # --- rows

    def rows(self) -> list[ObjectRow]:
        """Return the rows that the filter lets through, in their order; never waits."""
        with self._lock:
            everything = [self._row(i) for i in {**self._stored, **self._unsaved, **self._said}]
        rows = [row for row in everything if row is not None and self._wanted(row)]
        present = [row for row in rows if value_of(row, self._column) is not None]
        rest = [row for row in rows if value_of(row, self._column) is None]
        rest.sort(key=lambda row: row.id)
        present.sort(key=lambda row: row.id)
        present.sort(key=lambda row: value_of(row, self._column), reverse=self._descending)
        return present + rest

    def row(self, object_id: int) -> ObjectRow | None:
        """Return an object's row, None if there is no such object; never waits."""
        with self._lock:
            return self._row(object_id)

    def _row(self, object_id: int) -> ObjectRow | None:
        row = self._stored.get(object_id, ObjectRow(object_id, self.time))
        unsaved = self._unsaved.get(object_id)
        if unsaved is not None:
            row = replace(
                row, voxels=row.voxels + unsaved.voxels, bbox=_around(row.bbox, unsaved.box)
            )
            if unsaved.class_ is not None:
                row = replace(row, class_=unsaved.class_[0])
        row = replace(row, **self._said.get(object_id, {}))
        return row if row.voxels > 0 or self._said.get(object_id) else None

    def refresh(self) -> Future[None]:
        """Read the table anew, and what unsaved operations add to it."""
        self._looking = True
        return self.editing.submit(self._look, "read the table of objects")

    def look_at(self, time: int) -> None:
        """List the objects of another time point."""
        with self._lock:
            if time == self.time:
                return
            self.time = time
            self._stored, self._unsaved, self._counted = {}, {}, {}
        self.changed.emit()
        with suppress(InputError):  # it has been closed meanwhile
            self.refresh()

    def _look(self, editor: Editor) -> None:
        self._looking = False
        time = self.time
        rows = editor.labels.objects.rows(time)
        unsaved = self._look_at_unsaved(editor, time)
        with self._lock:
            if time != self.time:
                return  # moved on meanwhile: another look is under way
            self._stored = {row.id: row for row in rows}
            self._unsaved = unsaved
            known = dict.fromkeys([*self.classes, *(row.class_ for row in rows if row.class_)])
            self.classes = [name for name in known if name]
        self.changed.emit()

    def _look_at_unsaved(self, editor: Editor, time: int) -> dict[int, _Unsaved]:
        voxels: dict[int, int] = {}
        boxes: dict[int, Region | None] = {}
        classes: dict[int, tuple[str | None]] = {}
        counted = {}
        for operation in editor.pending.operations:
            deltas = [delta for delta in operation.deltas if delta.time == time]
            counts = self._counted.get((operation.uuid, time))
            counts = id_counts(deltas) if counts is None else counts
            counted[operation.uuid, time] = counts
            box: Region | None = None
            for delta in deltas:
                box = joined(box, delta.region)
            for label, number in counts.items():
                voxels[label] = voxels.get(label, 0) + number
                if number > 0 and box is not None:
                    boxes[label] = joined(boxes.get(label), box)
            classes |= {label: (new,) for label, (_, new) in operation.classes.items()}
        self._counted = counted
        return {
            i: _Unsaved(voxels.get(i, 0), boxes.get(i), classes.get(i)) for i in voxels | classes
        }

    def _voxels_changed(self, region: Region, time: int) -> None:
        self._stale = True

    def _state_changed(self, state: EditState) -> None:
        now = (state.unsaved, state.voxels, state.synced)
        if state.working is None and not self._looking and (self._stale or now != self._seen):
            self._seen, self._stale = now, False
            with suppress(InputError):  # it has been closed meanwhile
                self.refresh()

    # --- what people say of objects

    def upsert(self, object_id: int, **values: Any) -> Future[None]:
        """Set fields of a row, of an object that may be new: `confidence`, `parent`, `status`, `channel`, …"""
        if "class_" in values:
            self.set_class([object_id], values.pop("class_"))
        return self._say([object_id], values)

    def set_status(self, ids: Sequence[int], status: Status) -> Future[None]:
        """Say whether objects are accepted, rejected, or still to be looked at.

        Raises
        ------
        InputError
            For another status.
        """
        if status not in STATUSES:
            raise InputError(f"status {status!r}: expected one of {', '.join(STATUSES)}")
        return self._say(ids, {"status": None if status == "todo" else status})

    def set_parent(self, ids: Sequence[int], parent: int | None) -> Future[None]:
        """Say in which object of another label image objects lie."""
        return self._say(ids, {"parent": parent})

    def set_class(self, ids: Sequence[int], class_: str | None) -> Future[None]:
        """Say what objects are; a step of undo for each."""
        if class_ and class_ not in self.classes:
            self.classes.append(class_)

        def run(editor: Editor) -> None:
            for label in ids:
                editor.set_class(label, class_)
            self._look(
                editor
            )  # stored so fast that no state was seen to change, it would stay unseen

        return self.editing.submit(run, f"class {class_} for {len(ids)} objects")

    def class_of_key(self, number: int) -> str | None:
        """Return the class of key 1, 2, …; None if there is none."""
        return self.classes[number - 1] if 0 < number <= len(self.classes) else None

    def _say(self, ids: Sequence[int], values: dict[str, Any]) -> Future[None]:
        time = self.time
        with self._lock:
            for label in ids:
                self._said[label] = self._said.get(label, {}) | values
        self.changed.emit()

        def run(editor: Editor) -> None:
            try:
                if "confidence" in values and len(editor.pending):
                    store_free(editor)  # edits that are stored later would take the confidence away
                editor.labels.objects.change(
                    lambda old: (
                        old
                        | {
                            (time, i): replace(old.get((time, i), ObjectRow(i, time)), **values)
                            for i in ids
                        }
                    )
                )
                self._look(editor)
            finally:
                with self._lock:
                    for label in ids:
                        left = self._said.get(label, {})
                        self._said[label] = {k: v for k, v in left.items() if k not in values}
                        if not self._said[label]:
                            del self._said[label]
                self.changed.emit()

        return self.editing.submit(run, f"note on {len(ids)} objects")

    # --- order, filter, selection

    def sort(self, column: str, *, descending: bool = False) -> None:
        """Order the rows by a column; rows without a value come last.

        Raises
        ------
        InputError
            If there is no such column.
        """
        if column not in COLUMNS:
            raise InputError(f"there is no column {column!r}; there are {', '.join(COLUMNS)}")
        self._column, self._descending = column, descending
        self.changed.emit()

    def filter(self, text: str = "", statuses: Iterable[str] = STATUSES) -> None:
        """Show only rows of some statuses in which each word of a text is found: an id, class, parent or annotator."""
        words, allowed = text.lower().split(), set(statuses)

        def wanted(row: ObjectRow) -> bool:
            shown = [
                str(v).lower()
                for v in (row.id, row.class_, row.parent, row.annotator)
                if v is not None
            ]
            return value_of(row, "status") in allowed and all(
                any(part == word or (not word.isdigit() and word in part) for part in shown)
                for word in words
            )

        self._wanted = wanted
        self.changed.emit()

    @property
    def selected(self) -> tuple[int, ...]:
        """The selected objects."""
        return self._selected

    def select(self, ids: Iterable[int]) -> None:
        """Select objects; told only if others were selected."""
        chosen = tuple(dict.fromkeys(int(i) for i in ids if i > 0))
        if chosen != self._selected:
            self._selected = chosen
            self.selection_changed.emit(chosen)

    def next_todo(self) -> int | None:
        """Select the next object that nobody accepted or rejected, in the rows' order, and return it."""
        rows = self.rows()
        ids = [row.id for row in rows]
        start = (
            ids.index(self._selected[-1]) + 1 if self._selected and self._selected[-1] in ids else 0
        )
        for row in rows[start:] + rows[:start]:
            if value_of(row, "status") == "todo" and (row.id,) != self._selected:
                self.select([row.id])
                return row.id
        return None

    def place_of(self, object_id: int) -> tuple[int, int, int] | None:
        """Return the middle of an object's box, z, y, x in voxels of level 0; None if not known."""
        row = self.row(object_id)
        if row is None or row.bbox is None:
            return None
        z, y, x = ((a + b - 1) // 2 for a, b in row.bbox)
        return z, y, x


def value_of(row: ObjectRow, column: str) -> Any:
    """Return what stands in a column of a row."""
    value = getattr(row, _ATTRIBUTES.get(column, column))
    return "todo" if column == "status" and value is None else value


def text_of(row: ObjectRow, column: str) -> str:
    """Return what a column shows."""
    value = value_of(row, column)
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _around(a: Region | None, b: Region | None) -> Region | None:
    return a if b is None else joined(a, b)
