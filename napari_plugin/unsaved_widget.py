"""The sign in the status bar that tells what is not saved, and the window behind it with the ways out. Thin views."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_plugin.alive import while_alive
from napari_plugin.editing import LabelEditing
from napari_plugin.gui import Soon, in_gui
from napari_plugin.session import Session
from napari_plugin.unsaved import Standing, standing_of, worst
from volseg.editing.unsaved import LocalCopy

_COLOURS = {"conflict": "#ff453a", "offline": "#ff9f0a", "kept": "#ff9f0a"}
_SHOWN_CLASHES = 5


class UnsavedSign(QPushButton):
    """Stands in the status bar of a viewer's window, whatever panel is open; a click shows the ways out.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.sessions: list[Session] = []
        self.dialog: UnsavedDialog | None = None
        self._offered: set[LocalCopy] = set()
        self._soon = Soon(while_alive(self, "renew"), 50)
        self.setFlat(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.clicked.connect(self.show_ways_out)

    def watch(self, session: Session) -> None:
        """Tell of a volume too, until it is closed."""
        if session not in self.sessions:
            self.sessions.append(session)
            session.state_changed.connect(lambda name, state: self._soon.ask())
            self._soon.ask()

    @property
    def editings(self) -> list[LabelEditing]:
        """Every label image that is open for editing."""
        self.sessions = [session for session in self.sessions if not session.is_closed]
        return [editing for session in self.sessions for editing in session.editings]

    def renew(self) -> None:
        """Show how things stand."""
        standing = worst(self.editings)
        self.setVisible(bool(self.sessions))
        self.setText(standing.text)
        self.setToolTip("what is saved, and what is not: click for the ways out")
        colour = _COLOURS.get(standing.kind)
        self.setStyleSheet(f"background: {colour}; color: black" if colour else "")
        for layer in list(getattr(self._viewer(), "layers", ())):
            _mark(layer, self.editings)
        if self.dialog is not None:
            self.dialog.renew()
        copies = {copy for editing in self.editings for copy in editing.state.copies}
        if copies - self._offered:
            self._offered |= copies
            self.show_ways_out()

    def show_ways_out(self) -> None:
        """Show what is not saved, with what can be done; does not wait for it."""
        if self.dialog is None:
            self.dialog = UnsavedDialog(lambda: self.editings, self.go_to, self.window())
            self.dialog.finished.connect(self._closed)
        self.dialog.show()
        self.dialog.raise_()

    def _closed(self) -> None:
        self.dialog = None

    def go_to(self, editing: LabelEditing) -> None:
        """Bring the first place of a conflict into view."""
        viewer = self._viewer()
        layer = next((one for one in getattr(viewer, "layers", ()) if _shows(one, editing)), None)
        operations = [clash.operation for clash in editing.state.conflicts]
        deltas = [delta for operation in operations for delta in operation.deltas]
        if viewer is None or layer is None or not deltas:
            return
        zyx = [(low + high - 1) / 2 for low, high in deltas[0].region]
        point = [*([deltas[0].time] * (layer.ndim - 3)), round(zyx[0]), *zyx[1:]]
        world = np.asarray(layer.data_to_world(point))
        for axis, value in enumerate(world, viewer.dims.ndim - len(world)):
            viewer.dims.set_point(axis, value)
        viewer.camera.center = tuple(world[-3:])


class UnsavedDialog(QDialog):
    """What is not saved, by label image, and what can be done.

    Parameters
    ----------
    editings
        Gives the label images.
    go_to
        Shows a conflict's place.
    parent
        The viewer's window.
    """

    def __init__(
        self,
        editings: Callable[[], Sequence[LabelEditing]],
        go_to: Callable[[LabelEditing], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._editings, self._go_to = editings, go_to
        self._shown: object = None
        self._rows: list[_Row] = []
        self.setWindowTitle("volseg: what is not saved")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(480)
        self.rows = QVBoxLayout()
        inside = QWidget()
        inside.setLayout(self.rows)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(inside)
        close = QPushButton("Close")
        close.clicked.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addWidget(area)
        layout.addWidget(close)
        self.renew()

    def renew(self) -> None:
        """Show how things stand; buttons stay where they are, under the mouse, while their ways out do."""
        found = [(one, standing_of(one)) for one in self._editings()]
        found = [(one, standing) for one, standing in found if standing.kind != "saved"]
        now = [_ways_out(one, standing) for one, standing in found]
        if now != self._shown:
            self._shown = now
            self._build(found)
        for row, (_, standing) in zip(self._rows, found, strict=True):
            row.tell(standing)

    def _build(self, found: Sequence[tuple[LabelEditing, Standing]]) -> None:
        while (item := self.rows.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        self._rows = [_Row(editing, standing, self._go_to) for editing, standing in found]
        for row in self._rows:
            self.rows.addWidget(row)
        if not self._rows:
            self.rows.addWidget(QLabel("Everything is saved."))
        self.rows.addStretch()


class _Row(QWidget):
    """One label image: what is the matter, and the ways out."""

    def __init__(
        self, editing: LabelEditing, standing: Standing, go_to: Callable[[LabelEditing], None]
    ) -> None:
        super().__init__()
        self.editing = editing
        self._told = ""
        self.said = QLabel()
        self.said.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.said)
        for actions in self._actions(standing, go_to):
            row = QHBoxLayout()
            for text, action in actions.items():
                button = QPushButton(text)
                button.clicked.connect(lambda _=False, action=action: action())
                row.addWidget(button)
            row.addStretch()
            layout.addLayout(row)

    def tell(self, standing: Standing) -> None:
        """Say what is the matter, where that is something else than before."""
        text = "\n".join([standing.text, *_details(self.editing)])
        if text != self._told:
            self._told = text
            self.said.setText(text)

    def _actions(
        self, standing: Standing, go_to: Callable[[LabelEditing], None]
    ) -> list[dict[str, Callable[[], object]]]:
        editing, state = self.editing, self.editing.state
        rows: list[dict[str, Callable[[], object]]] = []
        if state.conflicts:
            rows.append(
                {
                    "Go there": lambda: go_to(editing),
                    "Keep mine": lambda: editing.resolve("mine"),
                    "Keep theirs": lambda: editing.resolve("theirs"),
                }
            )
        elif standing.kind in ("offline", "saving"):
            rows.append({"Try again now": editing.flush})
        if state.unsaved:
            rows.append({"Keep a copy here": lambda: self._tell(editing.keep_copy())})
        for copy in state.copies:
            rows.append(
                {
                    "Take them up": partial(editing.take_up, copy),
                    "Delete the copy": partial(editing.drop_copy, copy),
                }
            )
        return rows

    def _tell(self, done: Future[Any]) -> None:
        """Tell where a copy was kept, or why not."""
        show = while_alive(self, "said_more")

        def told(future: Future[Any]) -> None:
            error = future.exception()
            text = f"{error}" if error is not None else f"A copy lies in {future.result()}"
            in_gui(lambda: show(text))

        done.add_done_callback(told)

    def said_more(self, text: str) -> None:
        """Add a line."""
        self.said.setText(f"{self.said.text()}\n{text}")


def _ways_out(editing: LabelEditing, standing: Standing) -> tuple[object, ...]:
    """What decides which buttons there are."""
    state = editing.state
    kind = "conflict" if state.conflicts else standing.kind in ("offline", "saving")
    return editing.name, kind, bool(state.unsaved), tuple(state.copies)


def _details(editing: LabelEditing) -> list[str]:
    state = editing.state
    lines = [str(clash) for clash in state.conflicts[:_SHOWN_CLASHES]]
    if state.conflicts:
        lines.append("What is not in conflict is saved.")
    elif state.error:
        lines.append(state.error)
    return [*lines, *(str(copy) for copy in state.copies)]


def _shows(layer: Any, editing: LabelEditing) -> bool:
    tiles = getattr(getattr(layer, "data", None), "tiles", None)
    return getattr(tiles, "editing", None) is editing


def _mark(layer: Any, editings: Sequence[LabelEditing]) -> None:
    """Frame a label image that needs a person, in the sign's colour; take the frame off when it does not."""
    editing = next((one for one in editings if _shows(layer, one)), None)
    colour = None if editing is None else _COLOURS.get(standing_of(editing).kind)
    framed = layer.metadata.get("volseg", {}).get("framed")
    if colour == framed:
        return
    box = layer.bounding_box
    box.visible, box.points = colour is not None, False
    if colour is not None:
        box.line_color, box.line_thickness = colour, 3
    layer.metadata["volseg"]["framed"] = colour


def sign_of(viewer: Any) -> UnsavedSign | None:
    """Return the sign of a viewer's window, made at the first call; None where there is no window."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # plugins are handed a proxy
    window = getattr(getattr(viewer, "window", None), "_qt_window", None)
    if window is None:
        return None
    bar = window.statusBar()
    found: UnsavedSign | None = bar.findChild(UnsavedSign)
    if found is None:
        from napari_plugin.quit_guard import QuitGuard

        found = UnsavedSign(viewer)
        bar.addPermanentWidget(found)
        QuitGuard(window, found)
    return found
