"""The panel of prompting and propagating: a thin view of the desk."""

from __future__ import annotations

from typing import Literal

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QInputDialog,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QWidget,
)

from napari_plugin.alive import while_alive
from napari_plugin.cluster import Cluster
from napari_plugin.clusterruns import ClusterRuns
from napari_plugin.desk import Desk
from napari_plugin.found_zooms import Zoom
from napari_plugin.gui import in_gui
from napari_plugin.keyboard import ModelField, keys_to_canvas
from napari_plugin.scrolling import scrolling_layout

ABOUT_LINES = 6
HERE = "on this machine"
NEW = "new label image…"
AUTO: Literal["auto"] = "auto"
LEAST_ZOOM = 0.05


class PromptPanel(QWidget):
    """Label image, model, the object being prompted, its candidates; propagation below.

    Parameters
    ----------
    desk
        Of the viewer.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        layout = scrolling_layout(self)
        layout.addWidget(self._labels_box())
        layout.addWidget(self._object_box())
        layout.addWidget(self._run_box())
        layout.addStretch()
        desk.changed.connect(while_alive(self, "renew"))
        desk.shown.connect(while_alive(self, "show_object"))
        desk.ran.connect(while_alive(self, "show_run"))
        desk.chosen.connect(while_alive(self, "show_choice"))
        self.renew()
        keys_to_canvas(self, desk.viewer)

    # --- parts

    def _labels_box(self) -> QWidget:
        box = QGroupBox("Labels and model")
        form = QFormLayout(box)
        self.labels = QComboBox()
        self.labels.activated.connect(self._choose_labels)
        self.model = ModelField(self._model_text())
        self.model.setToolTip(
            "nano, vit_b, vit_l, vit_h, or the path or URL of a checkpoint; double-click to type"
        )
        self.zoom = QDoubleSpinBox()
        self.zoom.setRange(0, 16)
        self.zoom.setSpecialValueText(AUTO)  # what stands for 0
        self.zoom.setSingleStep(0.25)
        self.zoom.setValue(self.desk.zoom)
        self.zoom.setToolTip(
            "Model pixels per voxel: more for small objects, less for large ones; 0: found from the first prompt"
        )
        self.model.editingFinished.connect(self._choose_model)
        self.zoom.editingFinished.connect(self._choose_model)
        form.addRow("label image", self.labels)
        form.addRow("model", self.model)
        form.addRow("zoom", self.zoom)
        return box

    def _object_box(self) -> QWidget:
        box = QGroupBox("Object")
        grid = QGridLayout(box)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.about.setAlignment(Qt.AlignmentFlag.AlignTop)
        # room for all that may stand there, so that the buttons below stay where they are
        self.about.setMinimumHeight(ABOUT_LINES * self.about.fontMetrics().lineSpacing())
        grid.addWidget(self.about, 0, 0, 1, 2)
        self.buttons: dict[str, QPushButton] = {}
        rows = (
            ("prompt", "Prompt (Q)"),
            ("accept", "Accept (K)"),
            ("previous_candidate", "◀ candidate (Shift-J)"),
            ("next_candidate", "candidate ▶ (J)"),
            ("take_back", "Take back (U)"),
            ("next_object", "Next object (N)"),
            ("use_mask", "Use painted mask (W)"),
            ("ends", "Ends here (Shift-W)"),
        )
        for i, (command, text) in enumerate(rows):
            grid.addWidget(self._button(command, text), 1 + i // 2, i % 2)
        return box

    def _run_box(self) -> QWidget:
        box = QGroupBox("Propagate")
        grid = QGridLayout(box)
        self.where = QComboBox()
        self.where.addItem(HERE)
        self.where.activated.connect(self._choose_where)
        self.server = QLineEdit()
        self.server.setPlaceholderText("Prefect API, as http://host:4200/api")
        self.server.returnPressed.connect(self.list_deployments)
        self.bar = QProgressBar()
        self.status = QLabel()
        self.status.setWordWrap(True)
        grid.addWidget(self.where, 0, 0, 1, 2)
        grid.addWidget(self.server, 1, 0, 1, 2)
        grid.addWidget(self._button("propagate", "Propagate (G)"), 2, 0)
        grid.addWidget(self._button("cancel", "Stop (Shift-G)"), 2, 1)
        grid.addWidget(self.bar, 3, 0, 1, 2)
        grid.addWidget(self.status, 4, 0, 1, 2)
        grid.addWidget(self._button("least_confident", "Least confident slice (H)"), 5, 0, 1, 2)
        return box

    def _button(self, command: str, text: str) -> QPushButton:
        button = QPushButton(text)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # keys go on to the canvas
        button.clicked.connect(lambda: self.desk.act(command))
        self.buttons[command] = button
        return button

    # --- showing

    def renew(self) -> None:
        """Show what the desk works on."""
        session = self.desk.session
        self.labels.clear()
        if session is not None:
            if self.desk.name is None:
                self.labels.addItem("(choose)")
            self.labels.addItems([*session.label_names, NEW])
            if self.desk.name is not None:
                self.labels.setCurrentText(self.desk.name)
        self.show_choice()
        ready = self.desk.prompting is not None
        for button in self.buttons.values():
            button.setEnabled(ready)
        self.show_object()
        self.show_run()

    def show_object(self) -> None:
        """Show object, marks and candidate."""
        prompting = self.desk.prompting
        if prompting is None:
            self.about.setText("Open a volume, choose or make a label image, then press Q.")
            return
        shown, object_id = prompting.shown, prompting.object_id
        lines = [f"<b>object {object_id or '…'}</b>, slice {prompting.z}"]
        if shown.waiting:
            lines.append("asking the model…")
        elif shown.candidates:
            score = shown.candidates[shown.choice].score
            lines.append(
                f"candidate {shown.choice + 1} of {len(shown.candidates)}, score {score:.2f}"
            )
        elif shown.answered:
            lines.append("the model found nothing there: move or add a point")
        slices = prompting.book.slices_of(object_id, prompting.time) if object_id else []
        if slices:
            lines.append("accepted on slices " + ", ".join(map(str, slices)))
        count = len(prompting.book.objects)
        lines.append(f"{count} object{'s' if count != 1 else ''} prompted")
        doubt = self.desk.doubt
        if doubt is not None and doubt.z == prompting.z:
            lines.append(str(doubt))
        self.about.setText("<br>".join(lines))

    def show_run(self) -> None:
        """Show how far the runs are."""
        running = self.desk.running
        if running is None:
            self.status.setText("")
            self.bar.setRange(0, 1)
            self.bar.setValue(0)
            return
        state = running.state
        unknown = bool(state.running) and not state.done
        self.bar.setRange(0, 0 if unknown else state.total)
        self.bar.setValue(state.done)
        self.status.setText(state.text)
        self.buttons["cancel"].setEnabled(state.running > 0)

    # --- choosing

    def _choose_labels(self) -> None:
        name = self.labels.currentText()
        if name == NEW:
            channel = self.desk.channel_in_view()
            asked = f"Name ({self.desk.channel_text(channel)}):"
            given, ok = QInputDialog.getText(self, "New label image", asked, text="cells")
            if ok:
                self.make(given)
            self.renew()
        elif name != "(choose)":
            self.desk.use(name)

    def make(self, name: str) -> None:
        """Make a label image, bound to the channel in view."""
        self.desk.new_labels(name.strip(), self.desk.channel_in_view())

    def _choose_model(self) -> None:
        zoom = self.zoom.value()
        same = abs(zoom - self.desk.zoom) < 0.01  # the field shows two digits
        wanted: Zoom = zoom if zoom >= LEAST_ZOOM else AUTO
        text = self.model.text().strip() or "nano"
        model = self.desk.model_name if text == self._model_text() else text
        self.desk.choose(model, self.desk.zooms.asked if same else wanted)

    def show_choice(self) -> None:
        """Show the model and zoom that are used."""
        self.model.setText(self._model_text())
        self.zoom.setValue(self.desk.zoom)
        self.zoom.setSuffix(f" ({AUTO})" if self.desk.zooms.asked == AUTO else "")

    def _model_text(self) -> str:
        model = self.desk.model_name
        return model if isinstance(model, str) else f"true labels {model.get('name')}"

    def _choose_where(self) -> None:
        chosen = self.where.currentText()
        self.desk.deployment = None if chosen == HERE else chosen

    def list_deployments(self) -> None:
        """Ask the Prefect server for its deployments."""
        cluster = Cluster(self.server.text().strip() or None)

        def ask() -> None:
            names = cluster.deployments()
            in_gui(lambda: self._show_deployments(cluster, names))

        self.desk.aside(ask, "asking the Prefect server")

    def _show_deployments(self, cluster: Cluster, names: list[str]) -> None:
        self.desk.cluster = ClusterRuns(cluster)
        self.where.clear()
        self.where.addItems([HERE, *names])
        if names:
            self.where.setCurrentText(names[0])
        self._choose_where()
