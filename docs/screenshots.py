"""Makes the pictures of docs/napari.md: a real window over small volumes, driven as a person would. `make screenshots`.

Where no screen is, a virtual one is started (Xvfb).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent / "images"
SIZE = (1180, 760)
COLOURS = 192  # of the pictures' palettes: they stay small


def main(wanted: list[str]) -> int:
    """Make the pictures of some scenes (``tutorial``, ``channels``), of all by default; returns the exit status."""
    scenes = {"tutorial": _tutorial, "channels": _channels}
    unknown = sorted(set(wanted) - set(scenes))
    if unknown:
        print(f"no scene {', '.join(unknown)}; there are {', '.join(scenes)}", file=sys.stderr)
        return 2
    screen = None if os.environ.get("DISPLAY") else _virtual_screen()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "NAPARI_CONFIG": str(Path(folder) / "napari.yaml"),
            "XDG_CONFIG_HOME": folder,
            "XDG_DATA_HOME": folder,
        }
        FOLDER.mkdir(exist_ok=True)
        try:
            for name in wanted or scenes:
                scenes[name](Path(folder))
        finally:
            if screen is not None:
                screen.terminate()
    return 0


def _virtual_screen() -> subprocess.Popen[bytes]:
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1400x900x24"]
    process = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as told:
        os.environ["DISPLAY"] = f":{told.readline().strip()}"
    return process


def _viewer() -> Any:
    import napari

    from napari_plugin.widgets import PromptWidget

    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    viewer.window.add_dock_widget(PromptWidget(viewer), name="Prompt and propagate")
    return viewer


def _tutorial(folder: Path) -> None:
    """Sample → prompts → mask → propagation → the least confident slice."""
    from napari_plugin.desk import desk_of
    from napari_plugin.opening import Place
    from napari_plugin.samples import sample_url

    viewer = _viewer()
    desk = desk_of(viewer)
    desk.annotator = "annotator-1"
    url = sample_url(folder)
    desk.open(Place(url))
    _wait(lambda: desk.session is not None)
    desk.use("cells")
    _wait(lambda: desk.prompting is not None)
    first = desk.prompting.book.objects[0]
    z = desk.prompting.book.slices_of(first)[0]
    _go_to(viewer, z)
    _wait(lambda: desk.model.encoded > 0, 240)
    _take(viewer, "napari-open.png")

    truth = np.load(Path(url).with_suffix(".npz"))["truth"]
    free = [i for i in np.unique(truth[z]) if i and i not in desk.prompting.book.objects]
    ys, xs = np.nonzero(truth[z] == max(free, key=lambda i: (truth[z] == i).sum()))
    desk.layers.select()
    _wait(lambda: desk.prompting.object_id is not None)
    desk.prompting.add_point(float(ys.mean()), float(xs.mean()))
    _wait(lambda: desk.prompting.shown.mask is not None, 240)
    _take(viewer, "napari-mask.png")

    desk.act("accept")
    _wait(lambda: len(desk.prompting.book.objects) > 4)
    desk.act("propagate")
    _wait(lambda: desk.running.tracks or desk.notices, 1800)
    if desk.notices:
        raise RuntimeError(desk.notices[-1].details)
    _wait(lambda: desk.running.state.running == 0)
    viewer.layers.selection.active = viewer.layers["cells"]
    _take(viewer, "napari-propagated.png")
    desk.act("least_confident")
    _take(viewer, "napari-doubt.png")
    _close(viewer, desk)


def _channels(folder: Path) -> None:
    """Two channels, each with label images of its own."""
    from napari_plugin.desk import desk_of
    from napari_plugin.opening import Place
    from volseg.demo.synthetic import make_volume
    from volseg.images.create import create_volume
    from volseg.images.image import open_volume

    url = str(folder / "two-channels.zarr")
    shape = (12, 192, 192)
    parts = {"membrane": make_volume(shape, 6, 5), "nuclei": make_volume(shape, 8, 11)}
    create_volume(
        url,
        axes="czyx",
        shape=(2, *shape),
        dtype="uint16",
        scale_um=parts["nuclei"].voxel_size_um,
        channels=list(parts),
    )
    volume = open_volume(url, writable=True)
    whole = tuple((0, n) for n in shape)
    for channel, (name, made) in enumerate(parts.items()):
        volume.write(whole, made.image, level=0, channel=channel)
        labels = volume.create_labels(f"{name} objects", channel=channel)
        labels.write_objects(whole, made.truth)
    viewer = _viewer()
    desk = desk_of(viewer)
    desk.open(Place(url))
    _wait(lambda: desk.session is not None)
    viewer.layers["membrane"].colormap = "magenta"
    viewer.layers["nuclei"].colormap = "green"
    _go_to(viewer, 6)
    viewer.layers.selection.active = viewer.layers["nuclei"]
    _take(viewer, "napari-channels.png")
    _close(viewer, desk)


# --- driving the window


def _go_to(viewer: Any, z: int) -> None:
    viewer.dims.set_current_step(viewer.dims.ndim - 3, z)
    _serve(0.2)
    viewer.reset_view()


def _wait(condition: Callable[[], object], seconds: float = 200.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("a step of the pictures did not come about")
        _serve(0.02)


def _serve(seconds: float) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def _take(viewer: Any, name: str) -> None:
    """Save the whole window with a small palette."""
    from PIL import Image

    _serve(1.0)
    picture = viewer.screenshot(canvas_only=False, flash=False)
    image = Image.fromarray(picture[..., :3]).quantize(
        COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    image.save(FOLDER / name, optimize=True)
    print(FOLDER / name)


def _close(viewer: Any, desk: Any) -> None:
    session = desk.session
    desk.leave()
    session.close()
    viewer.close()
    _serve(0.3)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
