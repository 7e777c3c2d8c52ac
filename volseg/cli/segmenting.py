"""`volseg embed`, `volseg segment`, `volseg prompts`: from prompts to label images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from volseg.cli.bars import Bars
from volseg.cli.declared import Set, SettingsFile, as_arguments, as_typed, read_values
from volseg.cli.flowing import run_flow
from volseg.cli.interrupts import resumable
from volseg.cli.options import AsJson, LabelsAt, Overwrite, Url, parse_range
from volseg.engine.devices import on_device
from volseg.errors import InputError
from volseg.options import flattened
from volseg.pipelines.options import LookOptions, RunOptions
from volseg.pipelines.segmentation.options import SegmentOptions

if TYPE_CHECKING:
    from volseg.pipelines.segmentation import Plan
    from volseg.prompts import PromptSet

Time = Annotated[int, typer.Option(min=0, help="Time point.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("embed")(_embed)
    app.command("segment")(_segment)
    room = typer.Typer(no_args_is_help=True, help="Make and check prompts files.")
    room.command("from-labels")(_prompts_from_labels)
    room.command("from-boxes")(_prompts_from_boxes)
    room.command("from-points")(_prompts_from_points)
    room.command("check")(_check_prompts)
    app.add_typer(room, name="prompts")


@flattened(as_typed)
def _embed(
    url: Url,
    look: LookOptions,
    z: Annotated[str | None, typer.Option(help="Slices A:B.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:0; a GPU where there is one.")
    ] = None,
    labels_at: LabelsAt = None,
) -> None:
    """Fill the embedding cache ahead of interactive work."""
    from volseg.features import embed_volume
    from volseg.images.image import open_volume

    volume = open_volume(url, labels_at, writable=True)
    with on_device(device), Bars() as bars:
        key = embed_volume(volume, z=parse_range(z, "--z"), progress=bars, **look.model_dump())
    typer.echo(f"{volume.output_store.location}/volseg/embeddings/{key}")


@flattened(as_typed)
def _segment(
    url: Url,
    options: SegmentOptions,
    run: RunOptions,
    prompts: Annotated[
        str | None, typer.Option(metavar="FILE", help="Prompts file (JSON).")
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="[ID=]Z,Y,X", help="In place of a file: an object each, or ID's."),
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option(metavar="[ID=]Z,Y0,X0,Y1,X1", help="As --point.")
    ] = None,
    points: Annotated[
        str | None,
        typer.Option(metavar="CSV", help="Columns z, y, x (and id, label), or napari's points."),
    ] = None,
    settings_file: SettingsFile = None,
    set_: Set = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Print the plan and do nothing.")
    ] = False,
    flow: Annotated[bool, typer.Option("--flow", help="Run as a Prefect flow.")] = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Propagate prompted masks through z and write a multiscale label image."""
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation import make_plans, run_on_cluster

    if run.resume and run.restart:
        raise InputError("--resume and --restart exclude each other")
    chosen = options.model_copy(update={"settings": read_values(settings_file, set_)})
    cluster = run.cluster or "local"
    asked = _prompts(prompts, point, box, points, chosen)
    with on_device(run.device, cluster), resumable():
        if flow and not plan_only:
            if prompts is None:
                raise InputError(
                    "--flow takes --prompts FILE: 'volseg prompts from-points' makes one"
                )
            place = {"url": url, "prompts": prompts, "labels_at": labels_at}
            given = chosen.model_dump() | run.model_dump() | place | {"cluster": cluster}
            with Bars() as bars:
                result = run_flow("segment", [given.pop("url"), *as_arguments(given)], bars)
            typer.echo(json.dumps(result) if as_json else result["text"])
            return
        plans = make_plans(open_volume(url, labels_at), asked, chosen, resume=run.resume)
        for plan in plans:
            if plan_only:
                typer.echo(json.dumps(plan.to_json()) if as_json else plan.describe())
                if cluster.startswith("ec2:"):
                    _tell_fleet(plan, cluster)
                continue
            with Bars() as bars:
                done = run_on_cluster(plan, cluster, workers=run.workers, progress=bars, **run.how)
            typer.echo(json.dumps(done.to_json()) if as_json else done.describe())


def _prompts(
    file: str | None,
    point: list[str] | None,
    box: list[str] | None,
    points: str | None,
    options: SegmentOptions,
) -> str | PromptSet:
    """The prompts: a file's, or those that were typed."""
    from volseg.prompts import typed_prompts

    typed = bool(point or box or points)
    if (file is None) is not typed:
        raise InputError("give --prompts FILE, or --point, --box and --points; one of the two")
    if file is not None:
        return file
    return typed_prompts(
        point or (), box or (), points, layer=options.labels or "objects", time=options.time
    )


