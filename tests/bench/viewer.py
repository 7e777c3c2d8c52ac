"""Benchmark `viewer`: a remote volume in a napari window, with the plugin and with stock napari, side by side.

`python tests/bench/viewer.py [--shape Z Y X] [--latency MS] [--only volseg|stock] [--first volseg|stock] [--clicks N]`
prints a JSON line for each size.
An S3 server with added latency serves image and labels; a proxy counts requests. Stock is napari's own layers over dask
arrays with asynchronous slicing. Each side runs in a process and an Xvfb of its own, with software OpenGL.

Blocked: the longest time during a step in which the event loop served no events; busy: all such times of the step
together. The window's own redraws (Qt's update requests: napari's canvas, the widgets, putting them together) are in
both, and are timed apart: `beside_redraw_ms` is the longest part of a block that was no redraw; `long_blocks` counts
the steps with a block above 100 ms, and those in which it would be one without its redraws. `redraw_ms` is the block of
the same canvas redrawn when nothing has changed, `redraw_new_ms` with the same slices sent to the screen anew.
"""

from __future__ import annotations

import argparse
import faulthandler
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SHAPES = ((64, 2048, 2048), (61, 1388, 1340))
"""The second is as most volumes are: no power of two, no multiple of a chunk."""
LONG_MS = 100.0


def make(url: str, shape: tuple[int, int, int]) -> None:
    """Make an image of noise with blobs and a label image with the blobs."""
    from volseg.images.create import create_volume
    from volseg.images.pyramid import update_pyramid

    volume = create_volume(
        url, axes="zyx", shape=shape, dtype="uint8", scale_um=(2, 1, 1), levels=4
    )
    blobs, grey = _tile(np.random.default_rng(0))
    for level in volume.levels:
        spans = (round(a / b) for a, b in zip(level.scale, volume.scale, strict=True))
        block = grey[tuple(slice(None, None, span) for span in spans)]
        for region, piece in _tiled(block, level.shape):
            volume.write(region, piece, level=level.index)
    labels = volume.create_labels("cells", channel=0)
    for region, piece in _tiled(blobs, shape):
        labels.write_objects(region, piece, fresh=True)
    update_pyramid(labels, ((0, shape[0]), (0, shape[1]), (0, shape[2])))


