"""Keys that work wherever the focus is: what a panel's control does not use itself goes on to the canvas.

Only text that is being typed stays where it is.
"""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QCoreApplication, QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

_MOVING = {
    Qt.Key.Key_Tab, Qt.Key.Key_Backtab, Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape,
    Qt.Key.Key_Space, Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_Down,
    Qt.Key.Key_Home, Qt.Key.Key_End, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_F2,
    Qt.Key.Key_Shift, Qt.Key.Key_Control, Qt.Key.Key_Alt, Qt.Key.Key_Meta,
}  # fmt: skip


class KeysToCanvas(QObject):
    """Sends keys that a control does not use to the canvas of a viewer.

    Parameters
    ----------
    viewer
        A napari viewer with a window.
    parent
        The panel; the filter lives as long as it.
    """

    def __init__(self, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self._viewer = viewer
        for child in (parent, *parent.findChildren(QWidget)):
            child.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take a key away from a control that has no use for it."""
        if event.type() != QEvent.Type.KeyPress or not isinstance(event, QKeyEvent):
            return False
        if event.key() in _MOVING or _uses(watched, event):
            return False
        canvas = self._viewer.window._qt_viewer.canvas.native
        copy = QKeyEvent(
            event.type(), event.key(), event.modifiers(), event.text(), event.isAutoRepeat()
        )
        QCoreApplication.sendEvent(canvas, copy)
        return True


def keys_to_canvas(panel: QWidget, viewer: Any) -> None:
    """Let keys work while the focus is in a panel; for a viewer without a window nothing happens."""
    if getattr(viewer, "window", None) is not None:
        KeysToCanvas(viewer, panel)


def _uses(watched: QObject, event: QKeyEvent) -> bool:
    """Tell whether a control types with a key, or has it as a shortcut of its own."""
    if isinstance(watched, QAbstractSpinBox):
        return not event.text().isalpha()
    if isinstance(watched, ModelField):
        return watched.uses_key(event)
    if isinstance(watched, QLineEdit):
        around = watched.parent()
        return (
            _uses(around, event)
            if isinstance(around, QAbstractSpinBox)
            else not watched.isReadOnly()
        )
    if isinstance(watched, QComboBox):
        return watched.isEditable()
    if isinstance(watched, QPlainTextEdit | QTextEdit):
        copying = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        return copying or not watched.isReadOnly()
    return False


class ModelField(QLineEdit):
    """A text that is shown, and typed only when asked for: by a double click, Enter, F2 or Ctrl-A.

    A click on it must not turn keys of the window into letters.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setReadOnly(True)
        self.editingFinished.connect(lambda: self.setReadOnly(True))

    def begin_typing(self) -> None:
        """Let a person type, over all that stands there."""
        self.setReadOnly(False)
        self.selectAll()

    def uses_key(self, event: QKeyEvent) -> bool:
        """Tell whether a key is typed here or begins typing."""
        return not self.isReadOnly() or _begins(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Begin typing where asked to; Escape ends it."""
        if self.isReadOnly() and _begins(event):
            self.begin_typing()
        elif not self.isReadOnly() and event.key() == Qt.Key.Key_Escape:
            self.undo()
            self.setReadOnly(True)
        else:
            super().keyPressEvent(event)

    def mouseDoubleClickEvent(self, event: Any) -> None:
        """Begin typing."""
        self.begin_typing()


def _begins(event: QKeyEvent) -> bool:
    everything = event.key() == Qt.Key.Key_A and bool(
        event.modifiers() & Qt.KeyboardModifier.ControlModifier
    )
    return everything or event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_F2)
