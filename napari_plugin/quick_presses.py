"""Quick presses: where the mouse marks or paints, the second of two quick presses is a press like the first.

Qt tells it as a double click. napari then zooms in, and what was to be a mark or a stroke is lost.
"""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QCoreApplication, QEvent, QObject
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QWidget

_BRUSHES = {"paint", "erase", "fill", "pick"}


class QuickPresses(QObject):
    """Turns double clicks on the canvas of a viewer into presses, where a layer of volseg's takes presses.

    Parameters
    ----------
    viewer
        A napari viewer with a window.
    canvas
        Its canvas; the filter lives as long as it.
    """

    def __init__(self, viewer: Any, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._viewer = viewer
        canvas.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Send a press in place of a double click."""
        if event.type() != QEvent.Type.MouseButtonDblClick or not isinstance(event, QMouseEvent):
            return False
        if not _takes_presses(self._viewer.layers.selection.active):
            return False
        press = QMouseEvent(
            QEvent.Type.MouseButtonPress, event.position(), event.globalPosition(),
            event.button(), event.buttons(), event.modifiers(),
        )  # fmt: skip
        QCoreApplication.sendEvent(watched, press)
        return True


def take_quick_presses(viewer: Any) -> None:
    """Have quick presses taken in a viewer, once; for a viewer without a window nothing happens."""
    if getattr(viewer, "window", None) is None:
        return
    canvas = viewer.window._qt_viewer.canvas.native
    if not canvas.findChildren(QuickPresses):
        QuickPresses(viewer, canvas)


def _takes_presses(layer: Any) -> bool:
    """Tell whether a layer's tool marks or paints; a polygon is finished by a double click, and stays so."""
    own = {} if layer is None else layer.metadata.get("volseg", {})
    return "prompts" in own or (bool(own) and str(getattr(layer, "mode", "")) in _BRUSHES)
