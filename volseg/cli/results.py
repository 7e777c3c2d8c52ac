"""`volseg export`: what leaves volseg."""

from __future__ import annotations

from typing import Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.options import LabelName, LabelsAt, Url, parse_ids, parse_range


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("export")(_export)


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
    ngff: Annotated[str | None, typer.Option(help="ome-zarr: 0.4 or 0.5.")] = None,
    style: Annotated[
        str | None, typer.Option(help="png: ids (16 bit), palette or overlay on the image.")
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="png: slices, orthogonal, projection or contact.")
    ] = None,
    opacity: Annotated[
        float | None, typer.Option(min=0, max=1, help="png: of objects in an overlay.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option(min=0, help="png: channel of the image in an overlay.")
    ] = None,
    compression: Annotated[
        str | None, typer.Option(help="tiff: none, zlib (default), zstd or lzw.")
    ] = None,
    imagej: Annotated[
        bool, typer.Option("--imagej", help="tiff: an ImageJ hyperstack instead of OME-TIFF.")
    ] = False,
    surfaces: Annotated[
        bool | None,
        typer.Option("--surfaces/--no-surfaces", help="csv, parquet: surface, sphericity."),
    ] = None,
    intensities: Annotated[
        bool | None,
        typer.Option("--intensities/--no-intensities", help="csv, parquet: brightness."),
    ] = None,
    operator: Annotated[
        str | None, typer.Option(help="Who exports, for the provenance; else the account.")
    ] = None,
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
            overwrite=overwrite,
            operator=operator,
            progress=bars,
            shards=shards,
            ngff=ngff,
            style=style,
            view=view,
            opacity=opacity,
            channel=channel,
            compression=compression,
            imagej=imagej,
            surfaces=surfaces,
            intensities=intensities,
        )
    for path in result.paths[:10]:
        typer.echo(str(path))
    if len(result.paths) > 10:
        typer.echo(f"… {len(result.paths)} files in all")
