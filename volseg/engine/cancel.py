"""Stopping a run: the first Ctrl-C (or SIGTERM) lets what is in flight end, a second one leaves at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGBREAK"):  # how a program on Windows tells another one to stop
    STOPPING.append(signal.SIGBREAK)


class Cancel:
    """A request to stop, set by a signal, a button or another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.at_once = False

    @property
    def requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def request(self) -> None:
        """Ask to stop: nothing new is started, what is in flight ends."""
        self._event.set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM request it; works in the main thread only, elsewhere it does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self.requested:
                self.at_once = True
                raise KeyboardInterrupt
            self.request()

        old = {number: signal.signal(number, handle) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
