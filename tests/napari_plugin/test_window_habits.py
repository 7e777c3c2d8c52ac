"""What people do in the window without thinking: keys from anywhere, small screens, layers deleted, double clicks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_plugin.editing_widget import EditPanel
from napari_plugin.objects_widget import ObjectsPanel
from napari_plugin.opening import Place, Places
from napari_plugin.widgets import OpenWidget, PromptWidget, desk_with_notices
from tests.napari_plugin.places import discs, make_volume
from tests.napari_plugin.window import canvas, click, move, place, press, serve, wait_for


@pytest.fixture
def url(tmp_path: Path) -> str:
    volume = make_volume(str(tmp_path / "v.zarr"))
    truth = volume.create_labels("truth")
    whole = ((0, 10), (0, 64), (0, 80))
    truth.write_objects(whole, np.where(discs() == 170, 1, 0).astype(np.uint32))
    cells = volume.create_labels("cells")
    ids = np.zeros((10, 64, 80), np.uint32)
    ids[2:5, 10:30, 20:44] = 7
    cells.write_objects(whole, ids)
    from volseg.images.scan import scan_objects

    cells.objects.replace(scan_objects(cells))
    return str(tmp_path / "v.zarr")


def opened(make_napari_viewer: Callable[..., Any], url: str, tmp_path: Path) -> tuple[Any, Any]:
    """Open the volume as the panel does it, with the true labels in the model's place."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1000, 650)
    desk = desk_with_notices(viewer)
    desk.places = Places(tmp_path / "places.json")
    desk.open(Place(url))
    wait_for(lambda: desk.session is not None)
    desk.choose({"kind": "oracle", "url": url, "name": "truth"}, 1.0)
    viewer.reset_view()
    return viewer, desk


def prompt_in(desk: Any, name: str) -> None:
    desk.use(name)
    wait_for(lambda: desk.prompting is not None and desk.name == name)
    wait_for(lambda: desk.prompting.object_id is not None)


