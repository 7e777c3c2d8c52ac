"""`volseg pixels`: classes of voxels from scribbles."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.declared import as_typed
from volseg.cli.interrupts import resumable
from volseg.cli.options import AsJson, LabelName, LabelsAt, Url
from volseg.engine.devices import on_device
from volseg.errors import InputError
from volseg.options import flattened
from volseg.pipelines.options import RunOptions
from volseg.pipelines.pixels.options import PixelApplyOptions, PixelTrainOptions

if TYPE_CHECKING:
    from volseg.images.image import Volume

Model = Annotated[str, typer.Option(metavar="MODEL", help="Folder or URL of the classifier.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    room = typer.Typer(no_args_is_help=True, help="Classes of voxels from scribbles.")
    room.command("train")(_train)
    room.command("apply")(_apply)
    app.add_typer(room, name="pixels")
    app.command("next")(_next)


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
    with resumable(), on_device(run.device, cluster), Bars() as bars:
        plan = make_plan(open_volume(url, labels_at), model, options)
        if plan_only:
            typer.echo(json.dumps(plan.to_json()) if as_json else plan.describe())
            return
        done = run_on_cluster(plan, cluster, workers=run.workers, progress=bars, **run.how)
    typer.echo(json.dumps(done.to_json()) if as_json else done.describe())


def _next(
    url: Url,
    name: LabelName,
    maps: Annotated[
        str | None, typer.Option(metavar="NAME", help="Maps to go by; the only ones by default.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many regions.")] = 1,
    time: Annotated[int, typer.Option(min=0, help="Time point.")] = 0,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Tell the next regions that a stroke would help in; none is ever told twice."""
    from volseg.classify.voxels.maps import Maps
    from volseg.images.image import open_volume
    from volseg.images.labels import open_labels
    from volseg.uncertainty.queue import offer_next

    volume = open_volume(url, labels_at)
    labels = open_labels(volume, name)
    found = offer_next(labels, Maps(volume, _maps_name(volume, maps)), count, time=time)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
        return
    typer.echo("     z      y      x  region (z, y, x)               class           entropy  why")
    for one in found:
        z, y, x = one.centre
        region = ", ".join(f"{low}:{high}" for low, high in one.region)
        kind = one.class_name or str(one.class_number)
        typer.echo(f"{z:6} {y:6} {x:6}  {region:<29}  {kind:<14}  {one.entropy:7.3f}  {one.why}")
    if len(found) < count:
        typer.echo(f"no further region: {len(found)} of {count}", err=True)


def _maps_name(volume: Volume, name: str | None) -> str:
    """Return the maps that are meant."""
    from volseg.classify.voxels.maps import map_names

    if name is not None:
        return name
    names = map_names(volume)
    if len(names) == 1:
        return names[0]
    if not names:
        raise InputError(
            f"{volume.location} has no maps: write some with `volseg pixels apply --maps NAME`"
        )
    raise InputError(f"{volume.location} has several maps, {', '.join(names)}: choose with --maps")
