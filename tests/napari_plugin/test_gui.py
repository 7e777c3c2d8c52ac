"""The way to the GUI thread, and the Qt binding under it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from napari_plugin.gui import Turns, in_gui


def test_calls_of_a_thread_come_in_order_on_the_gui_thread(qapp: Any, qtbot: Any) -> None:
    seen: list[tuple[int, bool]] = []

    def send() -> None:
        for number in range(1000):
            in_gui(
                lambda number=number: seen.append(
                    (number, threading.current_thread() is threading.main_thread())
                )
            )

    thread = threading.Thread(target=send)
    thread.start()
    qtbot.waitUntil(lambda: len(seen) == 1000, timeout=20_000)
    thread.join()
    assert seen == [(number, True) for number in range(1000)]


@pytest.mark.parametrize("value", [None, True, False])
def test_the_qt_binding_keeps_count_of_its_references(qapp: Any, value: object) -> None:
    """PySide6 6.12 loses one at each call: after some thousand, Python 3.11 aborts."""
    before = sys.getrefcount(value)
    for _ in range(400):
        qapp.processEvents()
    assert abs(sys.getrefcount(value) - before) < 200


def test_steps_are_taken_in_turns_of_the_event_loop(qapp: Any, qtbot: Any) -> None:
    from qtpy.QtCore import QTimer

    seen: list[object] = []
    beat = QTimer()
    beat.setInterval(0)
    beat.timeout.connect(lambda: seen.append("beat"))
    beat.start()

    def steps(count: int) -> Iterator[None]:
        for number in range(count):
            seen.append(number)
            yield

    Turns(steps(3))
    assert not seen
    qtbot.waitUntil(lambda: 2 in seen)
    places = [seen.index(number) for number in range(3)]
    assert all("beat" in seen[a:b] for a, b in pairwise(places))
