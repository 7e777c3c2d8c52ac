"""The window lives while the plugin loads, a volume opens and prompting begins."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_plugin import desk as desk_module
from napari_plugin import samples
from napari_plugin.reader import get_reader
from napari_plugin.widgets import desk_with_notices
from tests.napari_plugin.places import Threshold, discs, make_volume
from tests.napari_plugin.window import serve, wait_for

PROMPTING = ["propagating", "mask", "prompt shapes", "prompts"]


@pytest.fixture
def small_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a small sample made in a folder of the test's own, and its discs answer in the model's place."""

    def make(url: str) -> np.ndarray:
        volume = make_volume(url)
        for name in ("cells", "nuclei"):
            volume.create_labels(name, channel=0)
        return (discs() > 100).astype(np.uint32)

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(samples, "make_sample", make)
    monkeypatch.setattr(desk_module, "ModelProcess", lambda *_: Threshold(discs()))


class Turns:
    """In which turn of the event loop each layer was inserted."""

    def __init__(self, viewer: Any) -> None:
        from qtpy.QtCore import QTimer

        self.turn, self.of = 0, {}
        self._timer = QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._next)
        self._timer.start()
        viewer.layers.events.inserted.connect(self.inserted)

    def _next(self) -> None:
        self.turn += 1

    def inserted(self, event: Any) -> None:
        """Remember a layer's turn."""
        self.of[event.value.name] = self.turn

    def none_shared(self, names: list[str]) -> bool:
        """Tell whether these layers came in turns of their own."""
        return len({self.of[name] for name in names}) == len(names)


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any], small_sample: None) -> Iterator[Any]:
    viewer = make_napari_viewer(show=True)
    yield viewer
    desk = desk_with_notices(viewer)
    desk.leave()


def names(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers]


def test_the_window_lives_while_the_sample_opens_and_prompting_begins(
    viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(viewer)
    assert viewer.open_sample("volseg", "touching-cells") == []  # it comes later
    desk = desk_with_notices(viewer)
    wait_for(lambda: desk.session is not None or desk.notices, 240)
    assert not desk.notices
    volume = names(viewer)
    assert volume[0] == "truth" and set(volume[2:]) == {"cells", "nuclei"}
    assert turns.none_shared(volume) and viewer.layers["truth"].data.any()

    desk.use("cells")
    wait_for(lambda: desk.prompting is not None)
    assert names(viewer) == [*volume, *PROMPTING] and desk.layers.active
    assert turns.none_shared(PROMPTING)

    # what is drawn already is not drawn anew
    desk.prompting.add_point(20, 23, inside=True)
    wait_for(lambda: len(desk.layers.points.data) == 1 and desk.prompting.shown.answered)
    serve(0.1)
    drawn: list[Any] = []
    for events in desk.layers.points.events.data, desk.layers.shapes.events.data:
        events.connect(drawn.append)
    desk.layers.mask.events.set_data.connect(drawn.append)
    desk.layers.draw()
    assert not drawn

    # prompting ends: napari collects garbage when layers go, which stops the window for a moment
    collected: list[int] = []
    collect = gc.collect
    with monkeypatch.context() as patch:
        patch.setattr(gc, "collect", lambda: collected.append(collect()))
        desk.leave_labels()
    assert len(collected) == 1

    # another label image is chosen while the layers of the first are coming
    assert names(viewer) == volume
    for name in ("cells", "nuclei"):
        desk.use(name)
        wait_for(lambda: "propagating" in viewer.layers or desk.prompting is not None)
    wait_for(lambda: desk.name == "nuclei")
    assert names(viewer) == [*volume, *PROMPTING]
    told = [one.metadata["volseg"]["prompts"] for one in viewer.layers[-4:]]
    assert told == ["nuclei"] * 4

    # and one of them is deleted before all are there
    desk.leave_labels()
    desk.use("cells")
    wait_for(lambda: "propagating" in viewer.layers)
    viewer.layers.remove("propagating")
    serve(0.3)
    assert names(viewer) == volume and desk.prompting is None and not desk.notices


def test_a_volume_that_is_removed_while_its_layers_come_is_not_worked_on(
    viewer: Any, tmp_path: Path
) -> None:
    url = str(tmp_path / "v.zarr")
    make_volume(url).create_labels("cells")
    assert get_reader(url) is not None
    viewer.open(url, plugin="volseg")
    wait_for(lambda: len(viewer.layers) == 1, 240)
    desk = desk_with_notices(viewer)
    viewer.layers.clear()
    serve(0.3)
    assert not viewer.layers and desk.session is None and not desk.notices


def test_asking_for_the_reader_loads_neither_panels_nor_layers() -> None:
    """It is asked in the GUI thread, where what it imports stops the window."""
    code = (
        "import sys; import napari_plugin.reader as reader; reader.get_reader(reader.URI);"
        "print([name for name in sys.modules if name in ('napari', 'zarr', 'scipy.ndimage',"
        "'napari_plugin.desk', 'napari_plugin.layers', 'volseg.images.image')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_script_gets_the_sample_at_once(small_sample: None) -> None:
    truth, *volume = get_reader(samples.URI)(samples.URI)  # type: ignore[misc]
    assert truth[2] == "labels" and truth[0].any()
    assert [kind for _, _, kind in volume] == ["image", "labels", "labels"]
