"""`volseg export`: what leaves volseg."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.options import LabelsAt, Overwrite, Url, parse_ids, parse_range
from volseg.cli.unfinished import warn_of_unfinished
from volseg.errors import InputError


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("export")(_export)


def _export(
    url: Url,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Label images; several become layers of one file."),
    ],
    out: Annotated[
        str, typer.Option(metavar="PATH", help="File or folder to write; - for standard output.")
    ],
    format: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            help="tiff, png, csv, xlsx, json, ome-zarr, … (see the manual); default: by the ending of PATH."
        ),
    ] = None,
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
        str | None,
        typer.Option(help="png: palette (colours, default), ids (16 bit), overlay on the image."),
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
    scale_bar: Annotated[
        bool | None,
        typer.Option("--scale-bar/--no-scale-bar", help="png: default in views but slices."),
    ] = None,
    compression: Annotated[
        str | None, typer.Option(help="tiff: none, zlib (default), zstd or lzw.")
    ] = None,
    imagej: Annotated[
        bool, typer.Option("--imagej", help="tiff: an ImageJ hyperstack instead of OME-TIFF.")
    ] = False,
    surfaces: Annotated[
        bool | None,
        typer.Option("--surfaces/--no-surfaces", help="csv, xlsx, parquet: surface."),
    ] = None,
    intensities: Annotated[
        bool | None,
        typer.Option("--intensities/--no-intensities", help="csv, xlsx, parquet: brightness."),
    ] = None,
    operator: Annotated[
        str | None, typer.Option(help="Who exports, for the provenance; else the account.")
    ] = None,
    overwrite: Overwrite = False,
    labels_at: LabelsAt = None,
) -> None:
    """Export label images with their provenance."""
    from volseg.exporting import export
    from volseg.images.image import open_volume
    from volseg.images.labels import open_labels

    volume = open_volume(url, labels_at)
    labels = [open_labels(volume, name) for name in names]
    for name in names:
        warn_of_unfinished(volume, name)
    with Bars() as bars, _target(out, format) as target:
        result = export(
            labels,
            target,
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
            scale_bar=scale_bar,
            compression=compression,
            imagej=imagej,
            surfaces=surfaces,
            intensities=intensities,
        )
    if out == "-":
        return
    for path in result.paths[:10]:
        typer.echo(str(path))
    if len(result.paths) > 10:
        typer.echo(f"… {len(result.paths)} files in all")


@contextlib.contextmanager
def _target(out: str, kind: str | None) -> Iterator[str]:
    """Where to export to; for `-` a temporary file, which then goes to standard output."""
    if out != "-":
        yield out
        return
    from volseg.exporting.formats import find_format, formats

    found = find_format(kind, "-") if kind else None
    if found is None or found.folder or found.beside:
        single = ", ".join(one.name for one in formats() if not (one.folder or one.beside))
        raise InputError(f"--out -: name a --format that is one file: {single}")
    with tempfile.TemporaryDirectory(prefix="volseg-export-") as folder:
        path = Path(folder) / f"labels{found.suffix}"
        yield str(path)
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
