"""`volseg objects keep`, `drop`, `parents`, `next`, `summary`: what follows from the classes of objects."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.options import AsJson, LabelName, LabelsAt, Overwrite, OverwriteEdits, Url
from volseg.errors import InputError

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="URL NAME…", help="Images with the name of their labels; 'plate/*.zarr' cells, too."
    ),
]

Classes = Annotated[
    list[str], typer.Option("--class", metavar="CLASS", help="May be given several times.")
]
Into = Annotated[
    str | None,
    typer.Option("--labels", metavar="NEW", help="New label image; else one edit, to be undone."),
]


def add_to(room: typer.Typer) -> None:
    """Add the commands to those of `volseg objects`."""
    room.command("keep")(_keep)
    room.command("drop")(_drop)
    room.command("parents")(_parents)
    room.command("next")(_next)
    room.command("summary")(_summary)


def _keep(
    url: Url,
    name: LabelName,
    classes: Classes,
    into: Into = None,
    overwrite: Overwrite = False,
    overwrite_edits: OverwriteEdits = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Keep the objects of some classes; all others go, those without a class, too."""
    _select(url, name, classes, True, into, overwrite, overwrite_edits, labels_at, as_json)


def _drop(
    url: Url,
    name: LabelName,
    classes: Classes,
    into: Into = None,
    overwrite: Overwrite = False,
    overwrite_edits: OverwriteEdits = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Drop the objects of some classes; all others stay."""
    _select(url, name, classes, False, into, overwrite, overwrite_edits, labels_at, as_json)


def _select(
    url: str,
    name: str,
    classes: list[str],
    keep: bool,
    into: str | None,
    overwrite: bool,
    overwrite_edits: bool,
    labels_at: str | None,
    as_json: bool,
) -> None:
    from volseg.images.image import open_volume
    from volseg.pipelines.objects.selecting import select_classes

    if into is None and (overwrite or overwrite_edits):
        raise InputError("--overwrite is for a new label image; name it with --labels NEW")
    with Bars() as bars:
        done = select_classes(
            open_volume(url, labels_at, writable=True),
            name,
            classes,
            keep=keep,
            into=into,
            overwrite=overwrite,
            overwrite_edits=overwrite_edits,
            progress=bars,
        )
    told = f"labels {done.labels} in {url}: {done.kept} objects kept, {done.dropped} dropped"
    typer.echo(json.dumps(vars(done)) if as_json else told)


def _parents(
    url: Url,
    child: Annotated[str, typer.Argument(metavar="CHILD", help="Label image of what lies inside.")],
    parent: Annotated[str, typer.Argument(metavar="PARENT", help="Label image of what holds it.")],
    semantic: Annotated[
        str | None,
        typer.Option(
            metavar="NEW", help="Also a label image of classes: PARENT without CHILD, and CHILD."
        ),
    ] = None,
    overwrite: Overwrite = False,
    overwrite_edits: OverwriteEdits = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Tell each object of CHILD the object of PARENT that holds at least half of it; list orphans."""
    from volseg.images.image import open_volume
    from volseg.pipelines.objects.nested import nested_classes
    from volseg.pipelines.objects.parents import find_parents

    if semantic is None and (overwrite or overwrite_edits):
        raise InputError("--overwrite is for a new label image; name it with --semantic NEW")
    volume = open_volume(url, labels_at, writable=True)
    with Bars() as bars:
        if semantic is not None:
            given = {"overwrite": overwrite, "overwrite_edits": overwrite_edits}
            nested_classes(volume, child, parent, semantic, progress=bars, **given)
        found = find_parents(volume, child, parent, progress=bars)
    typer.echo(json.dumps(found.to_json()) if as_json else found.describe())


def _next(
    url: Url,
    name: LabelName,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Folder of a classifier.")
    ] = None,
    how: Annotated[
        str, typer.Option(help="random, unsure (smallest margin first), each (class in turn).")
    ] = "random",
    class_: Annotated[
        str | None, typer.Option("--class", help="Only objects that the classifier calls so.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of what is random.")] = 0,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """List objects to label next: at random, where a classifier is least sure, or some of each class."""
    from typing import get_args

    from volseg.images.image import open_volume
    from volseg.pipelines.objects.choosing import How, next_objects

    chosen: How | None = next((one for one in get_args(How) if one == how), None)
    if chosen is None:
        raise InputError(f"--how {how!r}: expected random, unsure or each")
    with Bars() as bars:
        found = next_objects(
            open_volume(url, labels_at),
            name,
            model,
            how=chosen,
            class_=class_,
            count=count,
            seed=seed,
            progress=bars,
        )
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in found]))
        return
    for one in found:
        z, y, x = one.place
        said = "" if one.class_ is None else f"  {one.class_} {one.confidence:.2f}"
        typer.echo(f"object {one.id} at z {z:g}, y {y:g}, x {x:g}{said}")


def _summary(
    sources: Sources,
    groups: Annotated[
        str | None, typer.Option(help="Group of each image, as control,control,treated.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="Names such as area,intensity_mean-0; else the usual ones.")
    ] = None,
    csv: Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Also a table.")] = None,
    plots: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Also box plots, an SVG per feature.")
    ] = None,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Sum up objects by class, image and group; compare groups, or else classes, by rank tests."""
    from volseg.pipelines.objects.sources import as_sources, read_sources
    from volseg.pipelines.objects.summary import summarise
    from volseg.pipelines.objects.summary_files import write_plots
    from volseg.storage.files import file_to_write, write_text

    if csv is not None:
        file_to_write(csv)
    given = as_sources(read_sources(sources), labels_at)
    with Bars() as bars:
        found = summarise(
            given,
            None if groups is None else [one.strip() for one in groups.split(",")],
            None if features is None else [one.strip() for one in features.split(",")],
            progress=bars,
        )
    if csv is not None:
        write_text(csv, found.to_csv())
    if plots is not None:
        write_plots(found, plots)
    typer.echo(json.dumps(found.to_json()) if as_json else found.describe())
