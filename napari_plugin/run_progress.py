"""How far the runs of a label image are, as one share that only grows, and the time that is left. No Qt."""

from __future__ import annotations

import time
from collections.abc import Callable

LEAST_SHARE = 0.03  # before that much is done nobody can tell how long the rest takes
MOST_BEFORE_THE_END = 0.99


class RunProgress:
    """The share that is done of all runs since nothing ran.

    Parameters
    ----------
    clock
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shares: dict[str, float] = {}
        self._told = 0.0
        self._began = 0.0

    def begin(self, run: str) -> None:
        """Count a run in."""
        if all(share >= 1 for share in self._shares.values()):
            self._shares, self._told, self._began = {}, 0.0, self._clock()
        self._shares[run] = 0.0

    def at(self, run: str, share: float) -> None:
        """Note the share (0..1) that is done of a run."""
        if run in self._shares:
            self._shares[run] = max(self._shares[run], min(share, MOST_BEFORE_THE_END))

    def end(self, run: str) -> None:
        """Note that a run has ended."""
        if run in self._shares:
            self._shares[run] = 1.0

    @property
    def share(self) -> float:
        """The share (0..1) that is done of all; never less than what was told before."""
        if self._shares:
            self._told = max(self._told, sum(self._shares.values()) / len(self._shares))
        return self._told

    @property
    def left_s(self) -> float | None:
        """Seconds that are left if the rest goes as what is done; None where nothing can be told yet."""
        share = self.share
        if not LEAST_SHARE <= share < 1:
            return None
        return (self._clock() - self._began) * (1 - share) / share

    def __str__(self) -> str:
        left = self.left_s
        text = f"{self.share:.0%}"
        return text if left is None else f"{text}, {_minutes(left)} left"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