def type_key(widget: Any, key: str) -> None:
    """Press a key while a control has the focus."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    widget.setFocus(Qt.FocusReason.MouseFocusReason)
    QTest.keyClicks(widget, key)
    serve(0.02)


def names(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers]


def end(desk: Any) -> None:
    session = desk.session
    desk.leave()
    serve(0.1)
    session.close()


def test_keys_work_wherever_the_focus_is_and_panels_fit_a_small_screen(
    make_napari_viewer: Callable[..., Any], url: str, tmp_path: Path
) -> None:
    from qtpy.QtWidgets import QPushButton

    viewer, desk = opened(make_napari_viewer, url, tmp_path)
    cells = viewer.layers["cells"]
    viewer.layers.selection.active = cells
    press(viewer, "M")  # no panel was opened yet
    wait_for(lambda: cells.selected_label > 7)

    before = viewer.window._qt_window.height()
    prompting, edit, objects = PromptWidget(viewer), EditPanel(viewer), ObjectsPanel(viewer)
    for panel in (prompting, edit, objects):
        viewer.window.add_dock_widget(panel, area="right")
    serve(0.2)
    assert viewer.window._qt_window.height() <= before

    prompt_in(desk, "cells")
    assert (
        desk.layers.active
    )  # the layer of prompts is selected, and the panels stay with its labels
    assert "cells" in edit.name.text()
    wait_for(lambda: [row.id for row in objects.model.rows] == [7])

    viewer.layers.selection.active = cells
    for control in (prompting.labels, prompting.zoom, prompting.model, prompting.where):
        was = cells.selected_label
        type_key(control, "m")
        wait_for(lambda was=was: cells.selected_label != was)
    assert prompting.zoom.value() == 1 and prompting.model.text()[-1:] != "m"
    type_key(objects.table, "m")
    type_key(objects.text, "m")  # here a person types
    assert objects.text.text() == "m"
    objects.text.clear()
    objects.table.selectRow(0)
    type_key(objects.table, "a")
    wait_for(lambda: objects.model.rows[0].status == "accepted")

    # napari's own button for new labels gives ids that are free
    was = cells.selected_label
    controls = viewer.window._qt_viewer.controls
    button = next(one for one in controls.findChildren(QPushButton, "newLabelButton"))
    wait_for(lambda: bool(button.property("volseg")))
    button.click()
    wait_for(lambda: cells.selected_label > was)
    end(desk)


def test_layers_that_are_deleted_while_prompting(
    make_napari_viewer: Callable[..., Any], url: str, tmp_path: Path
) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    viewer, desk = opened(make_napari_viewer, url, tmp_path)
    prompt_in(desk, "cells")
    said: list[str] = []
    desk.said.connect(said.append)
    viewer.layers.remove("cells")
    wait_for(lambda: "cells" in names(viewer))  # what is accepted must be seen
    assert said and "prompting in cells" in said[0]
    assert desk.layers.active and names(viewer).index("cells") < names(viewer).index("mask")

    # a box is seen while it is drawn, and is drawn in the colours of 8-bit ids, which need no compiling
    viewer.dims.set_point(0, 3.0)
    serve(0.05)
    shift, button = Qt.KeyboardModifier.ShiftModifier, Qt.MouseButton.LeftButton
    start, middle = (place(viewer, desk.layers.points, one) for one in ((3, 30, 40), (3, 52, 66)))
    QTest.mousePress(canvas(viewer), button, shift, start)
    move(canvas(viewer), middle, button, shift)
    serve(0.02)
    assert len(desk.layers.shapes.data) == 1 and desk.prompting.shown.marks.box is None
    QTest.mouseRelease(canvas(viewer), button, shift, middle)
    serve(0.02)
    assert desk.prompting.shown.marks.box is not None
    wait_for(lambda: desk.prompting.shown.mask is not None, 120)
    assert desk.layers.mask.data.dtype == np.uint8

    viewer.layers.remove("mask")
    wait_for(lambda: not {"mask", "prompts", "prompt shapes", "propagating"} & set(names(viewer)))
    assert desk.name is None
    viewer.layers.remove("cells")
    prompt_in(desk, "cells")  # chosen again, it is there again, once
    assert names(viewer).count("cells") == names(viewer).count("prompts") == 1
    end(desk)


def test_a_volume_is_opened_once_and_a_wrong_model_is_told_once(
    make_napari_viewer: Callable[..., Any], url: str, tmp_path: Path
) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    viewer = make_napari_viewer(show=True)
    opening, prompting = OpenWidget(viewer), PromptWidget(viewer)
    for panel in (opening, prompting):
        viewer.window.add_dock_widget(panel, area="right")
    desk = desk_with_notices(viewer)
    desk.places = Places(tmp_path / "places.json")
    opening.url.setFocus()
    QTest.keyClicks(opening.url, url)  # typed: no letter is taken for a key of the window
    assert opening.url.currentText() == url
    QTest.mouseDClick(opening.open_button, Qt.MouseButton.LeftButton)
    QTest.mouseClick(opening.open_button, Qt.MouseButton.LeftButton)
    wait_for(lambda: desk.session is not None)
    first = names(viewer)
    said: list[str] = []
    desk.said.connect(said.append)
    QTest.keyClick(opening.url.lineEdit(), Qt.Key.Key_Return)  # once more, later
    wait_for(lambda: bool(said))
    serve(0.3)
    assert names(viewer) == first and first.count("cells") == 1

    prompt_in(desk, "cells")
    QTest.mouseClick(prompting.model, Qt.MouseButton.LeftButton)
    QTest.keyClick(prompting.model, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(prompting.model, "vit_x")
    QTest.keyClick(prompting.model, Qt.Key.Key_Return)
    wait_for(lambda: bool(desk.notices))
    for z in (1, 4, 8):
        viewer.dims.set_point(0, float(z))
        serve(0.3)
    assert len(desk.notices) == 1 and "vit_x" in desk.notices[0].text
    assert desk.model_name == "nano"
    wait_for(lambda: prompting.model.text() == "nano")
    end(desk)


def test_the_least_sure_slice_is_told_on_the_panel_and_progress_ends_full(
    make_napari_viewer: Callable[..., Any], url: str, tmp_path: Path
) -> None:
    viewer, desk = opened(make_napari_viewer, url, tmp_path)
    panel, objects = PromptWidget(viewer), ObjectsPanel(viewer)
    for one in (panel, objects):
        viewer.window.add_dock_widget(one, area="right")
    prompt_in(desk, "cells")
    viewer.dims.set_point(0, 3.0)
    serve(0.05)
    click(viewer, desk.layers.points, (3, 44, 55))
    wait_for(lambda: desk.prompting.shown.mask is not None, 120)
    object_id = desk.prompting.object_id
    press(viewer, "K")
    wait_for(lambda: desk.prompting.book.slices_of(object_id) == [3])
    shares: list[float] = []
    desk.running.changed.connect(lambda state: shares.append(state.done / state.total))
    finished: list[Any] = []
    desk.running.finished.connect(lambda ids, count: finished.append(ids))
    press(viewer, "G")
    wait_for(lambda: bool(finished or desk.notices), 240)
    assert not desk.notices, desk.notices
    assert shares == sorted(shares) and shares[-1] == 1
    wait_for(lambda: panel.status.text() == "done" and panel.bar.text() == "100%")

    # the table has what was found
    rows = {row.id: row.voxels for row in objects.model.rows}
    whole = int((discs() == 170).sum())
    wait_for(lambda: {r.id: r.voxels for r in objects.model.rows}.get(object_id) == whole)
    assert rows[7] == 3 * 20 * 24

    press(viewer, "H")
    serve(0.1)
    assert f"object {object_id}, slice {desk.prompting.z}: confidence" in panel.about.text()
    end(desk)
