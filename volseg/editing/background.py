"""Flushing by itself: a thread that waits until a person pauses, and tries again with back-off when the store fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from volseg.errors import ConflictError, VolsegError

_log = logging.getLogger(__name__)
_LONGEST_WAIT_FACTOR = 5.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class BackgroundFlush:
    """Calls `flush` some seconds after the last edit, and in between during long bouts of editing.

    Parameters
    ----------
    flush
        What to call. Must be safe to call again after any error.
    beat
        Called every `beat_s` seconds (a sign of life).
    quiet_s
        Seconds without edits after which it flushes; five times that is the longest that an edit waits.
    beat_s
        Seconds between beats.
    """

    def __init__(
        self,
        flush: Callable[[], None],
        beat: Callable[[], None],
        quiet_s: float,
        beat_s: float,
    ) -> None:
        self._flush = flush
        self._beat = beat
        self._quiet = quiet_s
        self._beat_s = beat_s
        self._wake = threading.Condition()
        self._first: float | None = None  # monotonic clock of the oldest edit that waits
        self._last = 0.0
        self._failures = 0
        self._retry_at = 0.0
        self._stopped = False
        self.error: VolsegError | None = None
        self._thread: threading.Thread | None = None

    def touch(self) -> None:
        """Tell that there is something to flush."""
        with self._wake:
            self._last = time.monotonic()
            self._first = self._last if self._first is None else self._first
            if isinstance(self.error, ConflictError):
                self.error = None  # something changed: worth another look
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="volseg-flush", daemon=True)
                self._thread.start()
            self._wake.notify()

    def stop(self) -> None:
        """End the thread; a flush that runs is waited for."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _due(self) -> float | None:
        """Return when to flush next (monotonic clock), None if there is nothing to flush."""
        if self._first is None or isinstance(self.error, ConflictError):
            return None
        due = min(self._last + self._quiet, self._first + _LONGEST_WAIT_FACTOR * self._quiet)
        return max(due, self._retry_at)

    def _run(self) -> None:
        next_beat = time.monotonic() + self._beat_s
        while True:
            with self._wake:
                due = self._due()
                now = time.monotonic()
                wake_at = next_beat if due is None else min(due, next_beat)
                if not self._stopped and wake_at > now:
                    self._wake.wait(wake_at - now)
                if self._stopped:
                    return
                due = self._due()
                ready = due is not None and due <= time.monotonic()
                started = self._first
                if ready:
                    self._first = None
            if ready:
                self._try(started)
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self._beat_s
                try:
                    self._beat()
                except VolsegError as error:
                    _log.warning("no sign of life could be written: %s", error)

    def _try(self, started: float | None) -> None:
        try:
            self._flush()
            self.error, self._failures = None, 0
        except Exception as problem:  # whatever it is, the thread must live to try again
            error = problem if isinstance(problem, VolsegError) else VolsegError(repr(problem))
            with self._wake:
                self.error = error
                self._first = started
                pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**self._failures)
                self._retry_at = time.monotonic() + pause
                self._failures += 1
            if isinstance(error, ConflictError):
                _log.warning("edits are in conflict and wait for a choice: %s", error)
            else:
                _log.warning("edits are not stored yet, next attempt in %.0f s: %s", pause, error)