def _tiled(block: np.ndarray, shape: tuple[int, int, int]) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield the slabs of a volume that repeats a block, with their regions."""
    for z in range(0, shape[0], 16):
        depth = min(16, shape[0] - z)
        sizes = (depth, shape[1], shape[2])
        repeats = [-(-n // s) for n, s in zip(sizes, block.shape, strict=True)]
        piece = np.tile(block, repeats)[:depth, : shape[1], : shape[2]]
        yield ((z, z + depth), (0, shape[1]), (0, shape[2])), piece


def _tile(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and grey values of a repeated block."""
    ids = np.zeros((16, 512, 512), np.uint32)
    y, x = np.mgrid[:512, :512]
    for label in range(1, 41):
        cy, cx, radius = rng.integers(40, 472), rng.integers(40, 472), rng.integers(12, 30)
        ids[:, (y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = label
    grey = rng.integers(60, 100, ids.shape) + 90 * (ids > 0)
    return ids, grey.astype(np.uint8)


class Block(NamedTuple):
    """A time in which no events were served, and the part of it that was spent in redraws; ms."""

    ms: float
    redraw_ms: float


class Side:
    """A window, measured; talks to the parent, which counts requests, over standard input and output."""

    def __init__(self, url: str, kind: str) -> None:
        import napari
        from napari.settings import get_settings
        from qtpy.QtWidgets import QApplication

        get_settings().experimental.async_ = kind == "stock"
        self.kind = kind
        self._redraw_s = 0.0
        self._time_redraws()
        self.app: Any = QApplication.instance() or QApplication([])
        self.base_mib = memory_mib()
        self.viewer = napari.Viewer()
        self.viewer.window.resize(1400, 1000)
        self.session: Any = None
        if kind == "stock":
            from napari_plugin.layers import layers_of
            from volseg.images.image import open_volume

            for data, options, what in layers_of(open_volume(url)):
                options |= {"contrast_limits": (0, 255)} if what == "image" else {}
                getattr(self.viewer, f"add_{what}")(data, **options)
        else:
            from napari_plugin.layers import add_volume

            self.session = add_volume(self.viewer, url, annotator="bench", refresh_s=None)
        self.viewer.reset_view()
        self.rest(6)

    def requests(self) -> int:
        """Ask the parent for the number of requests since the last time."""
        print("COUNT", flush=True)
        return int(sys.stdin.readline())

    def _time_redraws(self) -> None:
        """Time the window's redraws; before the window is made."""
        from time import perf_counter

        from napari._qt.qt_main_window import _QtMainWindow
        from qtpy.QtCore import QEvent

        serve = _QtMainWindow.event

        @functools.wraps(serve)
        def timed(window: Any, event: Any) -> bool:
            if event.type() != QEvent.Type.UpdateRequest:
                return bool(serve(window, event))
            start = perf_counter()
            done = bool(serve(window, event))
            self._redraw_s += perf_counter() - start
            return done

        _QtMainWindow.event = timed

    def rest(self, seconds: float) -> list[Block]:
        """Serve events for a while; return the blocks."""
        return self.do(lambda: None, seconds)

    def do(self, action: Any, seconds: float) -> list[Block]:
        """Call something in the event loop and let it run; return the times in which events could not be served.

        A timer ticks every millisecond: where a tick is late, something blocked. (`processEvents` in a loop is no
        way to measure: it is slow, and some versions of PySide count references wrongly in it.)
        """
        from time import perf_counter

        from qtpy.QtCore import QEventLoop, Qt, QTimer

        blocks = [Block(0.0, 0.0)]
        last, drawn = perf_counter(), self._redraw_s

        def tick() -> None:
            nonlocal last, drawn
            now = perf_counter()
            if now - last > 0.004:
                blocks.append(Block((now - last) * 1e3, (self._redraw_s - drawn) * 1e3))
            last, drawn = now, self._redraw_s

        loop, timer = QEventLoop(), QTimer()
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.timeout.connect(tick)
        timer.start(1)
        QTimer.singleShot(0, action)
        QTimer.singleShot(max(1, int(seconds * 1e3)), loop.quit)
        loop.exec()
        timer.stop()
        tick()
        return blocks

    def redraws(self) -> dict[str, Any]:
        """Time redrawing an unchanged canvas, and one whose slices are sent to the screen anew."""
        canvas = self.viewer.window._qt_viewer.canvas._scene_canvas

        def send() -> None:
            for layer in self.viewer.layers:
                layer.events.set_data()

        found = {}
        for name, action in (("redraw_ms", canvas.update), ("redraw_new_ms", send)):
            found[name] = spread([longest(self.do(action, 0.15)) for _ in range(10)])
        return found

    def steps(self, seconds: float) -> dict[str, Any]:
        """Go through all slices once, at a person's pace."""
        self.requests()
        depth = int(self.viewer.dims.nsteps[0])
        steps = [
            self.do(lambda z=z: self.viewer.dims.set_current_step(0, z), seconds)
            for z in range(depth)
        ]
        beside = [max(block.ms - block.redraw_ms for block in blocks) for blocks in steps]
        return {
            "blocked_ms": spread([longest(blocks) for blocks in steps]),
            "busy_ms": spread([sum(block.ms for block in blocks) for blocks in steps]),
            "redraw_ms": spread([sum(block.redraw_ms for block in blocks) for blocks in steps]),
            "beside_redraw_ms": spread(beside),
            "long_blocks": {
                "all": sum(longest(blocks) > LONG_MS for blocks in steps),
                "without_redraw": sum(ms > LONG_MS for ms in beside),
            },
            "worst_step": int(np.argmax([longest(blocks) for blocks in steps])),
            "worst_beside_redraw": int(np.argmax(beside)),
            "requests_per_step": round(self.requests() / depth, 2),
        }

    def jumps(self) -> dict[str, Any]:
        """Go to slices far apart, each of which must be fetched."""
        depth = int(self.viewer.dims.nsteps[0])
        at = [(17 * i + 5) % depth for i in range(1, 16)]
        times = [
            longest(self.do(lambda z=z: self.viewer.dims.set_current_step(0, z), 0.4)) for z in at
        ]
        return {"blocked_ms": spread(times)}

    def stroke(self) -> dict[str, Any]:
        """Paint forty moves with the mouse, then take them back by key."""
        from time import perf_counter

        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        from tests.napari_plugin import window

        viewer, layer = self.viewer, self.viewer.layers["cells"]
        editing = self.session.editing("cells")
        viewer.layers.selection.active = layer
        viewer.dims.set_current_step(0, 30)
        self.rest(1.5)
        layer.mode, layer.selected_label, layer.brush_size = "paint", 5000, 30
        widget, button = window.canvas(viewer), Qt.MouseButton.LeftButton
        none = Qt.KeyboardModifier.NoModifier
        path = [window.place(viewer, layer, (30, 900, 500 + 20 * i)) for i in range(41)]
        self.requests()
        results: list[list[Block]] = []
        QTest.mouseMove(widget, path[0])
        self.rest(0.2)
        results.append(self.do(lambda: QTest.mousePress(widget, button, none, path[0]), 0.02))
        for point in path[1:]:
            results.append(self.do(lambda p=point: window.move(widget, p, button, none), 0.015))
        during = self.requests()
        end = self.do(lambda: QTest.mouseRelease(widget, button, none, path[-1]), 1.5)
        start = perf_counter()
        undo = self.do(lambda: window.press(viewer, "Ctrl+Z"), 0.03)
        while (layer._slice.image.raw == 5000).any() and perf_counter() - start < 20:
            undo += self.rest(0.01)
        seen = (perf_counter() - start) * 1e3
        undo += self.rest(1)
        editing.flush().result()
        return {
            "level": int(layer.data_level),
            "move_blocked_ms": spread([longest(r) for r in results]),
            "release_blocked_ms": round(longest(end), 1),
            "requests_during": during,
            "undo_blocked_ms": round(longest(undo), 1),
            "undo_seen_ms": round(seen, 1),
        }

    def clicks(self, number: int) -> dict[str, Any]:
        """Click on objects of a slice whose embeddings are there, and wait for each mask."""
        from time import perf_counter

        from napari_plugin.interactive import Choice
        from napari_plugin.modelprocess import ModelProcess
        from napari_plugin.prompting import Prompting
        from napari_plugin.slicing import SliceModel

        url, done = self.session.url, []
        model = SliceModel(lambda: ModelProcess(url, None, Choice("nano", 0)))
        model.embedded.connect(done.append)
        prompting = Prompting(self.session.editing("cells"), model)
        prompting.look_at(20)
        model.look_at(20, (512, 512, 1024, 1024))
        start = perf_counter()
        while not done and perf_counter() - start < 120:
            self.rest(0.05)
        embedding = perf_counter() - start
        ids, _ = _tile(np.random.default_rng(0))
        times, areas = [], []
        for label in range(1, number + 2):
            y, x = np.argwhere(ids[0] == label).mean(axis=0) + 512
            prompting.next_object()
            self.rest(0.2)
            start = perf_counter()
            prompting.add_point(float(y), float(x))
            while prompting.shown.mask is None and perf_counter() - start < 20:
                self.rest(0.002)
            times.append((perf_counter() - start) * 1e3)
            areas.append(0 if prompting.shown.mask is None else prompting.shown.mask.area)
        model.close()
        return {
            "embedding_s": round(embedding, 2),
            "mask_ms": spread(times[1:]),  # the first one warms up
            "masks_found": sum(area > 0 for area in areas[1:]),
        }

    def run(self, clicks: int) -> dict[str, Any]:
        """Measure everything that this side can do."""
        report: dict[str, Any] = self.redraws()
        report["first_pass"] = self.steps(0.1)
        report["loop"] = self.steps(0.1)
        report["jumps"] = self.jumps()
        report["memory_mib"] = round(memory_mib() - self.base_mib)
        print(f"{self.kind}: {report}", file=sys.stderr, flush=True)
        if self.kind == "volseg":
            report["stroke"] = self.stroke()
            print(f"{self.kind}: {report['stroke']}", file=sys.stderr, flush=True)
            report["click"] = self.clicks(clicks)
            self.session.close()
        return report


def longest(blocks: list[Block]) -> float:
    """Return the longest block, ms."""
    return max(block.ms for block in blocks)


def memory_mib() -> float:
    """Return the resident memory of this process."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def spread(values: list[float]) -> dict[str, float]:
    """Return median and worst."""
    return {"median": round(float(np.median(values)), 1), "worst": round(max(values), 1)}


def measure(kind: str, url: str, clicks: int, proxy: Any) -> dict[str, Any]:
    """Run one side in a process and a screen of its own."""
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "1600x1200x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert screen.stdout is not None
    display = f":{screen.stdout.readline().strip()}"
    side = subprocess.Popen(
        [sys.executable, __file__, "--side", kind, "--url", url, "--clicks", str(clicks)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"DISPLAY": display},
    )
    assert side.stdin is not None and side.stdout is not None
    try:
        for line in side.stdout:
            if line.strip() == "COUNT":
                side.stdin.write(f"{sum(proxy.count().values())}\n")
                side.stdin.flush()
            elif line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError(f"{kind} ended with {side.wait()}")
    finally:
        side.terminate()
        side.wait(20)
        screen.terminate()
        screen.wait(20)


def run(shape: tuple[int, int, int], arguments: argparse.Namespace) -> None:
    """Measure both sides on a volume of one shape, and print."""
    from tempfile import TemporaryDirectory

    from tests.bench.slow_s3 import SlowS3
    from tests.s3_server import S3Server

    server = S3Server.start()
    with TemporaryDirectory() as folder:
        try:
            at = urlsplit(server.endpoint)
            proxy = SlowS3(str(at.hostname), int(at.port or 80), arguments.latency / 1e3)
            os.environ.update(server.environment)
            os.environ["NAPARI_CONFIG"] = f"{folder}/napari.yaml"
            os.environ["XDG_CACHE_HOME"] = folder
            url = f"s3://{server.make_bucket('bench-viewer')}/v.zarr"
            make(url, shape)
            os.environ["AWS_ENDPOINT_URL"] = proxy.start()
            sides = [arguments.only] if arguments.only else ["stock", "volseg"]
            sides.sort(key=lambda kind: kind != arguments.first)
            found = {kind: measure(kind, url, arguments.clicks, proxy) for kind in sides}
        finally:
            server.stop()
    report: dict[str, Any] = {
        "bench": "viewer",
        "shape": list(shape),
        "latency_ms": arguments.latency,
        **found,
    }
    if len(found) == 2:
        ours, stock = (found[k]["first_pass"] for k in ("volseg", "stock"))
        report["blocked_ratio"] = round(
            ours["blocked_ms"]["median"] / stock["blocked_ms"]["median"], 3
        )
        report["requests_ratio"] = round(
            ours["requests_per_step"] / max(0.01, stock["requests_per_step"]), 3
        )
    print(json.dumps(report))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, action="append", help="default: two shapes")
    parser.add_argument("--latency", type=float, default=20.0)
    parser.add_argument("--only", choices=["volseg", "stock"])
    parser.add_argument("--first", choices=["volseg", "stock"], default="stock")
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        faulthandler.enable()
        print(json.dumps(Side(arguments.url, arguments.side).run(arguments.clicks)), flush=True)
        os._exit(0)  # Qt's own end is of no interest
    for z, y, x in arguments.shape or SHAPES:
        run((z, y, x), arguments)


if __name__ == "__main__":
    main()
