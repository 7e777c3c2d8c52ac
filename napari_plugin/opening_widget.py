"""The panel that opens volumes: an address, what was opened last, and browsing folders and buckets."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QWidget,
)

from napari_plugin.alive import while_alive
from napari_plugin.desk import Desk
from napari_plugin.gui import in_gui
from napari_plugin.keyboard import keys_to_canvas
from napari_plugin.opening import Entry, Place, browse, parent_of, profiles
from napari_plugin.scrolling import scrolling_layout
from napari_plugin.session import use_credentials


class OpenPanel(QWidget):
    """Opens volumes.

    Parameters
    ----------
    desk
        Of the viewer.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.setAcceptDrops(True)
        self.url = QComboBox()
        self.url.setEditable(True)
        self.url.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.labels_at = QLineEdit()
        self.labels_at.setPlaceholderText("in the image itself")
        self.profile = QComboBox()
        self.profile.setEditable(True)
        self.profile.addItems(["", *profiles()])
        self.endpoint = QLineEdit()
        self.endpoint.setPlaceholderText("AWS, or http://host:port")
        self.annotator = QLineEdit(desk.annotator)
        form = QFormLayout()
        form.addRow("path or URL", self.url)
        form.addRow("labels at", self.labels_at)
        form.addRow("AWS profile", self.profile)
        form.addRow("S3 endpoint", self.endpoint)
        form.addRow("your name", self.annotator)
        self.channel_slider = QCheckBox("channels by a slider, not as layers")
        form.addRow("", self.channel_slider)
        self.open_button = QPushButton("Open")
        self.open_button.clicked.connect(self.open)
        self.browse_button = QPushButton("Browse")
        self.browse_button.clicked.connect(lambda: self.browse())
        self.up_button = QPushButton("Up")
        self.up_button.clicked.connect(lambda: self.browse(parent_of(self.url.currentText())))
        row = QHBoxLayout()
        for button in (self.open_button, self.browse_button, self.up_button):
            row.addWidget(button)
        self.entries = QListWidget()
        self.entries.itemActivated.connect(self._chosen)
        layout = scrolling_layout(self)
        layout.addLayout(form)
        layout.addLayout(row)
        layout.addWidget(self.entries)
        self.url.activated.connect(self._remembered)
        line = self.url.lineEdit()
        assert line is not None  # the box is editable
        line.returnPressed.connect(self.open)
        self.desk.changed.connect(while_alive(self, "show_places"))
        self.show_places()
        keys_to_canvas(self, desk.viewer)

    def show_places(self) -> None:
        """List what was opened last."""
        text = self.url.currentText()
        self.url.clear()
        self.url.addItems([one.url for one in self.desk.places.all()])
        self.url.setEditText(text)

    def place(self) -> Place:
        """What is typed."""
        return Place(
            self.url.currentText(),
            self.labels_at.text() or None,
            self.profile.currentText() or None,
            self.endpoint.text() or None,
            self.channel_slider.isChecked(),
        )

    def open(self) -> None:
        """Open what is typed."""
        self.desk.annotator = self.annotator.text().strip() or self.desk.annotator
        self.desk.open(self.place())

    def browse(self, url: str | None = None) -> None:
        """List a folder or bucket."""
        place = self.place()
        target = url or place.url or "."
        self.url.setEditText(target)

        def look() -> None:
            use_credentials(place.profile, place.endpoint)
            found = browse(target)
            in_gui(lambda: while_alive(self, "_list")(found))

        self.desk.aside(look, f"browsing {target}")

    def _list(self, found: list[Entry]) -> None:
        self.entries.clear()
        for one in found:
            item = QListWidgetItem(f"▣ {one.name}" if one.is_volume else f"📁 {one.name}")
            item.setData(256, (one.url, one.is_volume))
            self.entries.addItem(item)

    def _chosen(self, item: QListWidgetItem) -> None:
        url, is_volume = item.data(256)
        self.url.setEditText(url)
        if is_volume:
            self.open()
        else:
            self.browse(url)

    def _remembered(self, index: int) -> None:
        places = self.desk.places.all()
        if index < len(places):
            one = places[index]
            self.labels_at.setText(one.labels_at or "")
            self.profile.setEditText(one.profile or "")
            self.endpoint.setText(one.endpoint or "")
            self.channel_slider.setChecked(one.channel_slider)

    # --- dropping a volume's folder or address here

    def dragEnterEvent(self, event):  # type: ignore[no-untyped-def]
        """Take files and texts."""
        if event.mimeData().hasUrls() or event.mimeData().hasText():
            event.acceptProposedAction()

    def dropEvent(self, event):  # type: ignore[no-untyped-def]
        """Open what was dropped."""
        urls = event.mimeData().urls()
        text = urls[0].toLocalFile() or urls[0].toString() if urls else event.mimeData().text()
        self.url.setEditText(text.strip())
        self.open()
