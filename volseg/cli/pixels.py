"""`volseg pixels`: classes of voxels from scribbles."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.declared import as_typed
from volseg.cli.options import AsJson, LabelsAt, Url
from volseg.engine.devices import on_device
from volseg.errors import InputError, InterruptedRunError
from volseg.options import flattened
from volseg.pipelines.options import RunOptions
from volseg.pipelines.pixels.options import PixelApplyOptions, PixelTrainOptions

Model = Annotated[str, typer.Option(metavar="MODEL", help="Folder or URL of the classifier.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    room = typer.Typer(no_args_is_help=True, help="Classes of voxels from scribbles.")
    room.command("train")(_train)
    room.command("apply")(_apply)
    app.add_typer(room, name="pixels")


@flattened(as_typed)
def _train(
    urls: Annotated[
        list[str], typer.Argument(metavar="URL...", help="OME-Zarr images with scribbles.")
    ],
    scribbles: Annotated[
        str, typer.Option(metavar="NAME", help="Label image whose ids are class numbers.")
    ],
    out: Annotated[str, typer.Option(metavar="MODEL", help="Folder or URL to write.")],
    options: PixelTrainOptions,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:0; a GPU where there is one.")
    ] = None,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on the scribbles of one or several images."""
    from volseg.images.image import open_volume
    from volseg.pipelines.pixels import train

    images = [(open_volume(url, labels_at), scribbles) for url in urls]
    with on_device(device), Bars() as bars:
        result = train(images, out, options, progress=bars)
    typer.echo(json.dumps(result.to_json()) if as_json else result.describe())


@flattened(as_typed)
def _apply(
    url: Url,
    model: Model,
    options: PixelApplyOptions,
    run: RunOptions,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Print the plan and do nothing.")
    ] = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Classify every voxel of an image, and write class numbers, objects and maps."""
    from volseg.images.image import open_volume
    from volseg.pipelines.pixels.job import run_on_cluster
    from volseg.pipelines.pixels.planner import make_plan

    if run.resume and run.restart:
        raise InputError("--resume and --restart exclude each other")
    cluster = run.cluster or "local"
    try:
        with on_device(run.device, cluster), Bars() as bars:
            plan = make_plan(open_volume(url, labels_at), model, options)
            if plan_only:
                typer.echo(json.dumps(plan.to_json()) if as_json else plan.describe())
                return
            done = run_on_cluster(plan, cluster, workers=run.workers, progress=bars, **run.how)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "interrupted; the same command with --resume goes on where it was"
        ) from None
    typer.echo(json.dumps(done.to_json()) if as_json else done.describe())
