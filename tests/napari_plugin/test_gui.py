"""The way to the GUI thread, and the Qt binding under it."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from napari_plugin.gui import in_gui


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