def _tell_fleet(plan: Plan, cluster: str) -> None:
    """Time and cost of a plan on a fleet such as `ec2:g6.xlarge*40`."""
    from volseg.cloud.prices import estimate_plan, load_prices, parse_fleet

    typer.echo(estimate_plan(plan, parse_fleet(cluster), load_prices()).describe())


def _prompts_from_labels(
    source: Annotated[
        str, typer.Argument(metavar="URL_OR_TIFF", help="…/labels/NAME of a volume, or a file.")
    ],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Prompts file to write; else printed.")
    ] = None,
    kind: Annotated[str, typer.Option(help="point, box or mask.")] = "point",
    layer: Annotated[
        str, typer.Option(help="Name of the layer, and so of the labels.")
    ] = "objects",
    min_voxels: Annotated[int, typer.Option(min=1, help="Leave out smaller objects.")] = 1,
    overwrite: Overwrite = False,
    time: Time = 0,
) -> None:
    """Write one prompt per object of existing labels."""
    from volseg.evaluation.sources import LabelImageSource, open_source
    from volseg.prompts import prompts_from_labels
    from volseg.prompts.from_labels import Kind
    from volseg.storage.files import file_to_write

    if kind not in get_args(Kind):
        raise InputError(f"--kind {kind!r}: expected one of {', '.join(get_args(Kind))}")
    if out is not None:
        file_to_write(out)
    found = open_source(source, time=time)
    choices: dict[str, Any] = {"kind": kind, "layer": layer, "min_voxels": min_voxels}
    if isinstance(found, LabelImageSource):
        prompts = prompts_from_labels(found.labels, time=time, **choices)
    else:
        z, y, x = found.shape
        prompts = prompts_from_labels(found.read(((0, z), (0, y), (0, x))), **choices)
    if out is None:
        typer.echo(prompts.to_json())
        return
    _write(prompts, out, overwrite)


def _prompts_from_boxes(
    table: Annotated[str, typer.Argument(metavar="CSV", help="Boxes; RSNA's layout, or corners.")],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Prompts file to write; else printed.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Which image, where the table has boxes of several.")
    ] = None,
    layer: Annotated[str, typer.Option(help="Name of the layer, and so of the labels.")] = "boxes",
    overwrite: Overwrite = False,
    channel: Annotated[int | None, typer.Option(min=0, help="Channel of the layer.")] = None,
) -> None:
    """Write one prompt per box of a table."""
    from volseg.importing.boxes import boxes_of_image, prompts_from_boxes
    from volseg.storage.files import file_to_write

    if out is not None:
        file_to_write(out)
    prompts = prompts_from_boxes(boxes_of_image(table, image), layer=layer, channel=channel)
    if out is None:
        typer.echo(prompts.to_json())
        return
    _write(prompts, out, overwrite)


def _prompts_from_points(
    table: Annotated[
        str,
        typer.Argument(metavar="CSV", help="Columns z, y, x (and id, label), or napari's points."),
    ],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Prompts file to write; else printed.")
    ] = None,
    layer: Annotated[
        str, typer.Option(help="Name of the layer, and so of the labels.")
    ] = "objects",
    overwrite: Overwrite = False,
    time: Time = 0,
) -> None:
    """Write one prompt per point of a table; points of one id are one object's."""
    from volseg.prompts import typed_prompts
    from volseg.storage.files import file_to_write

    if out is not None:
        file_to_write(out)
    prompts = typed_prompts(table=table, layer=layer, time=time)
    if out is None:
        typer.echo(prompts.to_json())
        return
    _write(prompts, out, overwrite)


def _write(prompts: PromptSet, out: str, overwrite: bool) -> None:
    """Write a prompts file; an existing one holds somebody's clicks."""
    from volseg.images.targets.files import write_file
    from volseg.images.targets.permission import Permission

    data = (prompts.to_json() + "\n").encode()
    write_file(
        out, data, kind="prompts file", is_ours=_is_prompts, permission=Permission(overwrite)
    )
    typer.echo(f"{out}: {len(prompts.objects)} objects")


def _is_prompts(data: bytes) -> bool:
    try:
        document = json.loads(data)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("format") == "volseg-prompts"


def _check_prompts(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Prompts file.")], url: Url
) -> None:
    """Check a prompts file, against a volume."""
    from volseg.images.image import open_volume
    from volseg.prompts import load_prompts

    volume, prompts = open_volume(url), load_prompts(file)
    prompts.check_inside(volume.shape, volume.n_times, volume.n_channels)
    typer.echo(f"{file}: {len(prompts.objects)} objects, all inside")
