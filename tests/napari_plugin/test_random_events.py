"""Random events of a user in front of a window: nothing breaks, nothing freezes, and what is shown is what is stored.

Clicks, drags, keys, layers, panels, axes, propagation, another annotator at the same voxels, and a store that fails one
request in ten. A seed is a session that can be repeated. Freezes are measured where a machine is free for it: in the
long mode.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from napari_plugin import desk as desk_module
from napari_plugin.editing_widget import EditPanel
from napari_plugin.layers import add_volume
from napari_plugin.objects_widget import ObjectsPanel
from napari_plugin.overlap_widget import OverlapDialog
from napari_plugin.running import Running
from napari_plugin.unsaved import worst
from napari_plugin.unsaved_widget import sign_of
from napari_plugin.widgets import desk_with_notices
from napari_plugin.worker import packed
from tests.editing.making import quick_folder
from tests.napari_plugin.person import Person, at_work, shown_window, window_manager
from tests.napari_plugin.places import SHAPE, Threshold, discs, make_volume
from tests.napari_plugin.window import canvas, wait_for
from volseg.errors import ConflictError, StorageError
from volseg.images.image import open_volume
from volseg.propagation.track import SliceKind, Track, TrackSlice
from volseg.propagation.window import MaskWindow
from volseg.storage.objects import Store

EVENTS, LONG_EVENTS, LOOK_EVERY = 500, 5000, 100
EVENTS_IN_3D = 5
"""In a row: without a GPU every frame casts rays through the volume, and most events are refused there."""
FREEZE_S = 0.5
KEYS = [
    *"qkjnuwghmi23456", "ctrl+z", "ctrl+shift+z", "ctrl+e", "ctrl+t", "ctrl+y", "Left", "Right",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _looked_after() -> Iterator[None]:
    with window_manager():
        yield


class FollowsAtOnce:
    """In the worker process's place: follows the bright discs on a thread, and tells as that does."""

    def __init__(self, on_event: Callable[[dict[str, Any]], None]) -> None:
        self._tell, self.pid = on_event, 0

    def send(self, request: dict[str, Any]) -> None:
        """Answer a request a moment later."""
        if request["do"] != "cancel":
            threading.Thread(target=self._answer, args=(request,), daemon=True).start()

    def close(self, *, kill: bool = False) -> None:
        """Nothing to end."""

    def _answer(self, request: dict[str, Any]) -> None:
        time.sleep(0.05)
        ids = [int(i) for i in request.get("objects", ())]
        ids = ids or [one["id"] for one in request["prompts"]["objects"]]
        tracks = {str(i): packed(_disc_track(200 if i % 2 else 170)) for i in ids}
        name = request["name"]
        self._tell({"name": name, "event": "piece", "object": ids[0], "track": tracks[str(ids[0])]})
        self._tell({"name": name, "event": "done", "tracks": tracks, "plan": ""})


def _disc_track(brightness: int) -> Track:
    entries = {
        z: TrackSlice.of(MaskWindow.crop(plane == brightness), 0.9, SliceKind.DECODED)
        for z, plane in enumerate(discs())
        if (plane == brightness).any()
    }
    return Track(SHAPE, entries)


