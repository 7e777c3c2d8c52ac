"""Ctrl-C and SIGTERM as a wish to stop after the step, with a checkpoint; a second one stops at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class StopRequest:
    """A context in which the first interrupt only sets `wanted`.

    Use it in the main thread of a program: it replaces signal handlers, and puts them back.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.wanted = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.wanted

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.getsignal(number) for number in self.SIGNALS}
        for number in self.SIGNALS:
            signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
