"""Stepping through slices: the slice is there at once, drawn in the next turn of the event loop, and never stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_plugin.layers import add_volume
from tests.napari_plugin.window import serve, wait_for
from volseg.images.create import create_volume

SHAPE = (12, 96, 128)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A volume whose slices get brighter, and the same as labels."""
    url = str(tmp_path / "v.zarr")
    volume = create_volume(url, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(2, 1, 1))
    data = np.broadcast_to(20 * np.arange(SHAPE[0], dtype=np.uint8)[:, None, None], SHAPE)
    whole = ((0, SHAPE[0]), (0, SHAPE[1]), (0, SHAPE[2]))
    volume.write(whole, np.ascontiguousarray(data))
    volume.create_labels("cells", chunks=(2, 64, 64)).write_objects(
        whole, np.ascontiguousarray(data // 20).astype(np.uint32)
    )
    return url


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any], url: str) -> Any:
    """The volume in a window, all of it in memory."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(700, 600)
    session = add_volume(viewer, url, annotator="me", refresh_s=None)
    viewer.layers[0].contrast_limits = (0, 255)
    viewer.reset_view()
    for z in range(SHAPE[0]):
        viewer.dims.set_current_step(0, z)
        wait_for(lambda: session.tiles.idle and session.label_tiles("cells").idle)
    viewer.dims.set_current_step(0, 0)
    serve(0.6)
    yield viewer
    session.close()


def grey(viewer: Any) -> int:
    """What a screenshot has in its middle."""
    picture = viewer.screenshot(canvas_only=True, flash=False)
    return int(picture[picture.shape[0] // 2, picture.shape[1] // 2, 0])


def test_steps_that_come_fast_are_drawn_once(viewer: Any) -> None:
    image, labels = viewer.layers
    told: list[str] = []
    thumbnails: list[str] = []
    for layer in (image, labels):
        layer.events.set_data.connect(lambda event: told.append(event.source.name))
        layer.events.thumbnail.connect(lambda event: thumbnails.append(event.source.name))
    for z in range(1, 8):
        viewer.dims.set_current_step(0, z)
        assert (image._slice.image.raw == 20 * z).all()  # there at once
        assert (labels._slice.image.raw == z).all()
    assert told == [] and thumbnails == []
    wait_for(lambda: sorted(told) == ["cells", "v.zarr"])
    wait_for(lambda: sorted(thumbnails) == ["cells", "v.zarr"])  # once scrolling rests
    viewer.dims.set_current_step(0, 9)
    wait_for(lambda: len(told) == 4)


def test_a_step_leaves_the_rows_of_the_list_of_layers_alone(viewer: Any) -> None:
    rows: list[str] = []
    viewer.layers.events.connect(lambda event: rows.append(event.type))
    drawn: list[Any] = []
    viewer.layers[0].events.set_data.connect(drawn.append)
    viewer.dims.set_current_step(0, 6)
    wait_for(lambda: len(drawn) == 1)
    assert rows == []
    wait_for(lambda: rows.count("thumbnail") == 2)  # once scrolling rests
    # the same for what comes into memory meanwhile
    serve(0.1)
    del rows[:]
    for layer in viewer.layers:
        layer.show_loaded()
    assert len(drawn) == 2 and rows == []
    wait_for(lambda: rows == ["thumbnail", "thumbnail"])


def test_a_screenshot_right_after_a_step_shows_the_new_slice(viewer: Any) -> None:
    viewer.layers["cells"].visible = False
    for z in (3, 10, 0, 7):
        viewer.dims.set_current_step(0, z)
        assert abs(grey(viewer) - 20 * z) <= 2
    # a layer that is shown again shows the slice in view
    image = viewer.layers[0]
    image.visible = False
    viewer.dims.set_current_step(0, 5)
    serve(0.1)
    image.visible = True
    serve(0.1)
    assert abs(grey(viewer) - 100) <= 2


def test_another_plane_and_3d_are_drawn_at_once(viewer: Any) -> None:
    image = viewer.layers[0]
    told: list[Any] = []
    image.events.set_data.connect(told.append)
    viewer.dims.order = (1, 0, 2)
    assert told and image._slice.image.raw.shape == (SHAPE[0], SHAPE[2])
    del told[:]
    viewer.dims.ndisplay = 3
    assert told and image._slice.image.raw.ndim == 3
    viewer.dims.ndisplay = 2
    viewer.dims.order = (0, 1, 2)
    viewer.dims.set_current_step(0, 4)
    serve(0.1)
    viewer.layers["cells"].visible = False
    assert abs(grey(viewer) - 80) <= 2
