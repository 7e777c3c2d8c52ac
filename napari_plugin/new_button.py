"""napari's button "new" of label layers, which on its own finds no free id of a stored label image."""

from __future__ import annotations

from typing import Any

from napari.layers.labels._labels_key_bindings import new_label
from qtpy.QtWidgets import QPushButton

from napari_plugin.gui import Soon
from napari_plugin.workbench import workbench_of

_NAME, _OURS = "newLabelButton", "volseg"


def bind_new_button(viewer: Any) -> None:
    """Let "new" do what M does on label layers of volumes; on others it stays napari's."""
    bench = workbench_of(viewer)

    def pressed() -> None:
        layer = viewer.layers.selection.active
        if layer is not None and layer is bench.layer:
            bench.new_object()
        else:
            new_label(layer)

    def bind() -> None:
        try:
            controls = viewer.window._qt_viewer.controls
        except AttributeError:  # the window has been closed meanwhile
            return
        for button in controls.findChildren(QPushButton, _NAME):
            if not button.property(_OURS):
                button.clicked.disconnect()
                button.clicked.connect(lambda _=False: pressed())
                button.setProperty(_OURS, True)

    soon = Soon(bind)  # napari makes the controls after telling which layer is selected
    viewer.layers.selection.events.active.connect(lambda event: soon.ask())
    soon.ask()
