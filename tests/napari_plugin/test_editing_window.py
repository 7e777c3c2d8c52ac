"""Editing in a real window, with real mouse and key events, on the S3 server and in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from napari_plugin.layers import add_volume, session_of
from napari_plugin.reader import get_reader
from tests.editing.making import quick_folder
from tests.napari_plugin.window import canvas, click, drag, move, press, serve, wait_for
from volseg.editing import history
from volseg.images.create import create_volume
from volseg.images.image import open_volume

SHAPE = (8, 256, 320)


def make(place: str) -> str:
    """Make a volume with an empty label image per channel."""
    url = f"{place}/v.zarr"
    volume = create_volume(
        url,
        axes="czyx",
        shape=(2, *SHAPE),
        dtype="uint8",
        scale_um=(2, 1, 1),
        channels=["membrane", "nuclei"],
        levels=3,
    )
    volume.create_labels("cells", channel=0, chunks=(2, 64, 64))
    volume.create_labels("dots", channel=1, chunks=(2, 64, 64))
    return url


@pytest.fixture
def url() -> Iterator[str]:
    """The volume in a folder."""
    folder = quick_folder()
    yield make(folder)
    shutil.rmtree(folder)


def opened(make_napari_viewer: Callable[..., Any], url: str) -> tuple[Any, Any]:
    """Open the volume in a window, at slice 3, and return viewer and label layer."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(900, 700)
    session = add_volume(viewer, url, annotator="me", flush_after=0.2, refresh_s=None)
    viewer.dims.set_current_step(0, 3)
    viewer.reset_view()
    wait_for(lambda: session.editing("cells").is_open)
    layer = viewer.layers["cells"]
    viewer.layers.selection.active = layer
    serve(0.2)
    return viewer, layer


def synced(session: Any) -> bool:
    """Whether everything is stored."""
    return all(session.editing(name).state.synced for name in ("cells", "dots"))


def stored(url: str, name: str = "cells") -> np.ndarray:
    """The voxels of level 0 in the store."""
    return np.asarray(open_volume(url).labels[name].levels[0])


def test_paint_undo_close_reopen_redo(make_napari_viewer: Callable[..., Any], s3_url: str) -> None:
    url = make(s3_url)
    viewer, layer = opened(make_napari_viewer, url)
    session = session_of(viewer)
    assert session is not None
    layer.selected_label, layer.brush_size, layer.mode = 7, 20, "paint"
    drag(viewer, layer, [(3, 100, x) for x in range(80, 200, 10)])
    wait_for(lambda: synced(session) and (stored(url) == 7).any())
    painted = stored(url)
    assert (painted[3, 100, 80:190] == 7).all() and not painted[[0, 1, 2, 4, 5, 6, 7]].any()
    # the screen shows it
    picture = viewer.screenshot(canvas_only=True, flash=False)
    colour = layer.get_color(7)[:3] * 255 * layer.opacity
    assert (np.abs(picture[..., :3].astype(float) - colour) < 12).all(-1).mean() > 0.005
    # a second stroke, taken back by key
    layer.selected_label = 8
    drag(viewer, layer, [(3, 180, x) for x in range(80, 200, 10)])
    wait_for(lambda: synced(session) and (stored(url) == 8).any())
    press(viewer, "Ctrl+Z")
    wait_for(lambda: synced(session) and not (stored(url) == 8).any())
    press(viewer, "Ctrl+Z")
    wait_for(lambda: synced(session) and not stored(url).any())
    wait_for(lambda: not layer._slice.image.raw.any())
    viewer.layers.clear()
    wait_for(lambda: session.is_closed)
    session.close()

    again, layer = opened(lambda **_: viewer, url)
    session = session_of(again)
    assert session is not None
    press(again, "Ctrl+Shift+Z")
    wait_for(lambda: synced(session) and np.array_equal(stored(url), painted))
    wait_for(lambda: (layer._slice.image.raw == 7).any())
    kinds = [entry.kind for entry in history(open_volume(url).labels["cells"])]
    assert sorted(kinds) == ["paint", "paint", "redo", "undo", "undo"]
    session.close()


