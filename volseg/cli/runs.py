"""`volseg runs`: what ran on a volume, how far, and whether all of it is still there."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from volseg.cli.console import Console
from volseg.cli.options import AsJson, LabelsAt, Url
from volseg.errors import NoListingError

Run = Annotated[
    str | None, typer.Argument(metavar="[PLAN]", help="First letters of the plan's hash.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    room = typer.Typer(no_args_is_help=True, help="List, show and verify runs.")
    room.command("list")(_list)
    room.command("show")(_show)
    room.command("verify")(_verify)
    app.add_typer(room, name="runs")


def _list(url: Url, labels_at: LabelsAt = None, as_json: AsJson = False) -> None:
    """List the runs whose ledgers lie beside a volume."""
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation import list_runs

    volume = open_volume(url, labels_at)
    try:
        found = list_runs(volume)
    except NoListingError:
        where = volume.output_store.location
        typer.echo(f"volseg: {where} can't list what it has, so its runs are not known", err=True)
        if as_json:
            typer.echo("null")
        return
    if as_json:
        typer.echo(json.dumps([asdict(run) for run in found]))
        return
    table = Table("plan", "labels", "model", "status", "blocks", "seconds", box=None)
    for run in found:
        blocks = f"{run.blocks_done}/{run.blocks_known}"
        seconds = f"{run.seconds:.1f}"
        table.add_row(run.plan_hash[:12], run.labels, run.model, run.status, blocks, seconds)
    Console().print(table)


def _show(url: Url, plan: Run = None, labels_at: LabelsAt = None, as_json: AsJson = False) -> None:
    """Show one run: stages, time, blocks that failed and why."""
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation import show_run

    details = show_run(open_volume(url, labels_at), plan)
    typer.echo(json.dumps(details.to_json()) if as_json else details.describe())


def _verify(
    url: Url, plan: Run = None, labels_at: LabelsAt = None, as_json: AsJson = False
) -> None:
    """Re-read what a run wrote: every marker, object and digest."""
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation import verify_run

    result = verify_run(open_volume(url, labels_at), plan)
    typer.echo(json.dumps(result.to_json()) if as_json else result.describe())
    if not result.complete:
        raise typer.Exit(1)
