"""Training time that stands still while the process does: a pause counts as one ordinary step at most."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median

LAPS = 31
FEW = 5
LONGEST = 8.0  # times the usual lap; saving a checkpoint and a busy machine stay below
ALWAYS = 5.0
FIRST = 120.0


class Clock:
    """Count seconds lap by lap, and cut a lap that took far longer than the others.

    Neither the monotonic nor the wall clock stops when a process does (SIGSTOP, a suspended laptop), and CPU
    time means nothing where a GPU works: so a pause is told by its length.

    Parameters
    ----------
    elapsed : float
        Seconds of earlier sittings.
    now : callable
        A clock in seconds.
    """

    def __init__(self, elapsed: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self.elapsed = elapsed
        self._now, self._last = now, now()
        self._laps: deque[float] = deque(maxlen=LAPS)

    def lap(self) -> float:
        """End a lap and return all seconds counted so far."""
        now = self._now()
        seconds = min(now - self._last, self._limit())
        self._last = now
        self._laps.append(seconds)
        self.elapsed += seconds
        return self.elapsed

    def _limit(self) -> float:
        if len(self._laps) < FEW:
            return FIRST
        return LONGEST * median(self._laps) + ALWAYS
