"""How long work tells how far it is: one callback protocol, drawn by the command line, Prefect and napari alike."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called by long work whenever a unit is done; must be cheap and must not raise."""

    def __call__(self, stage: str, done: int, total: int, message: str = "") -> None:
        """Tell that `done` of `total` units of `stage` are finished.

        Parameters
        ----------
        stage
            Short name of the stage, the same for the whole stage (``"propagate"``).
        done, total
            Units finished and units known so far; ``total`` may grow while work is discovered.
        message
            One line for people, optional.
        """
        ...


def silent(stage: str, done: int, total: int, message: str = "") -> None:
    """A progress callback that shows nothing."""
