"""`volseg objects measure`, `label`, `train`, `classify`: features of objects, and classes learned from a few."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from volseg.cli import sorting
from volseg.cli.bars import Bars
from volseg.cli.declared import Set, as_typed, read_values
from volseg.cli.options import AsJson, LabelName, LabelsAt, Url
from volseg.cli.sorting import Sources
from volseg.engine.devices import on_device
from volseg.errors import InputError
from volseg.options import flattened
from volseg.pipelines.objects.options import FeatureOptions, PatchOptions
from volseg.pipelines.options import RunOptions

Model = Annotated[str, typer.Option(metavar="MODEL", help="Folder of a classifier.")]
PlanOnly = Annotated[bool, typer.Option("--plan-only", help="Print the plan and do nothing.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    room = typer.Typer(no_args_is_help=True, help="Measure, sort and sum up objects.")
    room.command("measure")(_measure)
    room.command("label")(_label)
    room.command("train")(_train)
    room.command("classify")(_classify)
    room.command("export-patches")(_export_patches)
    sorting.add_to(room)
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


def _label(
    url: Url,
    name: LabelName,
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID=CLASS]…", help="As 6=nucleus 7,8,9=debris; 6= takes it back."),
    ] = None,
    table: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Columns id and class, as exported.")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Who says so; else the account's name.")
    ] = None,
    labels_at: LabelsAt = None,
) -> None:
    """Say what objects are, as one edit that can be undone."""
    from volseg.images.image import open_volume
    from volseg.pipelines.objects.annotating import give_classes, read_classes

    classes = read_classes(given or (), table)
    labels = open_volume(url, labels_at, writable=True).labels[name]
    count = give_classes(labels, classes, annotator)
    typer.echo(f"labels {name} in {url}: {count} object{'' if count == 1 else 's'} labelled")


@flattened(as_typed)
def _train(
    sources: Sources,
    out: Annotated[str, typer.Option(metavar="MODEL", help="Folder to write.")],
    features: FeatureOptions,
    run: RunOptions,
    kind: Annotated[
        str, typer.Option(help="auto, logistic, trees, network, or a package's own.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of what is random in it.")] = 0,
    settings_file: Annotated[
        str | None,
        typer.Option("--settings", metavar="FILE", help="Of a network, as JSON or TOML."),
    ] = None,
    set_: Set = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is there.")
    ] = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Learn classes from the objects that people gave one; several images train together."""
    from volseg.pipelines.objects.learning import train
    from volseg.pipelines.objects.sources import read_sources

    with on_device(run.device, run.cluster or "local"), Bars() as bars:
        done = train(
            read_sources(sources),
            out,
            kind=kind,
            options=features,
            seed=seed,
            settings=read_values(settings_file, set_),
            overwrite=overwrite,
            labels_at=labels_at,
            cluster=run.cluster,
            workers=run.workers,
            progress=bars,
        )
    typer.echo(json.dumps(done.to_json()) if as_json else done.describe())


@flattened(as_typed)
def _classify(
    sources: Sources,
    model: Model,
    run: RunOptions,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Give every object a class, image after image; what a person said stays. Run it again to go on."""
    from volseg.pipelines.objects.classification import classify
    from volseg.pipelines.objects.learning import ObjectModel
    from volseg.pipelines.objects.planner import make_plan
    from volseg.pipelines.objects.sources import as_sources, read_sources

    loaded = ObjectModel.load(model)
    given = as_sources(read_sources(sources), labels_at)
    for one in given:  # whatever does not fit is told before anything is measured
        make_plan(one.volume, one.name, definition=loaded.definition)
    with on_device(run.device, run.cluster or "local"), Bars() as bars:
        for one in given:
            done = classify(
                one.volume,
                one.name,
                loaded,
                cluster=run.cluster,
                workers=run.workers,
                restart=run.restart,
                progress=bars,
            )
            typer.echo(json.dumps(done.to_json()) if as_json else done.describe())


@flattened(as_typed)
def _export_patches(
    url: Url,
    name: LabelName,
    out: Annotated[str, typer.Option(metavar="FILE", help="NumPy archive (.npz) to write.")],
    patches: PatchOptions,
    every: Annotated[
        bool, typer.Option("--all", help="All objects, not only those that people labelled.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file.")] = False,
    labels_at: LabelsAt = None,
) -> None:
    """Write what a network sees of objects: patches, with the mask last, ids, times and classes."""
    from volseg.images.image import open_volume
    from volseg.pipelines.objects.patch_files import write_patches

    with Bars() as bars:
        count = write_patches(
            open_volume(url, labels_at),
            name,
            out,
            patches,
            every=every,
            overwrite=overwrite,
            progress=bars,
        )
    typer.echo(f"{out}: {count} patches")
