"""The panel that exports a label image in any format of the command line."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QWidget,
)

from napari_plugin.alive import while_alive
from napari_plugin.desk import Desk
from napari_plugin.exporting import Exporting, ExportRequest, formats, parse_ids, suggested_path
from napari_plugin.gui import on_gui
from volseg.errors import InputError
from volseg.exporting.output import ExportResult


class ExportPanel(QWidget):
    """Exports.

    Parameters
    ----------
    desk
        Of the viewer.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk, self.exporting = desk, Exporting()
        self.labels = QComboBox()
        self.format = QComboBox()
        for name, words in formats():
            self.format.addItem(words, name)
        self.out = QLineEdit()
        self.objects = QLineEdit()
        self.objects.setPlaceholderText("all, or ids as 3, 7")
        self.classes = QLineEdit()
        self.classes.setPlaceholderText("all, or classes as nucleus, spine")
        self.level = QSpinBox()
        self.overwrite = QCheckBox("replace what is there")
        self.button = QPushButton("Export")
        self.bar = QProgressBar()
        self.status = QLabel()
        self.status.setWordWrap(True)
        form = QFormLayout(self)
        form.addRow("label image", self.labels)
        form.addRow("format", self.format)
        form.addRow("to", self.out)
        form.addRow("objects", self.objects)
        form.addRow("classes", self.classes)
        form.addRow("level", self.level)
        form.addRow(self.overwrite)
        form.addRow(self.button)
        form.addRow(self.bar)
        form.addRow(self.status)
        self.format.activated.connect(self._suggest)
        self.labels.activated.connect(self._suggest)
        self.button.clicked.connect(self.export)
        self.exporting.progress.connect(on_gui(while_alive(self, "_progressed")))
        self.exporting.finished.connect(on_gui(while_alive(self, "_finished")))
        self.exporting.failed.connect(on_gui(while_alive(self, "_failed")))
        desk.changed.connect(while_alive(self, "renew"))
        self.renew()

    def renew(self) -> None:
        """Show the label images of the volume."""
        self.labels.clear()
        if self.desk.session is not None:
            self.labels.addItems(self.desk.session.label_names)
        if self.desk.name is not None:
            self.labels.setCurrentText(self.desk.name)
        self.button.setEnabled(self.labels.count() > 0)
        self._suggest()

    def export(self) -> None:
        """Export what is chosen."""
        try:
            session = self.desk.session
            if session is None:
                raise InputError("no volume is open: open one first")
            classes = [one.strip() for one in self.classes.text().split(",") if one.strip()]
            request = ExportRequest(
                self.out.text(),
                str(self.format.currentData()),
                parse_ids(self.objects.text()),
                classes,
                self.level.value(),
                overwrite=self.overwrite.isChecked(),
            )
            name = self.labels.currentText()
            self.status.setText("storing what is unsaved…")
            self.desk.aside(
                lambda: self.exporting.start(session.editing(name), request), f"exporting {name}"
            )
        except InputError as error:
            self.desk.tell(error, "exporting")

    def _suggest(self) -> None:
        if self.labels.currentText():
            folder = Path(self.out.text()).parent if self.out.text() else Path.home()
            name = str(self.format.currentData())
            self.out.setText(suggested_path(folder, self.labels.currentText(), name))

    def _progressed(self, stage: str, done: int, total: int) -> None:
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        self.status.setText(stage)

    def _finished(self, result: ExportResult) -> None:
        self.bar.setRange(0, 1)
        self.bar.setValue(1)
        names = [str(path) for path in result.paths[:3]]
        more = f" … {len(result.paths)} files" if len(result.paths) > 3 else ""
        self.status.setText("\n".join(names) + more)

    def _failed(self, error: BaseException, doing: str) -> None:
        self.bar.setRange(0, 1)
        self.bar.setValue(0)
        self.status.setText("")
        self.desk.tell(error, doing)
