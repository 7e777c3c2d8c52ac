"""The flow `import_volume`: TIFF, stacks, DICOM, NRRD, NIfTI, NumPy → OME-Zarr; `python -m flows.ingest`."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer
from prefect import flow
from pydantic import Field

from flows.starting import start
from flows.telling import Telling, publish_report
from volseg.cli.options import Overwrite, OverwriteEdits, Url

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


def _program(
    src: Annotated[str, typer.Argument(metavar="SRC", help="File, or folder of a series.")],
    url: Url,
    axes: Annotated[str | None, typer.Option(help="Axes of the source, such as zcyx.")] = None,
    voxel_size: Annotated[
        tuple[float, float, float] | None, typer.Option(metavar="Z Y X", help="Micrometres.")
    ] = None,
    ngff: Annotated[Literal["0.4", "0.5"], typer.Option(help="NGFF version.")] = "0.5",
    overwrite: Overwrite = False,
    overwrite_edits: OverwriteEdits = False,
) -> dict[str, Any]:
    """Write an OME-Zarr volume from files of another format."""
    size = None if voxel_size is None else list(voxel_size)
    result: dict[str, Any] = import_volume(src, url, axes, size, ngff, overwrite, overwrite_edits)
    return result


if __name__ == "__main__":
    sys.exit(start("ingest", _program))
