"""`volseg export`, `volseg evaluate`: what leaves volseg, and how good it is."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.options import AsJson, LabelName, LabelsAt, Url, parse_ids, parse_range


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("export")(_export)
    app.command("evaluate")(_evaluate)


def _export(
    url: Url,
    name: LabelName,
    out: Annotated[str, typer.Option(metavar="PATH", help="File or folder to write.")],
    format: Annotated[  # noqa: A002
        str, typer.Option(help="tiff, png, csv, json, ome-zarr, and others: see the manual.")
    ] = "tiff",
    z: Annotated[str | None, typer.Option(help="Slices A:B.")] = None,
    y: Annotated[str | None, typer.Option(help="Rows A:B.")] = None,
    x: Annotated[str | None, typer.Option(help="Columns A:B.")] = None,
    objects: Annotated[str | None, typer.Option(help="Ids such as 3,7.")] = None,
    class_: Annotated[str | None, typer.Option("--class", help="Objects of this class.")] = None,
    level: Annotated[int, typer.Option(min=0, help="Pyramid level.")] = 0,
    time: Annotated[int, typer.Option(min=0, help="Time point.")] = 0,
    shards: Annotated[
        bool, typer.Option("--shards", help="ome-zarr: write a sharded copy.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    labels_at: LabelsAt = None,
) -> None:
    """Export a label image with its provenance."""
    from volseg.exporting import export
    from volseg.volume.image import open_volume
    from volseg.volume.labels import open_labels

    labels = open_labels(open_volume(url, labels_at), name)
    with Bars() as bars:
        result = export(
            labels,
            out,
            format=format,
            z=parse_range(z, "--z"),
            y=parse_range(y, "--y"),
            x=parse_range(x, "--x"),
            objects=parse_ids(objects, "--objects"),
            classes=None if class_ is None else [class_],
            level=level,
            time=time,
            shards=shards,
            overwrite=overwrite,
            progress=bars,
        )
    for path in result.paths[:10]:
        typer.echo(str(path))
    if len(result.paths) > 10:
        typer.echo(f"… {len(result.paths)} files in all")


def _evaluate(
    url: Url,
    name: LabelName,
    truth: Annotated[str, typer.Option(metavar="PATH_OR_URL", help="True labels.")],
    match: Annotated[str, typer.Option(help="Pair objects by overlap or by id.")] = "overlap",
    level: Annotated[int, typer.Option(min=0, help="Pyramid level.")] = 0,
    time: Annotated[int, typer.Option(min=0, help="Time point.")] = 0,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Score a label image against true labels, beside the plain Otsu component under each point."""
    from volseg.evaluation import evaluate
    from volseg.evaluation.prompted import otsu_baseline
    from volseg.volume.image import open_volume
    from volseg.volume.labels import open_labels

    volume = open_volume(url, labels_at)
    labels = open_labels(volume, name)
    with Bars() as bars:
        report = evaluate(labels, truth, match=match, level=level, time=time, progress=bars)
    boxes = report.truth_kind == "boxes"
    baseline = None if boxes else otsu_baseline(volume, labels, truth, level=level, time=time)
    if as_json:
        facts = report.to_dict() | {"baseline_otsu": baseline and baseline.to_dict()}
        typer.echo(json.dumps(facts))
        return
    typer.echo(report.to_text())
    if baseline is not None:
        count = len(baseline.objects)
        typer.echo(f"{'Otsu component, Dice':<24}{baseline.mean_dice:.4f}  over {count} objects")
