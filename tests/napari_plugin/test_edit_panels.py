"""The panels of editing and of objects in a real window, with real clicks and keys."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from napari_plugin.editing_widget import EditPanel
from napari_plugin.layers import add_volume
from napari_plugin.objects_widget import ObjectsPanel
from napari_plugin.session import Session, open_session
from tests.editing.making import quick_folder
from tests.napari_plugin.window import click, press, serve, wait_for
from volseg.images.create import create_volume
from volseg.images.image import open_volume

SHAPE = (12, 200, 240)


@pytest.fixture
def url() -> Iterator[str]:
    """A volume with an empty label image."""
    folder = quick_folder()
    create_volume(
        f"{folder}/v.zarr", axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(2, 1, 1), levels=2
    )
    open_volume(f"{folder}/v.zarr").create_labels("cells", chunks=(4, 64, 64))
    yield f"{folder}/v.zarr"
    shutil.rmtree(folder)


def opened(
    make_napari_viewer: Callable[..., Any], url: str
) -> tuple[Any, Session, EditPanel, ObjectsPanel]:
    """Open the volume with three objects and both panels."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    session = add_volume(viewer, url, annotator="me", flush_after=None, refresh_s=None)
    editing = session.editing("cells")
    for label, size in ((1, 20), (2, 40), (3, 30)):
        editing.apply_mask(3, np.ones((size, size), bool), (label * 40, label * 50), label).result()
    edit, objects = EditPanel(viewer), ObjectsPanel(viewer)
    viewer.window.add_dock_widget(edit, area="right")
    viewer.window.add_dock_widget(objects, area="right")
    viewer.layers.selection.active = viewer.layers["cells"]
    viewer.dims.set_current_step(0, 3)
    wait_for(lambda: objects.model.rowCount() == 3)
    viewer.reset_view()
    wait_for(lambda: (viewer.layers["cells"]._slice.image.raw == 2).any())
    return viewer, session, edit, objects


def test_the_table_and_the_layer_follow_each_other(
    make_napari_viewer: Callable[..., Any], url: str
) -> None:
    viewer, session, _edit, panel = opened(make_napari_viewer, url)
    layer = viewer.layers["cells"]
    layer.mode = "pick"
    click(viewer, layer, (3, 100, 120))
    rows = panel.table.selectionModel().selectedRows
    wait_for(lambda: [panel.model.rows[i.row()].id for i in rows()] == [2])
    panel.table.selectRow(2)
    wait_for(lambda: layer.selected_label == 3)
    viewer.dims.set_current_step(0, 9)
    press(viewer, "Shift+T")  # go to
    wait_for(lambda: viewer.dims.current_step[0] == 3)
    assert np.allclose(viewer.camera.center[-2:], (134, 164), atol=1)
    press(viewer, "A")
    wait_for(lambda: (panel.model.data(panel.model.index(2, 6))) == "accepted")
    wait_for(lambda: layer.selected_label == 1)  # on to the next one to do
    press(viewer, "R")
    wait_for(lambda: panel.model.data(panel.model.index(0, 6)) == "rejected")
    panel.status.setCurrentText("todo")
    wait_for(lambda: panel.model.rowCount() == 1)
    panel.status.setCurrentText("all")
    panel.class_.setText("nucleus")
    panel.class_.returnPressed.emit()
    wait_for(lambda: panel.model.data(panel.model.index(1, 1)) == "nucleus")
    panel.table.selectRow(0)
    press(viewer, "Alt+1")
    wait_for(lambda: panel.model.data(panel.model.index(0, 1)) == "nucleus")
    panel.table.horizontalHeader().sectionClicked.emit(3)
    wait_for(lambda: [row.id for row in panel.model.rows] == [1, 3, 2])
    press(viewer, "Shift+O")
    wait_for(lambda: viewer.dims.ndisplay == 3 and layer.show_selected_label)
    press(viewer, "Shift+O")
    wait_for(lambda: viewer.dims.ndisplay == 2 and not layer.show_selected_label)
    panel.views["y"].click()
    assert viewer.dims.order == (1, 0, 2)
    session.close()


def test_tools_by_key_and_button(make_napari_viewer: Callable[..., Any], url: str) -> None:
    viewer, session, edit, panel = opened(make_napari_viewer, url)
    layer, editor = viewer.layers["cells"], session.editing("cells").editor
    assert panel._shown is not None
    panel._shown.select([2, 3])
    press(viewer, "Shift+M")
    wait_for(lambda: not (editor[3] == 3).any())
    layer.selected_label = 2
    press(viewer, "S")
    points = next(one for one in viewer.layers if one.name.startswith("parts"))
    serve(0.1)
    click(viewer, points, (3, 100, 120))
    click(viewer, points, (3, 135, 165))
    assert len(points.data) == 2
    press(viewer, "S")
    wait_for(lambda: len(np.unique(editor[3])) == 4)
    assert points not in viewer.layers
    edit.undo.click()
    wait_for(lambda: len(np.unique(editor[3])) == 3)
    press(viewer, "M")
    wait_for(lambda: layer.selected_label > 3)
    layer.selected_label = 1
    panel._shown.select([1])
    session.editing("cells").apply_mask(7, np.ones((20, 20), bool), (40, 50), 1).result()
    press(viewer, "I")
    wait_for(lambda: (editor[5] == 1).sum() == 400)
    press(viewer, "Shift+D")
    wait_for(lambda: not (editor[:] == 1).any())
    edit.save.click()
    wait_for(lambda: edit.state.text() == "synced")
    session.close()


def test_a_conflict_is_shown_with_who_and_where_and_a_choice(
    make_napari_viewer: Callable[..., Any], url: str
) -> None:
    viewer, session, edit, _panel = opened(make_napari_viewer, url)
    edit.save.click()
    wait_for(lambda: edit.state.text() == "synced")
    other = open_session(url, annotator="you", flush_after=None)
    other.editing("cells").apply_mask(3, np.ones((9, 9), bool), (45, 55), 8, protect=False).result()
    other.editing("cells").flush().result()
    layer = viewer.layers["cells"]
    layer.selected_label, layer.brush_size, layer.mode = 9, 8, "paint"
    edit.protect.setChecked(False)  # it paints over object 1
    click(viewer, layer, (3, 50, 60))
    wait_for(lambda: edit.state.text().startswith("1 unsaved"))
    edit.save.click()
    wait_for(lambda: edit.conflict.isVisible())
    assert "you" in edit.clashes.toPlainText() and "chunk" in edit.clashes.toPlainText()
    assert "conflict" in edit.state.text()
    edit.mine.click()
    wait_for(lambda: edit.state.text() == "synced" and not edit.conflict.isVisible())
    assert np.asarray(open_volume(url).labels["cells"].levels[0])[3, 50, 60] == 9
    other.close()
    session.close()
