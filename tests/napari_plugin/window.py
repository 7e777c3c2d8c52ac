"""A real window in tests: mouse and key events where a person would make them, and waiting with a living event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until a condition holds, with Qt's events served meanwhile."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        QApplication.processEvents()
        time.sleep(0.005)


def serve(seconds: float = 0.1) -> None:
    """Serve Qt's events for a while."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end)


def canvas(viewer: Any) -> Any:
    """The widget that people paint on."""
    return viewer.window._qt_viewer.canvas.native


def place(viewer: Any, layer: Any, voxel: Sequence[float]) -> Any:
    """Where on the canvas a voxel of level 0 is."""
    from qtpy.QtCore import QPoint

    shown = [axis - viewer.dims.ndim for axis in viewer.dims.displayed]  # a layer has the last axes
    world = np.asarray(layer.data_to_world(voxel))[shown]
    size = canvas(viewer).size()
    middle = np.array([size.height(), size.width()]) / 2
    y, x = (world - np.asarray(viewer.camera.center)[-2:]) * viewer.camera.zoom + middle
    return QPoint(round(x), round(y))


def drag(viewer: Any, layer: Any, voxels: Sequence[Sequence[float]], **options: Any) -> None:
    """Press at the first voxel, move over the others, release at the last."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    modifier = options.get("modifier", Qt.KeyboardModifier.NoModifier)
    button = Qt.MouseButton.LeftButton
    widget = canvas(viewer)
    points = [place(viewer, layer, voxel) for voxel in voxels]
    QTest.mouseMove(widget, points[0])
    serve(0.02)
    QTest.mousePress(widget, button, modifier, points[0])
    for point in points[1:]:
        move(widget, point, button, modifier)
        serve(0.01)
    QTest.mouseRelease(widget, button, modifier, points[-1])
    serve(0.02)


def move(widget: Any, point: Any, button: Any, modifier: Any) -> None:
    """Move the mouse with a button held: QTest's own moves have no buttons."""
    from qtpy.QtCore import QEvent, QPointF
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    event = QMouseEvent(
        QEvent.Type.MouseMove,
        QPointF(point),
        QPointF(widget.mapToGlobal(point)),
        button,
        button,
        modifier,
    )
    QApplication.sendEvent(widget, event)


def click(viewer: Any, layer: Any, voxel: Sequence[float], **options: Any) -> None:
    """Click on a voxel."""
    drag(viewer, layer, [voxel], **options)


def press(viewer: Any, key: str) -> None:
    """Press a key on the canvas, as "Ctrl+Shift+Z"."""
    from qtpy.QtCore import Qt
    from qtpy.QtGui import QKeySequence
    from qtpy.QtTest import QTest

    combination = QKeySequence(key)[0]
    widget = canvas(viewer)
    widget.setFocus(Qt.FocusReason.OtherFocusReason)
    QTest.keyClick(widget, combination.key(), combination.keyboardModifiers())
    serve(0.02)
