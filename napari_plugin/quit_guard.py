"""A viewer's window that closes on unsaved edits: they are saved, kept on this machine, or given up aloud."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QEventLoop, QObject, Qt, QTimer
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_plugin.alive import while_alive
from napari_plugin.editing import LabelEditing
from napari_plugin.gui import in_gui
from napari_plugin.unsaved import standing_of

if TYPE_CHECKING:
    from napari_plugin.unsaved_widget import UnsavedSign

_LOOK_MS = 50
_SAVING_MS = 1000


class QuitGuard(QObject):
    """Asks before a window closes on edits that are not saved.

    Parameters
    ----------
    window
        The viewer's window; owns the guard.
    sign
        Knows the label images.
    """

    def __init__(self, window: QWidget, sign: UnsavedSign) -> None:
        super().__init__(window)
        self._sign = sign
        self.dialog: QuitDialog | None = None
        self._asking = False
        window.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Hold up the window's closing; a program that has begun to take the window apart is not asked."""
        if event.type() != QEvent.Type.Close or not watched._qt_viewer.isVisible():
            return False
        if self._asking:
            event.ignore()
            return True
        self._asking = True
        try:
            unsaved = [one for one in self._sign.editings if one.busy]
            for one in unsaved:
                one.flush()
            if not unsaved or _saved_soon(unsaved):
                return False
            event.ignore()
            self.dialog = QuitDialog(unsaved, watched)
            if self.dialog.exec() == QDialog.DialogCode.Accepted:
                QTimer.singleShot(0, watched.close)  # answered: napari need not ask once more
            return True
        finally:
            self.dialog, self._asking = None, False


def _saved_soon(editings: Sequence[LabelEditing]) -> bool:
    """Serve the window until all is saved, or it is clear that this takes longer."""
    loop = QEventLoop()
    look = QTimer()
    look.setInterval(_LOOK_MS)
    look.timeout.connect(lambda: loop.quit() if _settled(editings) else None)
    look.start()
    QTimer.singleShot(_SAVING_MS, loop.quit)
    loop.exec()
    look.stop()
    return all(not one.busy for one in editings)


def _settled(editings: Sequence[LabelEditing]) -> bool:
    return all(not one.busy for one in editings) or any(
        standing_of(one).alarming for one in editings
    )


class QuitDialog(QDialog):
    """Waits until all is saved, and offers what else can be done; accepted where the window may close.

    Parameters
    ----------
    editings
        Label images that are not saved.
    parent
        The window.
    """

    def __init__(self, editings: Sequence[LabelEditing], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editings = list(editings)
        self.setWindowTitle("volseg: edits are not saved")
        self.setMinimumWidth(480)
        self.said = QLabel()
        self.said.setWordWrap(True)
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.stay = _button("Don't quit", self.reject)
        self.again = _button("Try again", self.save)
        self.keep = _button("Keep a copy and quit", lambda: self.keep_copies(None))
        self.elsewhere = _button("Keep a copy in…", self.choose_folder)
        self.give_up = _button("Quit without them", self.leave)
        self.stay.setDefault(True)
        row = QHBoxLayout()
        for button in (self.again, self.keep, self.elsewhere, self.give_up, self.stay):
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.said)
        layout.addWidget(self.problem)
        layout.addLayout(row)
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self.look)
        self._timer.start()
        self.look()

    def look(self) -> None:
        """Show how things stand; nothing left to save means that the window may close."""
        left = [one for one in self.editings if one.busy]
        if not left:
            self.accept()
            return
        lines = []
        for one in left:
            lines.append(standing_of(one).text)
            if one.state.error and not one.state.conflicts:
                lines.append(one.state.error)
        lines.append("A copy is kept on this machine, and offered when the volume is opened again.")
        self.said.setText("\n".join(lines))

    def save(self) -> None:
        """Try to save once more."""
        self.problem.setText("")
        for one in self.editings:
            if one.busy:
                one.flush()

    def choose_folder(self) -> None:
        """Keep copies in a folder that the person chooses."""
        folder = QFileDialog.getExistingDirectory(self, "Keep a copy of the edits in")
        if folder:
            self.keep_copies(Path(folder))

    def keep_copies(self, folder: Path | None) -> None:
        """Write what is not saved into files on this machine, and close if that works."""
        done = [one.keep_copy(folder) for one in self.editings]
        check = while_alive(self, "kept")

        def told(_: Future[Any]) -> None:
            if all(future.done() for future in done):
                in_gui(lambda: check(done))

        for future in done:
            future.add_done_callback(told)

    def kept(self, done: Sequence[Future[Any]]) -> None:
        """Close where every copy was written, else say why not."""
        errors = [error for future in done if (error := future.exception()) is not None]
        if errors:
            self.problem.setText("\n".join(str(error) for error in errors))
        else:
            self.leave()

    def leave(self) -> None:
        """Close without storing what is pending; on another thread, as a store that hangs may hold it up."""
        self.setEnabled(False)
        done = while_alive(self, "accept")

        def end() -> None:
            for one in self.editings:
                if one.busy:
                    one.abandon()
            in_gui(done)

        threading.Thread(target=end, name="volseg-abandon").start()


def _button(text: str, action: Any) -> QPushButton:
    button = QPushButton(text)
    button.setAutoDefault(False)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    button.clicked.connect(lambda _=False: action())
    return button
