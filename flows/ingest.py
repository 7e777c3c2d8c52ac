"""The flow `import_volume`: TIFF, stacks, DICOM, NRRD, NIfTI, NumPy → OME-Zarr; `python -m flows.ingest`."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

from prefect import flow
from pydantic import Field

from flows.starting import make_parser, start
from flows.telling import Telling, publish_report

Micrometres = Annotated[float, Field(gt=0)]


@flow(
    name="import_volume",
    flow_run_name="import-{src}",
    description="Write an OME-Zarr volume from files of another format.",
    persist_result=False,
)
def import_volume(
    src: str,
    url: str,
    axes: str | None = None,
    voxel_size_um: Annotated[list[Micrometres], Field(min_length=3, max_length=3)] | None = None,
    ngff: Literal["0.4", "0.5"] = "0.5",
    overwrite: bool = False,
    overwrite_edits: bool = False,
) -> dict[str, Any]:
    """Import a volume; parameters as in `volseg.import_volume`."""
    from volseg.importing import import_volume as make

    telling = Telling(f"import of {src}")
    volume = make(
        src,
        url,
        axes=axes,
        voxel_size_um=voxel_size_um,
        ngff=ngff,
        overwrite=overwrite,
        overwrite_edits=overwrite_edits,
        progress=telling,
    )
    telling.end()
    shape = list(volume.shape)
    text = (
        f"{volume.location}: {shape[0]} × {shape[1]} × {shape[2]} voxels (z, y, x), {volume.dtype}"
    )
    publish_report(text)
    return {"url": str(volume.location.url), "shape": shape, "text": text}


def main(arguments: list[str] | None = None) -> int:
    """Run the flow as a program; returns the exit status."""
    parser = make_parser("ingest", "Write an OME-Zarr volume from files of another format.")
    parser.add_argument("src", metavar="SRC", help="file, or folder of slices or of a series")
    parser.add_argument("url", metavar="URL", help="where the OME-Zarr image goes")
    parser.add_argument("--axes", help="axes of the source, such as zcyx")
    parser.add_argument(
        "--voxel-size", dest="voxel_size_um", nargs=3, type=float, metavar=("Z", "Y", "X"),
        help="micrometres",
    )  # fmt: skip
    parser.add_argument("--ngff", choices=["0.4", "0.5"], default="0.5", help="NGFF version")
    parser.add_argument("--overwrite", action="store_true", help="replace a volume of volseg's")
    parser.add_argument("--overwrite-edits", action="store_true", help="and its label images")
    return start(import_volume, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
