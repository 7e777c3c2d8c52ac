"""The warning that a label image may be part of what was asked for, on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from volseg.images.image import Volume


def warn_of_unfinished(volume: Volume, labels: str) -> None:
    """Warn where the last run into a label image was interrupted, failed, left blocks out or still goes on."""
    from volseg.pipelines.segmentation.report import unfinished_run

    run = unfinished_run(volume, labels)
    if run is not None:
        typer.echo(
            f"volseg: warning: the last run into labels {labels} ({run.plan_hash[:12]}) is {run.status}, so they may "
            "be incomplete; `volseg segment … --resume` finishes it",
            err=True,
        )
