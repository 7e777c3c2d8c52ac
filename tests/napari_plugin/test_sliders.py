"""Time and channels by sliders: a volume of t, c, z, y, x, seen, painted and prompted at one time and channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_plugin.layers import add_volume
from napari_plugin.opening import Place
from napari_plugin.session import Session
from tests.napari_plugin.window import drag, serve, wait_for
from volseg.images.create import create_volume
from volseg.images.image import open_volume

TIMES, CHANNELS, SHAPE = 3, 2, (4, 96, 128)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A volume whose voxels tell their time, channel and slice."""
    url = str(tmp_path / "v.zarr")
    volume = create_volume(
        url,
        axes="tczyx",
        shape=(TIMES, CHANNELS, *SHAPE),
        dtype="uint8",
        scale_um=(2, 1, 1),
        channels=["membrane", "nuclei"],
        levels=2,
    )
    whole = ((0, SHAPE[0]), (0, SHAPE[1]), (0, SHAPE[2]))
    for time in range(TIMES):
        for channel in range(CHANNELS):
            data = np.zeros(SHAPE, np.uint8)
            data[:] = value(time, channel, np.arange(SHAPE[0]))[:, None, None]
            for level in volume.levels:
                z, y, x = level.grid.shape
                block = data[:, :y, :x]
                volume.write(
                    ((0, z), (0, y), (0, x)), block, level=level.index, time=time, channel=channel
                )
    volume.create_labels("cells", channel=0, chunks=(2, 64, 64))
    volume.create_labels("dots", channel=1, chunks=(2, 64, 64))
    assert whole[0] == (0, 4)
    return url


def value(time: int, channel: int, z: Any) -> Any:
    """What a voxel holds."""
    return 100 * channel + 20 * time + z + 1


class Window:
    """A window on the volume."""

    def __init__(self, make_napari_viewer: Callable[..., Any], url: str, *, slider: bool) -> None:
        self.url = url
        self.viewer = make_napari_viewer(show=True)
        self.viewer.window.resize(900, 700)
        self.session: Session = add_volume(
            self.viewer, url, annotator="me", refresh_s=None, channel_slider=slider
        )
        self.viewer.reset_view()
        wait_for(lambda: self.session.editing("cells").is_open)
        serve(0.2)

    def shown(self, name: str) -> set[int]:
        """The values on the screen of a layer, once all is there."""
        wait_for(lambda: self.session.tiles.idle)
        layer = self.viewer.layers[name]
        layer.refresh()
        return set(np.unique(layer._slice.image.raw).tolist())

    def stored(self, name: str, time: int) -> np.ndarray:
        """Level 0 of a label image in the store."""
        wait_for(lambda: self.session.editing(name).state.synced)
        return np.asarray(open_volume(self.url).labels[name].levels[0])[time]

    def paint(self, name: str, at: tuple[int, ...], label: int) -> None:
        """Draw a line with the mouse."""
        layer = self.viewer.layers[name]
        self.viewer.layers.selection.active = layer
        layer.selected_label, layer.brush_size, layer.mode = label, 12, "paint"
        drag(self.viewer, layer, [(*at, 50, x) for x in range(40, 90, 10)])
        self.session.editing(name).flush().result()


@pytest.fixture
def opened(make_napari_viewer: Callable[..., Any], url: str) -> Iterator[Callable[..., Window]]:
    """Opens windows."""
    windows: list[Window] = []

    def open_one(*, slider: bool) -> Window:
        windows.append(Window(make_napari_viewer, url, slider=slider))
        return windows[-1]

    yield open_one
    for one in windows:
        one.session.close()


def test_time_by_a_slider_and_channels_as_layers(opened: Callable[..., Window]) -> None:
    window = opened(slider=False)
    viewer = window.viewer
    assert [layer.name for layer in viewer.layers] == ["membrane", "nuclei", "cells", "dots"]
    assert viewer.dims.nsteps[:2] == (TIMES, SHAPE[0])
    for time, z in ((0, 0), (2, 1), (1, 3)):
        viewer.dims.set_current_step((0, 1), (time, z))
        assert window.shown("membrane") == {value(time, 0, z)}
        assert window.shown("nuclei") == {value(time, 1, z)}
    window.paint("cells", (1, 3), 7)
    found = window.stored("cells", 1)
    assert (found[3] == 7).sum() > 100 and not found[:3].any()
    assert not window.stored("cells", 0).any() and not window.stored("cells", 2).any()
    viewer.dims.set_current_step(0, 2)
    assert window.shown("cells") == {0}
    viewer.dims.set_current_step(0, 1)
    assert window.shown("cells") == {0, 7}


def test_channels_by_a_slider(opened: Callable[..., Window]) -> None:
    window = opened(slider=True)
    viewer = window.viewer
    assert [layer.name for layer in viewer.layers] == ["v.zarr", "cells", "dots"]
    assert viewer.dims.nsteps[:3] == (CHANNELS, TIMES, SHAPE[0])
    assert viewer.dims.axis_labels[:3] == ("c", "t", "z")
    for channel, time, z in ((0, 1, 2), (1, 2, 0), (1, 0, 3), (0, 0, 3)):
        viewer.dims.set_current_step((0, 1, 2), (channel, time, z))
        assert window.shown("v.zarr") == {value(time, channel, z)}
        # masks are those of the channel in view
        assert viewer.layers["cells"].visible == (channel == 0)
        assert viewer.layers["dots"].visible == (channel == 1)
    viewer.dims.set_current_step((0, 1, 2), (1, 2, 1))
    window.paint("dots", (2, 1), 5)
    found = window.stored("dots", 2)
    assert (found[1] == 5).sum() > 100 and not found[[0, 2, 3]].any()
    assert not window.stored("dots", 0).any() and not window.stored("cells", 2).any()


def test_prompts_go_to_the_time_and_channel_in_view(opened: Callable[..., Window]) -> None:
    from napari_plugin.widgets import PromptWidget, desk_with_notices

    window = opened(slider=True)
    viewer = window.viewer
    desk = desk_with_notices(viewer)
    viewer.layers.selection.active = viewer.layers["v.zarr"]
    viewer.dims.set_current_step((0, 1, 2), (1, 2, 3))
    panel = PromptWidget(viewer)
    panel.make("new")
    wait_for(lambda: desk.prompting is not None)
    assert open_volume(window.url).labels["new"].channel == 1
    assert desk.prompting is not None
    assert (desk.prompting.z, desk.prompting.time) == (3, 2)
    assert desk.choice().channel == 1
    viewer.dims.set_current_step(0, 0)
    assert desk.prompting.time == 2
    viewer.dims.set_current_step(1, 1)
    assert desk.prompting.time == 1
    desk.leave()


def test_the_choice_is_remembered(tmp_path: Path) -> None:
    from napari_plugin.opening import Places, checked

    places = Places(tmp_path / "places.json")
    places.remember(checked(Place(" /x.zarr ", channel_slider=True)))
    assert places.all() == [Place("/x.zarr", channel_slider=True)]
