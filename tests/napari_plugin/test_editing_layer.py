"""The editable layer without a window: painting, filling, undo and display on every level, and its fallback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels as StockLabels

from napari_plugin import layers, overrides
from napari_plugin.layers import add_session, session_of
from napari_plugin.levels import showing
from napari_plugin.session import Session, open_session
from tests.editing.making import quick_folder
from tests.napari_plugin.waiting import wait_for
from volseg.images.create import create_volume
from volseg.images.image import open_volume

SHAPE = (8, 96, 128)


def make(url: str, **options: Any) -> str:
    """Make a volume with a ramp and an empty label image."""
    place = f"{url}/v.zarr"
    volume = create_volume(
        place, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(2, 1, 1), levels=3, **options
    )
    whole = tuple((0, n) for n in SHAPE)
    ramp = np.broadcast_to(np.arange(SHAPE[2], dtype=np.uint8), SHAPE)
    volume.write(whole, ramp)
    volume.create_labels("cells", channel=0, chunks=(2, 32, 32))
    return place


@pytest.fixture
def url() -> Iterator[str]:
    """A small volume."""
    folder = quick_folder()
    yield make(folder)
    shutil.rmtree(folder)


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    """The volume, open."""
    session = open_session(url, annotator="me", flush_after=None)
    yield session
    session.close()


def labels_of(session: Session, viewer: ViewerModel | None = None) -> Any:
    """Add the layers and return that of the labels."""
    viewer = ViewerModel() if viewer is None else viewer
    return next(layer for layer in add_session(viewer, session) if layer.name == "cells")


def settled(layer: Any) -> np.ndarray:
    """Return the voxels of level 0 after all that was asked for."""
    return np.asarray(layer.data[(slice(None),) * 3])


def test_private_parts_are_there() -> None:
    assert overrides.missing_parts() == []


@pytest.mark.parametrize("what", sorted(overrides.PARTS))
def test_without_a_private_part_labels_are_read_only(
    what: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.editing("cells").apply_mask(1, np.ones((9, 9), bool), (4, 4), 3).result()
    owner, name, _ = overrides.PARTS[what]
    parts = overrides.PARTS | {what: (owner, f"{name}_gone", ())}
    monkeypatch.setattr(overrides, "PARTS", parts)
    layers.overrides.cache_clear()
    try:
        layer = labels_of(session)
    finally:
        layers.overrides.cache_clear()
    assert type(layer) is StockLabels and not layer.editable
    assert int(np.asarray(layer.data[0][1, 8, 8])) == 3
    assert session_of(layer) is session


def test_layers_show_what_is_in_memory_and_read_what_is_true(session: Session) -> None:
    viewer = ViewerModel()
    image, labels = add_session(viewer, session)
    assert type(image).__name__ == "LazyImage" and labels.editable
    assert np.array_equal(np.asarray(image.data[0][3, 10]), np.arange(128))
    with showing():
        assert np.asarray(image.data[0][3, 10]).shape == (128,)
    wait_for(lambda: session.tiles.idle)
    with showing():
        assert np.array_equal(np.asarray(image.data[0][3, 10]), np.arange(128))
        part = np.asarray(image.data[0][2:6:2, 5, 100:90:-3])
    assert np.array_equal(part, [[100, 97, 94, 91]] * 2)


def test_painting_goes_through_the_editor_and_survives_a_restart(
    session: Session, url: str
) -> None:
    layer = labels_of(session)
    layer.brush_size = 20
    layer.paint((3, 40, 50), 7)
    stock = StockLabels(np.zeros(SHAPE, np.uint32), scale=layer.scale)
    stock.brush_size = 20
    stock.paint((3, 40, 50), 7)
    assert np.array_equal(settled(layer), stock.data)
    layer.undo()
    assert not settled(layer).any()
    session.close()
    again = open_session(url, annotator="me", flush_after=None)
    layer = labels_of(again)
    layer.redo()
    assert np.array_equal(settled(layer), stock.data)
    again.close()
    assert np.array_equal(np.asarray(open_volume(url).labels["cells"].levels[0]), stock.data)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_stroke_is_seen_at_once_on_every_level(session: Session, level: int) -> None:
    viewer = ViewerModel()
    layer = labels_of(session, viewer)
    viewer.dims.set_current_step(0, 3)
    layer.locked_data_level = level
    wait_for(lambda: session.label_tiles("cells").idle)
    layer.refresh()
    layer.brush_size = 41
    with layer.block_history():
        layer.paint((3, 40, 50), 7)
        seen = layer._slice.image.raw.copy()
        assert session.editing("cells").state.unsaved == 0  # the stroke has not ended
    size = 2**level
    assert seen[40 // size, 50 // size] == 7
    assert abs((seen == 7).sum() * size**2 - 41**2 * np.pi / 4) < 60 * size
    settled(layer)
    wait_for(lambda: session.editing("cells").state.working is None)
    layer.refresh()
    assert (layer._slice.image.raw != seen).mean() < 0.02  # the pyramid's own rule, at the rim
    assert session.editing("cells").editor.undo() is not None
    assert session.editing("cells").editor.undo() is None


def test_changes_are_drawn_into_the_slice_on_the_screen(session: Session) -> None:
    viewer = ViewerModel()
    layer = labels_of(session, viewer)
    layer.locked_data_level = 0
    viewer.dims.set_current_step(0, 3)
    wait_for(lambda: session.label_tiles("cells").idle)
    layer.refresh()
    parts: list[tuple[Any, tuple[int, ...]]] = []
    layer.events.labels_update.connect(lambda event: parts.append((event.offset, event.data.shape)))
    editing = session.editing("cells")
    editing.apply_mask(3, np.ones((10, 12), bool), (20, 30), 4).result()
    layer.show_changes(0, ((3, 4), (20, 30), (30, 42)))
    assert parts == [([20, 30], (10, 12))]
    assert (layer._slice.image.raw[20:30, 30:42] == 4).all()
    layer.show_changes(0, ((5, 6), (20, 30), (30, 42)))  # another slice
    assert len(parts) == 1


def test_views_along_other_axes_are_painted_too(session: Session) -> None:
    viewer = ViewerModel()
    layer = labels_of(session, viewer)
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 40)
    layer.locked_data_level = 0
    wait_for(lambda: session.label_tiles("cells").idle)
    layer.refresh()
    layer.brush_size = 9
    layer.paint((4, 40, 50), 7)
    seen = layer._slice.image.raw.copy()
    stored = settled(layer)
    assert (stored == 7).sum() > 10 and (stored[:, 40] == 7).sum() == (stored == 7).sum()
    assert np.array_equal(seen, stored[:, 40])


def test_what_cannot_be_edited_is_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_plugin.session._editable", lambda labels: False)
    session = open_session(url, annotator="me")
    layer = labels_of(session)
    assert not layer.editable
    layer.paint((3, 40, 50), 7)
    assert not np.asarray(layer.data[0]).any()
    session.close()
