"""`volseg history`, `volseg import-labels`: who changed labels, how they were, and labels from elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from volseg.cli.bars import Bars
from volseg.cli.console import Console
from volseg.cli.options import (
    AcceptGaps,
    AsJson,
    LabelName,
    LabelsAt,
    Overwrite,
    OverwriteEdits,
    Series,
    Url,
)
from volseg.errors import InputError

if TYPE_CHECKING:
    from volseg.editing.past import HistoryEntry


SHOWN_OBJECTS = 8
"""How many objects of an edit are named; --json names all."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("history")(_history)
    app.command("import-labels")(_import_labels)


def _history(
    url: Url,
    name: LabelName,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="ISO 8601; with --out: labels as then.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="URL", help="OME-Zarr label image to write.")
    ] = None,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """List the edits of a label image, or write the labels as they were."""
    from volseg.editing.past import history
    from volseg.editing.past import labels_at as labels_as_of
    from volseg.images.image import open_volume
    from volseg.images.labels import open_labels

    if (at is None) != (out is None):
        raise InputError("--at TIME and --out URL go together")
    labels = open_labels(open_volume(url, labels_at), name)
    if at is not None and out is not None:
        with Bars() as bars:
            volume = labels_as_of(labels, at).write(out, progress=bars)
        typer.echo(f"{volume.location}: {name} as it was at {at}")
        return
    entries = history(labels)
    if as_json:
        typer.echo(json.dumps([_facts(entry) for entry in entries]))
        return
    table = Table(
        "record", "time (UTC)", "annotator", "what", "voxels", "chunks", "objects", box=None
    )
    for entry in entries:
        changes = _changes(entry)
        more = f" and {len(changes) - SHOWN_OBJECTS} more" if len(changes) > SHOWN_OBJECTS else ""
        kind = f"{entry.kind} (undone)" if entry.undone else entry.kind
        when = f"{entry.time:%Y-%m-%d %H:%M:%S}"
        counts = (str(entry.voxels), str(entry.chunks))
        table.add_row(
            str(entry.number),
            when,
            entry.annotator,
            kind,
            *counts,
            ", ".join(changes[:SHOWN_OBJECTS]) + more,
        )
    Console().print(table)


def _changes(entry: HistoryEntry) -> list[str]:
    """What an edit did to each object: voxels gained or lost, and its class."""
    named = dict.fromkeys([*entry.ids, *entry.classes, *entry.details.get("ids", ())])
    return [_change(entry, one) for one in named]


def _change(entry: HistoryEntry, one: int) -> str:
    voxels = f" {entry.ids[one]:+d}" if one in entry.ids else ""
    if one not in entry.classes:
        return f"{one}{voxels}"
    old, new = entry.classes[one]
    return f"{one}{voxels} {old or 'no class'} → {new or 'no class'}"


def _facts(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "record": entry.number,
        "operation": entry.operation,
        "time": entry.time.isoformat(),
        "annotator": entry.annotator,
        "kind": entry.kind,
        "voxels": entry.voxels,
        "chunks": entry.chunks,
        "bbox_zyx": entry.bbox,
        "ids": {str(one): change for one, change in entry.ids.items()},
        "classes": {str(one): list(change) for one, change in entry.classes.items()},
        "undone": entry.undone,
    }


def _import_labels(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="TIFF and other images, volseg JSON, ImageJ ROIs, QuPath GeoJSON, DICOM SEG, Cellpose _seg.npy.",
        ),
    ],
    url: Url,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="One per layer or channel; one is put before theirs."
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Which layer or channel of a file that has several.")
    ] = None,
    components: Annotated[
        bool,
        typer.Option("--components", help="A mask: each component (26 neighbours) is an object."),
    ] = False,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="N=NAME,…",
            help="Ids are class numbers, as scribbles': 1=background,2=membrane.",
        ),
    ] = None,
    axes: Annotated[str | None, typer.Option(help="Axes of an image file, such as zyx.")] = None,
    time: Annotated[int | None, typer.Option(min=0, help="Time point of the labels.")] = None,
    series: Series = None,
    accept_gaps: AcceptGaps = False,
    overwrite: Overwrite = False,
    overwrite_edits: OverwriteEdits = False,
    labels_at: LabelsAt = None,
) -> None:
    """Make a label image from labels that exist already."""
    from volseg.images.image import open_volume
    from volseg.importing import SourceOptions, import_label_layers
    from volseg.importing.class_numbers import read_classes

    volume = open_volume(url, labels_at, writable=True)
    with Bars() as bars:
        made = import_label_layers(
            file,
            volume,
            names or (),
            layer=layer,
            components=components,
            classes=read_classes(classes),
            axes=axes,
            time=time,
            overwrite=overwrite,
            overwrite_edits=overwrite_edits,
            progress=bars,
            options=SourceOptions(series, accept_gaps=accept_gaps),
        )
    for labels in made:
        channel = "" if labels.channel is None else f" of channel {labels.channel}"
        typer.echo(f"{volume.location}: labels {labels.name}{channel}")
