"""`volseg auto`: a whole volume without a click."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.declared import as_typed
from volseg.cli.interrupts import resumable
from volseg.cli.options import AsJson, LabelsAt, Url
from volseg.engine.devices import on_device
from volseg.errors import InputError
from volseg.options import flattened
from volseg.pipelines.automatic.options import AutoOptions
from volseg.pipelines.options import RunOptions


def add_to(app: typer.Typer) -> None:
    """Add the command of this room."""
    app.command("auto")(_auto)


@flattened(as_typed)
def _auto(
    url: Url,
    options: AutoOptions,
    run: RunOptions,
    proposals_out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Only propose: write a prompts file, to be edited and given to `volseg segment`.",
        ),
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Print the plan and do nothing.")
    ] = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Find and segment every object of a volume, without any prompt."""
    from volseg.images.image import open_volume
    from volseg.pipelines.automatic import make_plan, run_automatic
    from volseg.storage.files import file_to_write

    if run.resume and run.restart:
        raise InputError("--resume and --restart exclude each other")
    if proposals_out is not None:
        file_to_write(proposals_out)
    cluster = run.cluster or "local"
    with resumable(), on_device(run.device, cluster), Bars() as bars:
        plan = make_plan(open_volume(url, labels_at), options)
        if plan_only:
            typer.echo(json.dumps(plan.to_json()) if as_json else plan.describe())
            return
        if proposals_out is not None and plan.method != "seeds":
            raise InputError(
                "--proposals-out: regions have no proposals; the maps show tissue without gaps, or give "
                "--method seeds"
            )
        done = run_automatic(
            plan,
            cluster,
            workers=run.workers,
            progress=bars,
            only_propose=proposals_out is not None,
            **run.how,
        )
    if proposals_out is not None and done.proposals is not None:
        done.proposals.dump(proposals_out)
    typer.echo(json.dumps(done.to_json()) if as_json else done.describe())
