"""A notice on the screen: what went wrong, in words, with a button that copies the details. Never blocks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_plugin.feedback import compose_report, save_report

if TYPE_CHECKING:
    from napari_plugin.desk import Desk
    from napari_plugin.messages import Notice


class NoticeDialog(QDialog):
    """One notice.

    Parameters
    ----------
    notice
        What is told.
    parent
        The viewer's window.
    """

    def __init__(self, notice: Notice, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.notice = notice
        self.setWindowTitle(f"volseg: {notice.title}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        text = QLabel(notice.text)
        text.setWordWrap(True)
        text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.copy_button = QPushButton("Copy details")
        self.copy_button.clicked.connect(self.copy)
        close = QPushButton("Close")
        close.clicked.connect(self.close)
        close.setDefault(True)
        row = QHBoxLayout()
        row.addWidget(self.copy_button)
        row.addStretch()
        row.addWidget(close)
        layout = QVBoxLayout(self)
        layout.addWidget(text)
        layout.addLayout(row)
        self.setMinimumWidth(420)

    def copy(self) -> None:
        """Put the details on the clipboard."""
        clipboard = QGuiApplication.clipboard()
        clipboard.setText(f"{self.notice.title}\n{self.notice.text}\n\n{self.notice.details}")
        self.copy_button.setText("Copied")


def show_notice(notice: Notice, window: Any) -> NoticeDialog:
    """Show a notice above a viewer's window, without waiting for it to be read."""
    parent = getattr(window, "_qt_window", None) if window is not None else None
    dialog = NoticeDialog(notice, parent)
    dialog.show()
    return dialog


class FeedbackPanel(QWidget):
    """Composes a report; see `napari_plugin.feedback`.

    Parameters
    ----------
    desk
        Of the viewer.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.said = QPlainTextEdit()
        self.said.setPlaceholderText("What did you do, what did you expect, what happened?")
        self.said.setMaximumHeight(120)
        self.preview = QPlainTextEdit()
        self.preview.setReadOnly(True)
        self.said.textChanged.connect(self.renew)
        copy = QPushButton("Copy to clipboard")
        copy.clicked.connect(self.copy)
        save = QPushButton("Save as file…")
        save.clicked.connect(self.save)
        row = QHBoxLayout()
        row.addWidget(copy)
        row.addWidget(save)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("Nothing is sent: the report below goes where you put it."))
        layout.addWidget(self.said)
        layout.addWidget(self.preview)
        layout.addLayout(row)
        self.renew()

    def renew(self) -> None:
        """Compose the report anew."""
        details = self.desk.notices[-1].details if self.desk.notices else ""
        self.preview.setPlainText(
            compose_report(
                self.said.toPlainText(), self.desk.describe_open(), self.desk.log.lines, details
            )
        )

    def copy(self) -> None:
        """Put the report on the clipboard."""
        self.renew()
        QGuiApplication.clipboard().setText(self.preview.toPlainText())

    def save(self, path: str = "") -> None:
        """Write the report into a file, asked for where none is given."""
        self.renew()
        chosen = (
            path or QFileDialog.getSaveFileName(self, "Save the report", "volseg-report.txt")[0]
        )
        if chosen:
            save_report(self.preview.toPlainText(), Path(chosen))
