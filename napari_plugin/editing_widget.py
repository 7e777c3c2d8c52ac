"""The panel of editing: state of the edits, conflicts and the choice, undo and redo, tools on objects. A thin view."""

from __future__ import annotations

from typing import Any, Literal

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QGroupBox,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QWidget,
)

from napari_plugin.editing import EditState, LabelEditing
from napari_plugin.gui import on_gui
from napari_plugin.keyboard import keys_to_canvas
from napari_plugin.scrolling import scrolling_layout
from napari_plugin.workbench import Workbench, workbench_of

_SHOWN_CLASHES = 20
TOOLS = (
    ("new_object", "New object", "an id that nobody else gets (M)"),
    ("interpolate", "Interpolate", "fill the slices between painted ones (I)"),
    ("split", "Split…", "mark a point in each part, then once more (S)"),
    ("merge", "Merge", "the objects selected in the table (Shift-M)"),
    ("delete", "Delete", "the selected objects (Shift-D)"),
)


class EditPanel(QWidget):
    """Editing of the selected label layer.

    Parameters
    ----------
    napari_viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.bench: Workbench = workbench_of(napari_viewer)
        self.name = QLabel()
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.protect = QCheckBox("other objects are protected")
        self.undo, self.redo, self.save = (QPushButton(t) for t in ("Undo", "Redo", "Save now"))
        self.tools = {command: _button(text, tip) for command, text, tip in TOOLS}
        self._watched: LabelEditing | None = None
        self._told = on_gui(self._show)
        self._lay_out()
        self._connect()
        self._follow()
        keys_to_canvas(self, self.bench.viewer)

    def _lay_out(self) -> None:
        layout = scrolling_layout(self)
        for widget in (self.name, self.state):
            layout.addWidget(widget)
        layout.addWidget(self._conflict_box())
        grid = QGridLayout()
        for at, button in enumerate((self.undo, self.redo, self.save)):
            grid.addWidget(button, 0, at)
        for at, button in enumerate(self.tools.values()):
            grid.addWidget(button, 1 + at // 3, at % 3)
        layout.addLayout(grid)
        layout.addWidget(self.protect)
        layout.addWidget(self.message)
        layout.addStretch()

    def _conflict_box(self) -> QGroupBox:
        self.conflict = QGroupBox("Somebody else edited the same voxels")
        self.clashes = QPlainTextEdit()
        self.clashes.setReadOnly(True)
        self.mine = _button("Keep mine", "put your edits on top of theirs")
        self.theirs = _button("Keep theirs", "drop your edits that are in conflict")
        inside = QGridLayout(self.conflict)
        inside.addWidget(self.clashes, 0, 0, 1, 2)
        inside.addWidget(self.mine, 1, 0)
        inside.addWidget(self.theirs, 1, 1)
        self.conflict.setVisible(False)
        return self.conflict

    def _connect(self) -> None:
        self.undo.clicked.connect(lambda: self._editing_do("undo"))
        self.redo.clicked.connect(lambda: self._editing_do("redo"))
        self.save.clicked.connect(lambda: self._editing_do("flush"))
        self.mine.clicked.connect(lambda: self._resolve("mine"))
        self.theirs.clicked.connect(lambda: self._resolve("theirs"))
        actions = self.bench.actions()
        for command, button in self.tools.items():
            button.clicked.connect(lambda _=False, run=actions[command]: run())
        self.protect.toggled.connect(self._protect)
        self.bench.changed.connect(self._follow)
        self.bench.message.connect(on_gui(self.message.setText))

    def _follow(self) -> None:
        """Show another label image."""
        editing = self.bench.editing
        self.name.setText(
            "<i>select a label layer of a volume</i>"
            if editing is None
            else f"<b>{editing.name}</b>, edited by {editing.annotator}"
        )
        for button in (self.undo, self.redo, self.save, self.protect, *self.tools.values()):
            button.setEnabled(editing is not None)
        if editing is not None and self.bench.layer is not None:
            self.protect.setChecked(self.bench.layer.preserve_labels)
        if editing is not self._watched:
            if self._watched is not None:
                self._watched.state_changed.disconnect(self._told)
            if editing is not None:
                editing.state_changed.connect(self._told)
            self._watched = editing
        self._show(EditState() if editing is None else editing.state)

    def _show(self, state: EditState) -> None:
        text = str(state) + (f" – {state.working}…" if state.working else "")
        if state.error and not state.conflicts:
            text += f"\n{state.error}"
        self.state.setText("" if self.bench.editing is None else text)
        self.conflict.setVisible(bool(state.conflicts))
        self.clashes.setPlainText("\n".join(str(c) for c in state.conflicts[:_SHOWN_CLASHES]))

    def _editing_do(self, name: str) -> None:
        editing = self.bench.editing
        if editing is not None:
            getattr(editing, name)()

    def _resolve(self, keep: Literal["mine", "theirs"]) -> None:
        editing = self.bench.editing
        if editing is not None:
            editing.resolve(keep)

    def _protect(self, protect: bool) -> None:
        if self.bench.layer is not None:
            self.bench.layer.preserve_labels = protect


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # keys go on to the canvas
    return button
