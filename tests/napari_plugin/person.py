"""A person in front of napari: real X events on a window that a window manager looks after, from a thread of their own.

The GUI's event loop runs meanwhile as it does for a user, in windows that wait for an answer too. `at_work` runs what
a person does and serves the loop until they are done; what goes wrong there is raised here.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import pytest

from napari_plugin.gui import in_gui

T = TypeVar("T")
PROGRAMS = ("xdotool", "openbox")


@contextmanager
def window_manager() -> Iterator[None]:
    """Have the test's screen looked after: focus and stacking are a window manager's business."""
    if any(shutil.which(name) is None for name in PROGRAMS):
        pytest.skip("no xdotool or openbox: deploy/debian-packages.sh installs them on Debian")
    running = subprocess.Popen(["openbox"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        yield
    finally:
        running.terminate()
        running.wait(10)


class Person:
    """Works in a viewer's window by mouse and keys; every method is called on the person's own thread.

    Parameters
    ----------
    viewer
        A viewer whose window is shown.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer

    # --- looking

    def see(self, look: Callable[[], T], seconds: float = 30.0) -> T:
        """Return what a function of the GUI thread returns."""
        done, found, errors = threading.Event(), [], []

        def call() -> None:
            try:
                found.append(look())
            except BaseException as error:
                errors.append(error)
            done.set()

        in_gui(call)
        assert done.wait(seconds), "the window does not answer"
        if errors:
            raise errors[0]
        return found[0]

    def wait(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until something holds in the GUI thread."""
        end = time.monotonic() + seconds
        while not self.see(condition):
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.05)

    def wait_told(self, told: Sequence[str], text: str, seconds: float = 60.0) -> None:
        """Wait until the last thing that the window told has a text in it."""
        end = time.monotonic() + seconds
        while not self.see(lambda: bool(told) and text in told[-1]):
            assert time.monotonic() < end, f"told {list(told)}, not {text!r}"
            time.sleep(0.05)

    def wait_for_store(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until something holds that is looked for outside of the window."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.3)

    def button(self, text: str, inside: Any = None, seconds: float = 20.0) -> Any:
        """Return the visible button whose text begins so; waits for it."""
        return self._of_button(text, inside, lambda button: button, seconds)

    def _of_button(
        self, text: str, inside: Any, look: Callable[[Any], T], seconds: float = 20.0
    ) -> T:
        """Wait for a button, and return what is seen of it in the same moment."""
        from qtpy.QtWidgets import QAbstractButton, QApplication

        def find() -> T | None:
            roots = QApplication.topLevelWidgets() if inside is None else [inside]
            buttons = [one for root in roots for one in root.findChildren(QAbstractButton)]
            shown = (b for b in buttons if b.isVisible() and b.text().startswith(text))
            button = next(shown, None)
            return None if button is None else look(button)

        end = time.monotonic() + seconds
        while (found := self.see(find)) is None:
            assert time.monotonic() < end, f"there is no button {text!r}"
            time.sleep(0.05)
        return found

    def window(self, kind: type) -> Any:
        """Return the visible window of a class, None where there is none."""
        from qtpy.QtWidgets import QApplication

        def look() -> Any:
            shown = (one for one in QApplication.topLevelWidgets() if one.isVisible())
            return next((one for one in shown if isinstance(one, kind)), None)

        return self.see(look)

    # --- mouse

    def middle(self, widget: Any) -> tuple[int, int]:
        """Return the middle of a widget on the screen, x and y in pixels."""

        return self.see(lambda: _middle(widget))

    def place(self, layer: Any, voxel: Sequence[float]) -> tuple[int, int]:
        """Return where on the screen a voxel of level 0 is, x and y in pixels."""
        from tests.napari_plugin.window import canvas, place

        def look() -> tuple[int, int]:
            point = canvas(self.viewer).mapToGlobal(place(self.viewer, layer, voxel))
            return point.x(), point.y()

        return self.see(look)

    def press(self, text: str, inside: Any = None) -> None:
        """Click on a button."""
        self.click(self._of_button(text, inside, _middle))

    def click(self, at: tuple[int, int], *held: str) -> None:
        """Click at a place on the screen, with keys held."""
        self.drag([at], *held)

    def drag(self, path: Sequence[tuple[int, int]], *held: str) -> None:
        """Press at the first place, move over the others, release at the last, with keys held."""
        down = [word for key in held for word in ("keydown", key)]
        up = [word for key in held for word in ("keyup", key)]
        (x, y), *rest = path
        moves = [str(word) for p in rest for word in ("mousemove", *p, "sleep", "0.01")]
        self._x("mousemove", x, y, "sleep", "0.03", *down, "mousedown", 1)
        self._settle(lambda: self._held() is not None)
        self._x(*moves, "mouseup", 1, *up)
        self._settle(lambda: self._held() is None)

    def _held(self) -> object:
        """Return the mouse buttons that are down as far as the window has heard, None where none is."""
        from qtpy.QtGui import QGuiApplication

        buttons = QGuiApplication.mouseButtons()
        return buttons if buttons != type(buttons).NoButton else None

    def paint(self, layer: Any, voxels: Sequence[Sequence[float]], *held: str) -> None:
        """Drag over voxels of a layer."""
        self.drag([self.place(layer, voxel) for voxel in voxels], *held)

    # --- keys

    def key(self, *keys: str) -> None:
        """Press keys one after the other, as xdotool names them: "k", "ctrl+z", "Return"."""
        self._x("key", "--delay", 20, *keys)
        self._settle()

    def key_for(self, key: str, condition: Callable[[], object]) -> None:
        """Press a key, again if need be, until something holds.

        napari takes a mode's key for a held one, and the mode back, where a busy window hears of its release late.
        """
        for _ in range(8):
            self.key(key)
            if self.see(condition):
                return
        raise AssertionError(f"{key} did not do it")

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self._x("type", "--delay", 5, text)
        self._settle()

    def to_canvas(self) -> None:
        """Give the canvas the focus, as a click on it does."""
        from tests.napari_plugin.window import canvas

        self.see(lambda: canvas(self.viewer).setFocus())

    def _x(self, *words: object) -> None:
        subprocess.run(["xdotool", *map(str, words)], check=True, capture_output=True)

    def _settle(self, heard: Callable[[], bool] = lambda: True, seconds: float = 2.0) -> None:
        """Wait until the window has heard of what was done, and has done what that set off.

        A widget that is gone hears nothing any more, so the wait has an end.
        """
        end = time.monotonic() + seconds
        time.sleep(0.05)
        while not self.see(heard) and time.monotonic() < end:
            time.sleep(0.01)
        self.see(lambda: None)


def _middle(widget: Any) -> tuple[int, int]:
    point = widget.mapToGlobal(widget.rect().center())
    return point.x(), point.y()


def at_work(person: Person, does: Callable[[Person], None], seconds: float = 240.0) -> None:
    """Have a person do something, with the window served until they are done."""
    from tests.napari_plugin.window import wait_for

    errors: list[BaseException] = []

    def run() -> None:
        try:
            does(person)
        except BaseException as error:
            errors.append(error)
            in_gui(_answer_for_good)

    thread = threading.Thread(target=run, name="person")
    thread.start()
    try:
        wait_for(lambda: not thread.is_alive(), seconds)
    finally:
        if errors:
            raise errors[0]


def _answer_for_good() -> None:
    """Close the windows that wait for an answer: nobody is there any more to give one."""
    from qtpy.QtWidgets import QApplication

    while (waiting := QApplication.activeModalWidget()) is not None:
        waiting.reject() if hasattr(waiting, "reject") else waiting.close()


def shown_window(make_napari_viewer: Callable[..., Any]) -> Any:
    """Return a viewer whose window fills the screen and has the focus."""
    from qtpy.QtGui import QGuiApplication

    from tests.napari_plugin.window import serve

    viewer = make_napari_viewer(show=True)
    window = viewer.window._qt_window
    viewer.window._qt_viewer.dockLayerControls.hide()  # the tests' screen is small
    screen = QGuiApplication.primaryScreen().geometry()
    window.setGeometry(5, 25, screen.width() - 10, screen.height() - 35)
    window.activateWindow()
    serve(0.3)
    return viewer


def is_closed(viewer: Any) -> bool:
    """Tell whether a person closed a viewer's window; napari need not close it again then."""
    from qtpy.compat import isalive

    window = vars(viewer.window).get("_qt_window")
    if window is not None and isalive(window) and window.isVisible():
        return False
    vars(viewer.window).pop("_qt_window", None)
    return True


def counts(voxels: np.ndarray) -> dict[int, int]:
    """Return how many voxels each id has, background left out."""
    ids, numbers = np.unique(voxels, return_counts=True)
    return {int(i): int(n) for i, n in zip(ids, numbers, strict=True) if i}
