"""How a flow tells how far it is: a progress artifact, one JSON line per update on stdout where asked for, a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, TextIO, cast
from uuid import UUID

from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE

LINES: ContextVar[TextIO | None] = ContextVar("volseg_progress_lines", default=None)
"""Where progress goes as JSON lines; None for nowhere."""

ARTIFACT_SECONDS = 2.0
LINE_SECONDS = 0.1


class Telling:
    """A progress callback for flows. An update of an artifact costs some 80 ms, so there are few.

    Parameters
    ----------
    title
        What runs on what.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._artifact: UUID | None = None
        self._told = self._written = 0.0
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int, message: str = "") -> None:
        """Tell that `done` of `total` units of `stage` are finished."""
        now = time.monotonic()
        turn = stage != self._stage or done == total
        self._stage = stage
        if turn or now - self._written > LINE_SECONDS:
            self._written = now
            write_line({"stage": stage, "done": done, "total": total, "message": message})
        if now - self._told > ARTIFACT_SECONDS:
            self._told = now
            self._update(f"{self._title}: {stage}, {done} of {total}", done, total)

    def end(self) -> None:
        """Show that all is done."""
        self._update(f"{self._title}: done", 1, 1)

    def _update(self, description: str, done: int, total: int) -> None:
        share = 100.0 * done / max(1, total)
        if self._artifact is None:
            made = create_progress_artifact(share, "volseg", description)
            self._artifact = cast(UUID, made)  # flows here are not async
        else:
            update_progress_artifact(self._artifact, share, description)


def write_line(value: dict[str, Any]) -> None:
    """One JSON object on a line of its own, where lines were asked for."""
    stream = LINES.get()
    if stream is not None:
        stream.write(json.dumps(value) + "\n")
        stream.flush()


def as_task(label: str, go: Callable[[], None]) -> None:
    """Run a group of a stage's blocks as one Prefect task; the ledger does what retries and caches would.

    Parameters
    ----------
    label
        Names the task's run; it begins with the stage's name, the task's.
    go
        Does it.
    """
    stage, _, _ = label.partition(" ")

    @task(name=stage, task_run_name=label, cache_policy=NO_CACHE, persist_result=False, retries=0)
    def run_group() -> None:
        go()

    run_group()


def publish_stages(
    stages: dict[str, dict[str, Any]], quarantined: Sequence[dict[str, Any]]
) -> None:
    """Table artifacts: blocks by stage, and those that failed."""
    rows = [
        {
            "stage": name,
            "done": c["done"],
            "found done": c["resumed"],
            "failed": c["quarantined"],
            "attempts": c["attempts"],
            "seconds": round(c["wall_seconds"], 2),
            "seconds computing": round(c["compute_seconds"], 2),
        }
        for name, c in stages.items()
    ]
    create_table_artifact(rows, "volseg-blocks", "Blocks by stage")
    if quarantined:
        create_table_artifact(list(quarantined), "volseg-quarantined", "Blocks that were given up")


def publish_report(text: str) -> None:
    """The report as a markdown artifact."""
    create_markdown_artifact(text, "volseg-report", "What was made")
