"""Progress as people see it on a terminal: one bar per stage; one line per stage where there is no terminal."""

from __future__ import annotations

import logging
from contextlib import suppress
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from volseg.cli.console import Console


class Bars:
    """Draws progress callbacks on standard error; use as a context manager and pass it as `progress`."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._plain = not console.is_terminal
        self._quiet = not logging.getLogger().isEnabledFor(logging.WARNING)
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._ended: set[str] = set()
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[message]}"),
            console=console,
            disable=self._plain or self._quiet,
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int, message: str = "") -> None:
        """Show that `done` of `total` units of `stage` are finished (see `volseg.progress.Progress`)."""
        if self._quiet:
            return
        if self._plain:
            if done >= total and stage not in self._ended:
                self._ended.add(stage)
                with suppress(OSError):  # a run goes on where nobody can be told of it
                    self._console.print(f"{stage}: {done} of {total}", highlight=False)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, message="")
        self._progress.update(self._tasks[stage], completed=done, total=total, message=message)
