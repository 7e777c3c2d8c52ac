"""The flow `export_labels`: labels as TIFF, PNG, CSV, JSON, OME-Zarr and more. `python -m flows.export --help`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from prefect import flow
from pydantic import Field

from flows.starting import start
from flows.telling import Telling, publish_report
from volseg.cli.options import LabelName, LabelsAt, Overwrite, Url, parse_ids

Index = Annotated[int, Field(ge=0)]


@flow(
    name="export_labels",
    flow_run_name="export-{labels}-as-{format}",
    description="Write labels in a format that other programs read.",
    persist_result=False,
)
def export_labels(
    url: str,
    labels: str,
    out: str,
    format: str | None = None,  # noqa: A002
    labels_at: str | None = None,
    level: Index = 0,
    time: Index = 0,
    objects: list[int] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Export a label image; parameters as in `volseg.export`."""
    from volseg.exporting import export
    from volseg.images.image import open_volume

    telling = Telling(f"export of {labels}")
    result = export(
        open_volume(url, labels_at).labels[labels],
        out,
        format=format,
        level=level,
        time=time,
        objects=objects,
        overwrite=overwrite,
        progress=telling,
    )
    telling.end()
    paths = [str(path) for path in result.paths]
    text = "\n".join(paths[:20]) + (f"\nand {len(paths) - 20} more" if len(paths) > 20 else "")
    publish_report(text)
    return {"paths": paths, "text": text}


def _program(
    url: Url,
    labels: LabelName,
    out: Annotated[str, typer.Option(metavar="PATH", help="File or folder to write.")],
    format: Annotated[  # noqa: A002
        str | None, typer.Option(help="tiff, png, csv, …; default: by the ending of PATH.")
    ] = None,
    labels_at: LabelsAt = None,
    level: Annotated[int, typer.Option(min=0, help="Level of the labels.")] = 0,
    time: Annotated[int, typer.Option(min=0, help="Time point.")] = 0,
    objects: Annotated[str | None, typer.Option(metavar="IDS", help="Only these: 3,7.")] = None,
    overwrite: Overwrite = False,
) -> dict[str, Any]:
    """Write labels in a format that other programs read."""
    ids = parse_ids(objects, "--objects")
    result: dict[str, Any] = export_labels(
        url, labels, out, format, labels_at, level, time, ids, overwrite
    )
    return result


if __name__ == "__main__":
    sys.exit(start("export", _program))
