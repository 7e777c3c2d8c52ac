"""The question where an accepted mask belongs to other objects. Never blocks: a thin view of the model's question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_plugin.acceptance import Overlap
from napari_plugin.prompting import Answer


class OverlapDialog(QDialog):
    """Asks what is to be done with a mask of which other objects own much.

    Parameters
    ----------
    overlap
        The mask and its owners.
    answer
        Takes the person's answer; closing the window is "no".
    parent
        The viewer's window.
    """

    def __init__(
        self, overlap: Overlap, answer: Callable[[Answer], None], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._answer: Callable[[Answer], None] | None = answer
        self.setWindowTitle("volseg: this mask belongs to other objects")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        text = QLabel(f"{overlap}.")
        text.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(text)
        choices: list[tuple[str, Answer]] = [
            (f"Correct object {overlap.main} with it", "other"),
            (f"Take the voxels over into object {overlap.object_id}", "take"),
            (f"Keep only the {overlap.rest} free voxels", "rest"),
            ("Don't accept it", "no"),
        ]
        self.buttons: dict[Answer, QPushButton] = {}
        for said, meant in choices:
            button = QPushButton(said)
            button.setEnabled(meant != "rest" or overlap.rest > 0)
            button.clicked.connect(lambda _=False, meant=meant: self.give(meant))
            layout.addWidget(button)
            self.buttons[meant] = button
        self.finished.connect(lambda _: self.give("no"))

    def give(self, meant: Answer) -> None:
        """Give an answer, once."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(meant)
            self.close()


def show_overlap(overlap: Overlap, answer: Callable[[Answer], None], window: Any) -> OverlapDialog:
    """Ask above a viewer's window, without waiting for the answer."""
    dialog = OverlapDialog(overlap, answer, getattr(window, "_qt_window", None))
    dialog.show()
    return dialog
