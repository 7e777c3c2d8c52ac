"""`volseg finetune`: a decoder that learns from the objects of label images."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.declared import as_typed
from volseg.cli.options import AsJson, LabelsAt
from volseg.cli.sorting import Sources
from volseg.engine.devices import on_device
from volseg.options import flattened
from volseg.pipelines.finetuning.options import FinetuneOptions


def add_to(app: typer.Typer) -> None:
    """Add the command of this room."""
    app.command("finetune")(_finetune)


@flattened(as_typed)
def _finetune(
    sources: Sources,
    out: Annotated[str, typer.Option(metavar="MODEL", help="Folder or URL to write.")],
    options: FinetuneOptions,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:0; a GPU where there is one.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is there.")
    ] = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Train a model's decoder on the objects of label images, and tell whether it is better."""
    from volseg.pipelines.finetuning import finetune
    from volseg.pipelines.objects.sources import read_sources

    with on_device(device, "local"), Bars() as bars:
        done = finetune(
            read_sources(sources),
            out,
            options,
            overwrite=overwrite,
            labels_at=labels_at,
            progress=bars,
        )
    typer.echo(json.dumps(done.to_json()) if as_json else done.describe())