def test_tools_by_mouse(make_napari_viewer: Callable[..., Any], url: str) -> None:
    viewer, layer = opened(make_napari_viewer, url)
    session = session_of(viewer)
    assert session is not None
    editor = session.editing("cells").editor
    layer.brush_size, layer.selected_label, layer.mode = 30, 3, "paint"
    drag(viewer, layer, [(3, 60, 60), (3, 60, 140)])
    assert layer.preserve_labels
    layer.selected_label = 4
    drag(viewer, layer, [(3, 40, 100), (3, 120, 100)])
    wait_for(lambda: editor[3, 100, 100] == 4)  # all of the stroke
    assert editor[3, 60, 100] == 3 and editor[3, 100, 100] == 4  # 3 was protected
    layer.preserve_labels, layer.mode = False, "pick"
    click(viewer, layer, (3, 60, 70))
    assert layer.selected_label == 3
    layer.mode, layer.selected_label = "fill", 9
    click(viewer, layer, (3, 60, 70))
    wait_for(lambda: not (editor[3] == 3).any())
    assert editor[3, 60, 140] == 9
    wait_for(lambda: layer.get_value((6, 60, 70), world=True)[1] == 9)
    layer.mode = "erase"
    drag(viewer, layer, [(3, 60, 50), (3, 60, 90)])
    wait_for(lambda: editor[3, 60, 70] == 0)
    layer.mode, layer.selected_label = "polygon", 12
    for corner in [(3, 150, 150), (3, 150, 250), (3, 220, 250), (3, 220, 150)]:
        click(viewer, layer, corner)
    press(viewer, "Return")
    wait_for(lambda: editor[3, 180, 200] == 12)
    assert not editor[[0, 1, 2, 4, 5, 6, 7]].any()
    assert not session.editing("dots").editor[...].any()
    session.close()


def test_masks_follow_their_channel(make_napari_viewer: Callable[..., Any], url: str) -> None:
    viewer, cells = opened(make_napari_viewer, url)
    dots, membrane, nuclei = (viewer.layers[name] for name in ("dots", "membrane", "nuclei"))
    membrane.visible = False
    assert not cells.visible and dots.visible
    membrane.visible = True
    assert cells.visible
    viewer.layers.selection.active = nuclei
    assert dots.visible and not cells.visible
    viewer.layers.selection.active = membrane
    assert cells.visible and not dots.visible
    viewer.layers.selection.active = cells
    assert cells.visible and dots.visible
    dots.visible = False  # hidden by hand: stays hidden
    membrane.visible = False
    membrane.visible = True
    assert cells.visible and not dots.visible
    session = session_of(viewer)
    assert session is not None
    session.close()


def test_the_reader_opens_for_editing_in_a_window(
    make_napari_viewer: Callable[..., Any], url: str
) -> None:
    viewer = make_napari_viewer(show=True)
    read = get_reader(url)
    assert read is not None
    assert read(url) == [(None,)]  # napari's sign that somebody takes care of it
    wait_for(lambda: len(viewer.layers) == 4)
    assert viewer.layers["cells"].editable
    session = session_of(viewer)
    assert session is not None
    viewer.layers.clear()
    wait_for(lambda: session.is_closed)
    session.close()


