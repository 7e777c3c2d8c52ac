"""`volseg import`, `volseg info`: volumes in, and what lies at a URL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from volseg.cli.bars import Bars
from volseg.cli.console import Console
from volseg.cli.options import AcceptGaps, AsJson, LabelsAt, Overwrite, OverwriteEdits, Series, Url
from volseg.errors import NoListingError

if TYPE_CHECKING:
    from volseg.images.image import Volume


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("import")(_import)
    app.command("info")(_info)


def _import(
    source: Annotated[str, typer.Argument(metavar="SRC", help="File, folder or URL to read.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="OME-Zarr to write.")],
    axes: Annotated[
        str | None, typer.Option(help="Axes of the source, such as zyx or tczyx.")
    ] = None,
    voxel_size: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="Z Y X", help="Voxel size in micrometres."),
    ] = None,
    ngff: Annotated[str, typer.Option(help="OME-Zarr version: 0.4 or 0.5.")] = "0.5",
    patient_data: Annotated[
        bool,
        typer.Option("--patient-data", help="DICOM: keep what it says of patient and study."),
    ] = False,
    series: Series = None,
    accept_gaps: AcceptGaps = False,
    dataset: Annotated[
        str | None, typer.Option(metavar="PATH", help="HDF5: which data set of several.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels/--no-labels", help="OME-Zarr: its label images too.")
    ] = True,
    resample_tilt: Annotated[
        bool,
        typer.Option("--resample-tilt", help="DICOM: straighten what a tilted gantry shears."),
    ] = False,
    overwrite: Overwrite = False,
    overwrite_edits: OverwriteEdits = False,
) -> None:
    """Write an OME-Zarr volume from TIFF, image stacks, DICOM, NIfTI, HDF5, MRC, LIF, ND2, OME-Zarr, …"""
    from volseg.importing import SourceOptions, import_volume

    with Bars() as bars:
        volume = import_volume(
            source,
            url,
            axes=axes,
            voxel_size_um=voxel_size,
            ngff=ngff,
            progress=bars,
            overwrite=overwrite,
            overwrite_edits=overwrite_edits,
            patient_data=patient_data,
            options=SourceOptions(series, resample_tilt, dataset, accept_gaps),
            labels=labels,
        )
    typer.echo(f"{volume.location}: {_size(volume.shape)} voxels (z, y, x), {volume.dtype}")


def _info(url: Url, labels_at: LabelsAt = None, as_json: AsJson = False) -> None:
    """Show axes, levels, chunks, channels, labels, embeddings and runs."""
    facts = _facts(url, labels_at)
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        _show(facts)


def _facts(url: str, labels_at: str | None) -> dict[str, Any]:
    from volseg.images.image import open_volume

    volume = open_volume(url, labels_at)
    labels_of = volume.labels
    return {
        "url": str(volume.location),
        "ngff": volume.stated_version,
        "axes": list(volume.axes),
        "shape_zyx": list(volume.shape),
        "times": volume.n_times,
        "dtype": str(volume.dtype),
        "voxel_size_um_zyx": list(volume.scale),
        "rgb": volume.is_rgb,
        "channels": [channel.name for channel in volume.channels],
        "levels": [
            {
                "path": level.path,
                "shape_zyx": list(level.grid.shape),
                "voxel_size_um_zyx": list(level.scale),
                "chunks_zyx": list(level.chunks[-3:]),
            }
            for level in volume.levels
        ],
        "labels": [
            {
                "name": name,
                "dtype": str(labels.dtype),
                "levels": [list(level.shape) for level in labels.levels],
                "channel": labels.channel,
            }
            for name, labels in labels_of.items()
        ],
        "unreadable_labels": labels_of.unreadable,
        "embeddings": volume.output_store.list_names_or_none("volseg/embeddings"),
        "runs": _runs(volume),
    }


def _runs(volume: Volume) -> list[dict[str, str]] | None:
    """Return the runs beside a volume, None where the place can't tell."""
    from volseg.pipelines.segmentation import list_runs

    try:
        runs = list_runs(volume)
    except NoListingError:
        return None
    return [{"plan": run.plan_hash, "labels": run.labels, "status": run.status} for run in runs]


def _show(facts: dict[str, Any]) -> None:
    console = Console()
    console.print(f"[bold]{facts['url']}[/]  OME-Zarr {facts['ngff']}", highlight=False)
    colour = "RGB" if facts["rgb"] else ", ".join(facts["channels"])
    console.print(
        f"axes {''.join(facts['axes'])} · {facts['dtype']} · {facts['times']} time(s) · {colour}"
    )
    table = Table("level", "shape z y x", "voxel µm z y x", "chunks z y x", box=None)
    for level in facts["levels"]:
        sizes = " ".join(f"{size:g}" for size in level["voxel_size_um_zyx"])
        table.add_row(level["path"], _size(level["shape_zyx"]), sizes, _size(level["chunks_zyx"]))
    console.print(table)
    last = {run["labels"]: run["status"] for run in facts["runs"] or ()}
    for labels in facts["labels"]:
        status = last.get(labels["name"], "done")
        unfinished = "" if status == "done" else f"; may be incomplete, the last run is {status}"
        levels = len(labels["levels"])
        console.print(f"labels {labels['name']}: {labels['dtype']}, {levels} levels{unfinished}")
    for name, why in facts["unreadable_labels"].items():
        console.print(f"labels {name} can't be read: {why}", markup=False)
    if facts["runs"] is None:
        console.print("embeddings and runs: not known, since this place can't list what it has")
    for key in facts["embeddings"] or ():
        console.print(f"embeddings {key}")
    for run in facts["runs"] or ():
        console.print(f"run {run['plan'][:12]} → {run['labels']}: {run['status']}")


def _size(shape: Any) -> str:
    return " × ".join(str(n) for n in shape)
