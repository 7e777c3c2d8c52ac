"""Ctrl-C at any moment: the first ends the command, which removes what it had begun; the second waits for that."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from volseg.errors import InterruptedRunError

MESSAGES = {
    2: "volseg: still removing what was begun; a third Ctrl-C leaves it behind\n",
    3: "volseg: ended at once; what was begun may be left behind\n",
}


class Interrupts:
    """The handler of SIGINT and SIGTERM for the life of a command; use as a context manager.

    Jobs that can be resumed have a handler of their own while they run (`volseg.engine.cancel`). Where somebody
    else handles a signal, or it is ignored as under `nohup`, it is left alone.
    """

    def __init__(self) -> None:
        self._count = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
            for number, handler in usual.items():
                if signal.getsignal(number) is handler:
                    self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            raise KeyboardInterrupt
        if self._count in MESSAGES and sys.stderr is not None:
            os.write(2, MESSAGES[self._count].encode())  # printing isn't safe inside a handler
        if self._count > 2:
            os._exit(130)


def end_quietly() -> None:
    """Let a late Ctrl-C end the process without a word, for there is nothing left to remove."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def resumable() -> Iterator[None]:
    """Say of a Ctrl-C, whenever it comes, how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "interrupted; the same command with --resume goes on where it was"
        ) from None