class Unreliable:
    """Has one request in ten fail, unless somebody else is at work."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._lock, self.share, self.failed = rng, threading.Lock(), 0.0, 0

    def call(self, store: Store, key: str, operation: Callable[[], Any]) -> Any:
        """Stand in for `Store._call`."""
        with self._lock:
            fails = self._rng.random() < self.share
            self.failed += fails
        if fails:
            raise StorageError(
                f"{store.location}/{key}: the store failed past its retries: told to"
            )
        return _CALL(store, key, operation)

    @contextmanager
    def reliable(self) -> Iterator[None]:
        """Have every request answered for a while."""
        before, self.share = self.share, 0.0
        try:
            yield
        finally:
            self.share = before


_CALL = Store._call


class Heart:
    """Beats in the GUI thread, and beside it: the window froze where only the former missed its beats.

    On a busy machine both are late together, and nobody is to blame; what the GUI thread computes itself counts always,
    without what OpenGL takes, which a graphics card does elsewhere and a test's screen in software in this thread.
    `done` are the events so far, of which the last is told beside a freeze.
    """

    def __init__(self, done: Sequence[str], patch: pytest.MonkeyPatch) -> None:
        from qtpy.QtCore import QTimer
        from vispy.gloo.glir import GlirParser

        self.freezes: list[str] = []
        self._done = done
        self._beside = self._last = time.monotonic()
        self._late, self._computed = 0.0, time.thread_time()
        self._ended = threading.Event()
        self._timer = QTimer()
        self._timer.setInterval(10)
        self._timer.timeout.connect(self._beat)
        command = GlirParser.parse

        def timed(parser: Any, commands: Any) -> None:
            start, began = time.monotonic(), time.thread_time()
            command(parser, commands)
            self._last += time.monotonic() - start
            self._computed += time.thread_time() - began

        patch.setattr(GlirParser, "parse", timed)
        self._timer.start()
        threading.Thread(target=self._beat_beside, daemon=True).start()

    def _beat_beside(self) -> None:
        while not self._ended.wait(0.02):
            now = time.monotonic()
            self._late = max(self._late, now - self._beside - 0.02)
            self._beside = now

    def _beat(self) -> None:
        now, computed = time.monotonic(), time.thread_time()
        gap, alone = now - self._last, computed - self._computed
        if alone > FREEZE_S or gap - self._late > FREEZE_S > 2 * self._late:
            last = self._done[-1] if self._done else "the start"
            self.freezes.append(f"{gap:.2f} s, {alone:.2f} computing, after {last}")
        self._last, self._computed, self._late = now, computed, 0.0

    def stop(self) -> None:
        """Stop beating."""
        self._timer.stop()
        self._ended.set()


class Faults(logging.Handler):
    """Whatever goes wrong on any thread and is no error that volseg raises on purpose."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []
        logging.getLogger("napari_plugin").addHandler(self)
        logging.getLogger("volseg").addHandler(self)
        monkeypatch.setattr(threading, "excepthook", lambda told: self.found.append(repr(told)))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what was logged as a fault of the program."""
        self.found.append(self.format(record))


class Session:
    """A window, somebody in front of it, somebody else at the same volume."""

    def __init__(self, viewer: Any, url: str, seed: int, store: Unreliable) -> None:
        self.viewer, self.url, self.store = viewer, url, store
        self.rng = np.random.default_rng(seed)
        self.desk = desk_with_notices(viewer)
        self.volume = add_volume(viewer, url, annotator="me", flush_after=0.2, refresh_s=0.5)
        self.editing = self.volume.editing("cells")
        self.labels = viewer.layers["cells"]
        self.sign = sign_of(viewer)
        self.docks = [
            viewer.window.add_dock_widget(panel(viewer), area="right", tabify=True)
            for panel in (EditPanel, ObjectsPanel)
        ]
        for dock in self.docks:
            dock.hide()
        wait_for(lambda: self.editing.is_open)
        self.desk.use("cells")
        wait_for(lambda: self.desk.prompting is not None)
        self.labels.brush_size = 5
        viewer.reset_view()
        self.person = Person(viewer)
        self.done: list[str] = []
        self._in_3d = 0
        self.other = open_volume(url).labels["cells"].edit("anna", flush_after=None)

    # --- events

    def place(self) -> tuple[int, int]:
        """Somewhere on the canvas, on the screen."""
        at = self.rng.random(2) * 0.8 + 0.1

        def look() -> tuple[int, int]:
            size = canvas(self.viewer).size()
            from qtpy.QtCore import QPoint

            inside = QPoint(int(size.width() * at[0]), int(size.height() * at[1]))
            point = canvas(self.viewer).mapToGlobal(inside)
            return point.x(), point.y()

        return self.person.see(look)

    def held(self) -> tuple[str, ...]:
        """Modifiers, mostly none."""
        return [(), (), ("shift",), ("ctrl",), ("ctrl", "shift")][self.rng.integers(5)]  # type: ignore[return-value]

    def click(self) -> None:
        """Click on the canvas."""
        self.person.click(self.place(), *self.held())

    def drag(self) -> None:
        """Drag over the canvas."""
        self.person.drag([self.place() for _ in range(3)], *self.held())

    def key(self) -> None:
        """Press one of the keys on the canvas."""
        self.person.to_canvas()
        key = str(self.rng.choice(KEYS))
        self.done[-1] += f" {key}"
        self.person.key(key)

    def slice(self) -> None:
        """Go to another slice."""
        z = int(self.rng.integers(SHAPE[0]))
        self.person.see(lambda: self.viewer.dims.set_current_step(0, z))

    def layer(self) -> None:
        """Select another layer, or show or hide one."""
        layer = self.viewer.layers[int(self.rng.integers(len(self.viewer.layers)))]
        hide = self.rng.random() < 0.2

        def do() -> None:
            if hide:
                layer.visible = not layer.visible
            else:
                self.viewer.layers.selection.active = layer

        self.person.see(do)

    def panel(self) -> None:
        """Open or close a panel."""
        dock = self.docks[int(self.rng.integers(len(self.docks)))]
        self.person.see(lambda: dock.setVisible(not dock.isVisible()))

    def somebody_else(self) -> None:
        """Have the other annotator paint somewhere and store it."""
        z, y, x = (
            int(self.rng.integers(n - 8)) if n > 10 else int(self.rng.integers(n)) for n in SHAPE
        )
        with self.store.reliable():
            try:
                self.other[z, y : y + 6, x : x + 6] = int(self.rng.integers(900, 903))
                self.other.flush()
            except ConflictError:
                self.other.discard()

    def answer(self) -> None:
        """Answer what is asked, and settle a conflict, as one does now and then."""
        asked = self.person.window(OverlapDialog)
        if asked is not None:
            meant = str(self.rng.choice(list(asked.buttons)))
            self.person.see(lambda: asked.buttons[meant].click())
        if self.person.see(lambda: self.editing.state.conflicts):
            keep = "mine" if self.rng.random() < 0.5 else "theirs"
            self.person.see(lambda: self.editing.resolve(keep))

    def run(self, events: int) -> None:
        """Do so many random things, with a look now and then at what is shown and stored."""
        kinds = [self.click, self.drag, self.key, self.slice, self.layer, self.panel]
        kinds += [self.somebody_else, self.answer]
        shares = np.array([20, 20, 35, 8, 7, 2, 4, 4]) / 100
        for number in range(1, events + 1):
            kind = kinds[int(self.rng.choice(len(kinds), p=shares))]
            self.done.append(kind.__name__)
            kind()
            self.leave_3d()
            if number % LOOK_EVERY == 0:
                self.look()

    def leave_3d(self) -> None:
        """Go back to slices by the key, after some events in the 3D view."""
        spatial = self.person.see(lambda: self.viewer.dims.ndisplay == 3)
        self._in_3d = self._in_3d + 1 if spatial else 0
        if self._in_3d > EVENTS_IN_3D:
            self.person.to_canvas()
            self.person.key("ctrl+y")

    # --- what must hold

    def look(self) -> None:
        """Assert that nothing unsaved is unseen, and with the store well again that what is shown is what is stored."""
        person = self.person

        def told() -> bool:
            return self.sign is not None and self.sign.text() == worst([self.editing]).text

        person.wait(told, 10)
        if person.see(lambda: self.editing.state.conflicts or self.editing.state.error):
            assert person.see(lambda: self.sign.text().startswith("⚠"))  # type: ignore[union-attr]
        with self.store.reliable():
            end = time.monotonic() + 60
            while person.see(lambda: self.editing.busy or self.desk.running.state.running):
                if self.editing.state.conflicts:
                    self.editing.resolve("mine").exception()
                elif self.editing.state.error:
                    self.editing.flush().exception()
                assert time.monotonic() < end, (self.editing, self.done[-20:])
                time.sleep(0.1)
            self.editing.refresh().result(20)
            shown = np.asarray(self.editing.editor[...])
            stored = np.asarray(open_volume(self.url).labels["cells"].levels[0])
            assert np.array_equal(shown, stored), self.done[-20:]
            self._look_at_screen(stored)

    def _look_at_screen(self, stored: np.ndarray) -> None:
        """Assert that a slice on the screen has the stored ids."""

        def flat() -> None:
            self.viewer.dims.ndisplay = 2
            self.viewer.dims.order = (0, 1, 2)
            self.labels.visible = True
            self.viewer.reset_view()

        self.person.see(flat)
        z = int(self.rng.integers(SHAPE[0]))
        self.person.see(lambda: self.viewer.dims.set_current_step(0, z))

        def same() -> bool:
            shown = self.labels._slice
            low = np.round(shown.tile_to_data.translate[-2:]).astype(int)
            part = shown.image.raw
            inside = stored[z, low[0] : low[0] + part.shape[0], low[1] : low[1] + part.shape[1]]
            return bool(np.array_equal(part, inside))

        self.person.wait(same, 20)


def session(
    make_napari_viewer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, seed: int, events: int
) -> list[str]:
    """Do a session of random events, assert what must hold, and return when the window froze."""
    folder = quick_folder()
    make_volume(f"{folder}/v.zarr").create_labels("cells", channel=0, chunks=(2, 32, 32))
    store = Unreliable(np.random.default_rng(seed + 1000))
    monkeypatch.setattr(
        Store, "_call", lambda self, key, operation: store.call(self, key, operation)
    )
    monkeypatch.setattr(desk_module, "ModelProcess", lambda *_: Threshold(discs()))
    monkeypatch.setattr(
        desk_module,
        "Running",
        lambda *given: Running(*given, worker=FollowsAtOnce),  # type: ignore[arg-type]
    )
    faults = Faults(monkeypatch)
    made = Session(shown_window(make_napari_viewer), f"{folder}/v.zarr", seed, store)
    heart = Heart(made.done, monkeypatch)

    def work(person: Person) -> None:
        store.share = 0.1
        made.run(events)
        made.look()

    try:
        at_work(made.person, work, 60 + events)
    finally:
        store.share = 0.0
        heart.stop()
        for name in ("napari_plugin", "volseg"):
            logging.getLogger(name).removeHandler(faults)
        made.desk.leave()
        with suppress(Exception):
            made.other.close()
        made.volume.close_quietly()
        shutil.rmtree(folder)
    unexpected = [notice.details for notice in made.desk.notices if not notice.expected]
    assert not unexpected and not faults.found, [*unexpected, *faults.found]
    assert store.failed > events / 50  # the store did fail
    return heart.freezes


def test_random_events_break_nothing(
    make_napari_viewer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    session(make_napari_viewer, monkeypatch, 1, EVENTS)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_random_events_freeze_nothing(
    make_napari_viewer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    assert not session(make_napari_viewer, monkeypatch, seed, LONG_EVENTS)
