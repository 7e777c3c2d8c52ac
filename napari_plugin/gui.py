"""The way from other threads to the GUI thread. Without a Qt application there is no screen: nothing is called."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any

_log = logging.getLogger(__name__)
_MAKING = threading.Lock()
_END = object()


def in_gui(function: Callable[[], object]) -> bool:
    """Call a function on the GUI thread soon; return whether there is one.

    Exceptions are logged: nobody waits for them.
    """
    if "qtpy" not in sys.modules:
        return False
    from qtpy.QtCore import QCoreApplication

    app = QCoreApplication.instance()
    if app is None:
        return False
    with _MAKING:
        mailbox = _mailbox(app)
    if threading.current_thread() is threading.main_thread():
        _logged(function)()
        return True
    mailbox.put(_logged(function))
    return True


@cache
def _mailbox(app: Any) -> Any:
    """Make the one object through which calls come to the GUI thread.

    Only an event without a value crosses threads; the calls themselves wait in a queue of Python's. A Qt object for
    each call, made on one thread and destroyed on another, crashes now and then.
    """
    from qtpy.QtCore import QCoreApplication, QEvent, QObject

    class Mailbox(QObject):
        def __init__(self) -> None:
            super().__init__()
            self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

        def put(self, call: Callable[[], None]) -> None:
            self._calls.put(call)
            QCoreApplication.postEvent(self, QEvent(QEvent.Type.User))

        def event(self, event: Any) -> bool:
            if event.type() != QEvent.Type.User:
                return bool(super().event(event))
            while True:
                try:
                    call = self._calls.get_nowait()
                except Empty:
                    return True
                call()

    mailbox = Mailbox()
    mailbox.moveToThread(app.thread())
    if threading.current_thread() is threading.main_thread():
        mailbox.setParent(app)  # ends with it, not later
    return mailbox


def on_gui(function: Callable[..., object]) -> Callable[..., None]:
    """Return a function that calls another on the GUI thread, with its arguments; for connecting to signals."""

    def called(*values: Any) -> None:
        in_gui(lambda: function(*values))

    return called


def at_quit(function: Callable[[], object]) -> None:
    """Call a function when the application ends, before its threads do."""
    if "qtpy" in sys.modules:
        from qtpy.QtCore import QCoreApplication

        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(_logged(function))


class Soon:
    """Calls a function on the GUI thread once, a moment after any number of requests from any thread.

    Parameters
    ----------
    function
        What to call.
    wait_ms
        How long requests are gathered.
    """

    def __init__(self, function: Callable[[], object], wait_ms: int = 25) -> None:
        self._function = _logged(function)
        self._wait = wait_ms
        self._lock = threading.Lock()
        self._asked = False

    def ask(self) -> bool:
        """Have the function called; return whether there is a GUI thread to call it."""
        with self._lock:
            if self._asked:
                return True
            self._asked = True
        if in_gui(self._start):
            return True
        self._asked = False
        return False

    def _start(self) -> None:
        from qtpy.QtCore import QTimer

        QTimer.singleShot(self._wait, lambda: self._call())  # Qt holds bound methods weakly

    def _call(self) -> None:
        with self._lock:
            self._asked = False
        self._function()


class Turns:
    """Takes the steps of an iterator on the GUI thread, one in a turn of the event loop: the window lives in between.

    Parameters
    ----------
    steps
        What to take, from the next turn on. An exception is logged, and ends it.
    """

    def __init__(self, steps: Iterator[object]) -> None:
        self._steps = steps
        self._take = _logged(self._step)
        self._soon()

    def _step(self) -> None:
        if next(self._steps, _END) is not _END:
            self._soon()

    def _soon(self) -> None:
        from qtpy.QtCore import QTimer

        QTimer.singleShot(0, self._take)


def _logged(function: Callable[[], object]) -> Callable[[], None]:
    def called() -> None:
        try:
            function()
        except Exception:
            _log.exception("a call on the GUI thread failed")

    return called
