"""`volseg history`, `volseg import-labels`: who changed labels, how they were, and labels from elsewhere."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from volseg.cli.bars import Bars
from volseg.cli.options import AsJson, LabelName, LabelsAt, Url
from volseg.errors import InputError


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
    if (at is None) != (out is None):
        raise InputError("--at TIME and --out URL go together")
    raise NotImplementedError


def _import_labels(
    file: Annotated[str, typer.Argument(metavar="FILE", help="TIFF or volseg JSON.")],
    url: Url,
    name: LabelName,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the label image.")
    ] = False,
    labels_at: LabelsAt = None,
) -> None:
    """Make a label image from labels that exist already."""
    from volseg.importing import import_labels
    from volseg.volume.image import open_volume

    volume = open_volume(url, labels_at, writable=True)
    with Bars() as bars:
        labels = import_labels(file, volume, name, overwrite=overwrite, progress=bars)
    typer.echo(f"{volume.location}: labels {labels.name}")


_ = (json, Console, Table)