def test_labels_on_a_coarser_grid_are_seen_and_painted_where_the_image_is(
    make_napari_viewer: Callable[..., Any], url: str
) -> None:
    volume = open_volume(url, writable=True)
    image = np.zeros(SHAPE, np.uint8)
    image[:, 100:140, 60:200] = 200
    volume.write(((0, 8), (0, 256), (0, 320)), image)
    volume.create_labels("coarse", level=1, channel=0, chunks=(2, 32, 32))
    viewer, _ = opened(make_napari_viewer, url)
    session = session_of(viewer)
    assert session is not None
    layer, membrane = viewer.layers["coarse"], viewer.layers["membrane"]
    factors = np.divide(SHAPE, layer.data.shape)
    assert factors.prod() > 1 and layer.editable
    # a coarse voxel covers the fine ones that it was made of
    for voxel in ((0, 0, 0), (3, 50, 70)):
        world = np.asarray(layer.data_to_world(voxel))
        corner = np.asarray(membrane.data_to_world(np.multiply(voxel, factors)))
        spans = (factors - 1) / 2 * np.asarray(membrane.scale)
        assert np.allclose(world, corner + spans)
    viewer.layers.selection.active = layer
    layer.selected_label, layer.brush_size, layer.mode = 5, 20, "paint"
    drag(viewer, membrane, [(3, 120, x) for x in range(80, 190, 10)])
    session.editing("coarse").flush().result()
    z, y, x = np.nonzero(stored(url, "coarse") == 5)
    assert set(z) == {int(3 // factors[0])}
    middle = [(v.min() + v.max() + 1) / 2 * f for v, f in zip((y, x), factors[1:], strict=True)]
    assert np.allclose(middle, (120.5, 130.5), atol=2)
    # prompts need the image's own grid, and a notice says so
    from napari_plugin.widgets import desk_with_notices

    desk = desk_with_notices(viewer)
    desk.use("coarse")
    wait_for(lambda: bool(desk.notices))
    assert "make a label image without a level" in desk.notices[0].text
    desk.leave()
    session.close()


def test_in_3d_the_brush_says_where_it_works_and_waits_for_nothing(
    make_napari_viewer: Callable[..., Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.utils.notifications import notification_manager

    viewer, layer = opened(make_napari_viewer, url)
    session = session_of(viewer)
    assert session is not None
    layer.brush_size, layer.selected_label, layer.mode = 60, 3, "paint"
    drag(viewer, layer, [(3, 100, 100), (3, 100, 160)])
    wait_for(lambda: synced(session) and (stored(url) == 3).any())
    before = stored(url)

    viewer.dims.ndisplay = 3
    wait_for(lambda: session.label_tiles("cells").idle)
    serve(0.3)
    assert (layer._slice.image.raw == 3).any()  # the object is there to be hit
    asked: list[str] = []
    submit = session.editing("cells").submit

    def watched(function: Any, what: str, *more: Any, **options: Any) -> Any:
        asked.append(what)
        return submit(function, what, *more, **options)

    monkeypatch.setattr(session.editing("cells"), "submit", watched)
    middle = canvas(viewer).rect().center()
    told = len(notification_manager.records)
    for mode, label in (("paint", 9), ("erase", 9), ("fill", 9)):
        layer.mode, layer.selected_label = mode, label
        drag_at(viewer, middle)
    assert asked == []  # nothing was asked of the editor, so nothing waited for the store
    messages = [record.message for record in notification_manager.records[told:]]
    assert len(messages) == 3 and all("2D view" in message for message in messages)
    layer.mode = "pick"
    drag_at(viewer, middle)
    assert layer.selected_label in (0, 3)

    # scripts may paint: the voxels that are shown are coarse, those that are stored are exact
    layer.n_edit_dimensions, layer.preserve_labels, layer.brush_size = 2, False, 20
    layer.paint((3, 200, 250), 12)
    viewer.dims.ndisplay = 2
    wait_for(lambda: synced(session) and (stored(url) == 12).any())
    after = stored(url)
    assert (after[3] == 12).sum() > 250 and not (after[[0, 1, 2, 4, 5, 6, 7]] == 12).any()
    assert np.array_equal(np.where(after == 12, 0, after), before)
    # back in 2D the brush works
    layer.selected_label, layer.mode = 4, "paint"
    drag(viewer, layer, [(3, 30, 30), (3, 30, 80)])
    wait_for(lambda: synced(session) and (stored(url) == 4).any())
    session.close()


def drag_at(viewer: Any, point: Any) -> None:
    """Press, move and release at a place of the canvas, whatever is shown there."""
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    widget, button, none = (
        canvas(viewer),
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QTest.mouseMove(widget, point)
    QTest.mousePress(widget, button, none, point)
    move(widget, point + QPoint(6, 0), button, none)
    QTest.mouseRelease(widget, button, none, point + QPoint(6, 0))
    serve(0.05)
