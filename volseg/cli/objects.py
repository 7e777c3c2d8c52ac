"""`volseg objects`: features of objects, their classes learned from a few, and what follows from them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.declared import as_typed
from volseg.cli.options import AsJson, LabelName, LabelsAt, Url
from volseg.engine.devices import on_device
from volseg.errors import InputError
from volseg.options import flattened
from volseg.pipelines.objects.options import FeatureOptions
from volseg.pipelines.options import RunOptions

PlanOnly = Annotated[bool, typer.Option("--plan-only", help="Print the plan and do nothing.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    room = typer.Typer(no_args_is_help=True, help="Measure, sort and sum up objects.")
    room.command("measure")(_measure)
    app.add_typer(room, name="objects")


@flattened(as_typed)
def _measure(
    url: Url,
    name: LabelName,
    features: FeatureOptions,
    run: RunOptions,
    plan_only: PlanOnly = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Measure shape, brightness, texture and neighbours of every object; a table beside the labels."""
    from volseg.images.image import open_volume
    from volseg.pipelines.objects import job
    from volseg.pipelines.objects.planner import make_plan

    if run.resume and run.restart:
        raise InputError("--resume and --restart exclude each other")
    volume = open_volume(url, labels_at)
    with on_device(run.device, run.cluster or "local"):
        plan = make_plan(volume, name, features)
        if plan_only:
            typer.echo(json.dumps(plan.to_json()) if as_json else plan.describe())
            return
        with Bars() as bars:
            done = job.run(
                plan,
                volume,
                cluster=run.cluster,
                workers=run.workers,
                restart=run.restart,
                progress=bars,
            )
    typer.echo(json.dumps(done.to_json()) if as_json else done.describe())
