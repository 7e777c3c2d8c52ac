"""The flow `export_labels`: labels as TIFF, PNG, CSV, JSON, OME-Zarr and more. `python -m flows.export --help`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.starting import make_parser, start, whole_number
from flows.telling import Telling, publish_report

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


def main(arguments: list[str] | None = None) -> int:
    """Run the flow as a program; returns the exit status."""
    parser = make_parser("export", "Write labels in a format that other programs read.")
    parser.add_argument("url", metavar="URL", help="OME-Zarr image")
    parser.add_argument("labels", metavar="NAME", help="label image")
    parser.add_argument("--out", required=True, metavar="PATH", help="file or folder to write")
    parser.add_argument(
        "--format", help="tiff, png, csv, json, ome-zarr, …; default: by the ending of PATH"
    )
    parser.add_argument("--labels-at", metavar="URL", help="where the labels are")
    parser.add_argument("--level", type=whole_number(0), default=0, help="level of the labels")
    parser.add_argument("--time", type=whole_number(0), default=0, help="time point")
    parser.add_argument("--objects", type=int, nargs="+", metavar="ID", help="only these")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    return start(export_labels, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
