"""The panel of objects: a table that follows the selection both ways, filter, status, classes. A thin view."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QItemSelectionModel, QObject, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QTableView,
    QWidget,
)

from napari_plugin.gui import on_gui
from napari_plugin.keyboard import keys_to_canvas
from napari_plugin.objects import COLUMNS, STATUSES, ObjectTableModel, text_of, value_of
from napari_plugin.scrolling import scrolling_layout
from napari_plugin.workbench import Workbench, workbench_of
from volseg.images.objects import ObjectRow

_COLOURS = {"accepted": QColor(60, 140, 60, 90), "rejected": QColor(160, 60, 60, 90)}
BUTTONS = (
    ("next_todo", "Next to do", "T"),
    ("accepted", "Accept", "A"),
    ("rejected", "Reject", "R"),
    ("go_to", "Go to", "Shift-T"),
    ("alone", "Alone in 3D", "Shift-O"),
)


class RowsModel(QAbstractTableModel):
    """Qt's view of an `ObjectTableModel`."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.objects: ObjectTableModel | None = None
        self.rows: list[ObjectRow] = []

    def show(self, objects: ObjectTableModel | None) -> None:
        """Take the rows of a table as they are now."""
        rows = [] if objects is None else objects.rows()
        if objects is self.objects and [r.id for r in rows] == [r.id for r in self.rows]:
            self.rows = rows  # same rows in the same order: the selection may stay
            if rows:
                end = self.index(len(rows) - 1, len(COLUMNS) - 1)
                self.dataChanged.emit(self.index(0, 0), end)
            return
        self.beginResetModel()
        self.objects, self.rows = objects, rows
        self.endResetModel()

    def rowCount(self, parent: Any = None) -> int:
        """Number of objects that are listed."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: Any = None) -> int:
        """Number of columns."""
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Names of the columns."""
        wanted = role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal
        return COLUMNS[section] if wanted else None

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What stands in a cell, and its colour by status."""
        row = self.rows[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return text_of(row, COLUMNS[index.column()])
        if role == Qt.ItemDataRole.BackgroundRole:
            return _COLOURS.get(value_of(row, "status"))
        return None

    def flags(self, index: Any) -> Qt.ItemFlag:
        """Class and parent can be typed."""
        flags = super().flags(index)
        if COLUMNS[index.column()] in ("class", "parent"):
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def setData(self, index: Any, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Take what was typed."""
        if self.objects is None or role != Qt.ItemDataRole.EditRole:
            return False
        row, text = self.rows[index.row()], str(value).strip()
        if COLUMNS[index.column()] == "class":
            self.objects.set_class([row.id], text or None)
        elif not text or text.isdigit():
            self.objects.set_parent([row.id], int(text) if text else None)
        else:
            return False
        return True


class ObjectsPanel(QWidget):
    """The objects of the selected label layer.

    Parameters
    ----------
    napari_viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.bench: Workbench = workbench_of(napari_viewer)
        self.text = QLineEdit()
        self.text.setPlaceholderText("id, class, parent or annotator")
        self.status = QComboBox()
        self.status.addItems(["all", *STATUSES])
        self.model = RowsModel(self)
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.table.setSortingEnabled(False)
        self.table.horizontalHeader().setSectionsClickable(True)
        self.table.verticalHeader().hide()
        self.class_ = QLineEdit()
        self.class_.setPlaceholderText("class for the selected objects, Enter")
        self.buttons = {command: QPushButton(f"{text} ({key})") for command, text, key in BUTTONS}
        self.views = {axis: QPushButton(f"along {axis}") for axis in "zyx"}
        self._order = ("id", False)
        self._following = False
        self._shown: ObjectTableModel | None = None
        self._lay_out()
        self._connect()
        self._follow()
        keys_to_canvas(self, self.bench.viewer)

    def _lay_out(self) -> None:
        layout = scrolling_layout(self)
        above = QHBoxLayout()
        above.addWidget(self.text)
        above.addWidget(self.status)
        layout.addLayout(above)
        layout.addWidget(self.table)
        layout.addWidget(self.class_)
        grid = QGridLayout()
        for at, button in enumerate([*self.buttons.values(), *self.views.values()]):
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            grid.addWidget(button, at // 3, at % 3)
        layout.addLayout(grid)

    def _connect(self) -> None:
        actions = self.bench.actions()
        for command, button in self.buttons.items():
            button.clicked.connect(lambda _=False, run=actions[command]: run())
        for axis, button in self.views.items():
            button.clicked.connect(lambda _=False, axis=axis: self.bench.view_along(axis))
        self.text.textChanged.connect(self._filter)
        self.status.currentTextChanged.connect(self._filter)
        self.class_.returnPressed.connect(self._class)
        self.table.horizontalHeader().sectionClicked.connect(self._sort)
        self.table.selectionModel().selectionChanged.connect(self._select)
        self.table.doubleClicked.connect(lambda _: self.bench.go_to())
        self.bench.changed.connect(self._follow)
        self._update, self._chosen = on_gui(self._refresh), on_gui(self._show_selection)

    def _follow(self) -> None:
        """Show the objects of another label image."""
        objects = self.bench.objects
        if objects is self._shown:
            return
        if self._shown is not None:
            self._shown.changed.disconnect(self._update)
            self._shown.selection_changed.disconnect(self._chosen)
        self._shown = objects
        if objects is not None:
            objects.changed.connect(self._update)
            objects.selection_changed.connect(self._chosen)
            self._filter()
        self._refresh()

    def _refresh(self) -> None:
        self._following = True
        self.model.show(self._shown)
        self._following = False
        self._show_selection()

    def _show_selection(self, *_: Any) -> None:
        """Mark the selected objects in the table."""
        if self._shown is None:
            return
        self._following = True
        selection = self.table.selectionModel()
        wanted = set(self._shown.selected)
        now = {self.model.rows[index.row()].id for index in selection.selectedRows()}
        if now != wanted:
            selection.clearSelection()
            mode = QItemSelectionModel.SelectionFlag
            for number, row in enumerate(self.model.rows):
                if row.id in wanted:
                    index = self.model.index(number, 0)
                    selection.select(index, mode.Select | mode.Rows)
                    self.table.scrollTo(index)
        self._following = False

    def _select(self, *_: Any) -> None:
        if self._shown is not None and not self._following:
            rows = self.table.selectionModel().selectedRows()
            self._shown.select(self.model.rows[index.row()].id for index in rows)

    def _filter(self, *_: Any) -> None:
        if self._shown is not None:
            status = self.status.currentText()
            self._shown.filter(self.text.text(), STATUSES if status == "all" else [status])

    def _sort(self, section: int) -> None:
        column = COLUMNS[section]
        self._order = (column, self._order == (column, False))
        if self._shown is not None:
            self._shown.sort(self._order[0], descending=self._order[1])

    def _class(self) -> None:
        name = self.class_.text().strip()
        if self._shown is not None and self._shown.selected:
            self._shown.set_class(list(self._shown.selected), name or None)
            self.class_.clear()
