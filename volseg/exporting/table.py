"""The table of objects: measurements and what the object table knows, as CSV or Parquet."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import StorageError
from volseg.exporting.confidences import sureness_of
from volseg.exporting.measure import Measurements, measure
from volseg.exporting.selection import Selection
from volseg.images.table_text import escaped
from volseg.progress import Progress


def write_csv(
    selections: list[Selection],
    path: Path,
    provenance: dict[str, Any],
    progress: Progress,
    *,
    intensities: bool = True,
    surfaces: bool = True,
) -> None:
    """Write one row per object, layer after layer; columns as `columns_of` lists them.

    Texts that a spreadsheet would take for formulas are escaped as `volseg.images.table_text` says.
    """
    columns = table_of(selections, intensities, surfaces, progress)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([escaped(one) if isinstance(one, str) else one for one in row])
    with path.open(newline="", encoding="utf-8") as file:
        found = sum(1 for _ in csv.reader(file)) - 1
    if found != len(columns["id"]):
        raise StorageError(f"{path}: {found} rows were written of {len(columns['id'])}; try again")


def write_parquet(
    selections: list[Selection],
    path: Path,
    provenance: dict[str, Any],
    progress: Progress,
    *,
    intensities: bool = True,
    surfaces: bool = True,
) -> None:
    """Write the same table as Parquet, provenance in the schema's metadata."""
    import pyarrow
    import pyarrow.parquet

    columns = table_of(selections, intensities, surfaces, progress)
    table = pyarrow.table(columns)
    table = table.replace_schema_metadata({b"volseg": json.dumps(provenance).encode()})
    pyarrow.parquet.write_table(table, path)
    if pyarrow.parquet.read_metadata(path).num_rows != len(columns["id"]):
        raise StorageError(f"{path}: not all rows were written; try again")


def table_of(
    selections: list[Selection], intensities: bool, surfaces: bool, progress: Progress
) -> dict[str, list[Any]]:
    """Measure the objects of all selections and return one table by columns, as `columns_of`."""
    parts = [
        columns_of(one, measure_all(one, intensities, surfaces, progress)) for one in selections
    ]
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: [value for part in parts for value in part.get(name, [None] * len(part["id"]))]
        for name in names
    }


def measure_all(
    selection: Selection, intensities: bool, surfaces: bool, progress: Progress
) -> Measurements:
    """Measure the objects of a selection."""
    return measure(selection, intensities=intensities, surfaces=surfaces, progress=progress)


def columns_of(selection: Selection, found: Measurements) -> dict[str, list[Any]]:
    """The table by columns.

    Returns
    -------
    dict
        id, class, class_by, class_confidence, parent, layer, channel, voxels, volume_um3,
        surface_um2 (or perimeter_um for a single slice), bbox_z0 … bbox_x1, centroid_z … in voxels
        and centroid_z_um …, axis_1_um … (longest first), sphericity, slices, confidence (of the
        whole object), mean_confidence and
        min_confidence (over its slices), annotator, created, modified, and per channel
        intensity_mean, _std, _min, _max. Unknown is None.
    """
    rows = [selection.rows.get(int(i)) for i in found.ids]
    voxel = float(np.prod(selection.scale))
    flat = selection.shape[0] == 1
    volume = found.voxels * voxel
    scale = np.array(selection.scale)
    table: dict[str, list[Any]] = {
        "id": [int(i) for i in found.ids],
        "class": [r.class_ if r else None for r in rows],
        "class_by": [r.class_by if r else None for r in rows],
        "class_confidence": [r.class_confidence if r else None for r in rows],
        "parent": [r.parent if r else None for r in rows],
        "layer": [selection.labels.name] * len(rows),
        "channel": [_channel(r.channel if r else selection.labels.channel) for r in rows],
        "voxels": found.voxels.tolist(),
        "volume_um3": volume.tolist(),
    }
    if found.surface is not None:
        table["perimeter_um" if flat else "surface_um2"] = found.surface.tolist()
    for at, name in enumerate(("z0", "y0", "x0", "z1", "y1", "x1")):
        table[f"bbox_{name}"] = found.bbox[:, at].tolist()
    for at, axis in enumerate("zyx"):
        table[f"centroid_{axis}"] = found.centroid[:, at].tolist()
    for at, axis in enumerate("zyx"):
        table[f"centroid_{axis}_um"] = (found.centroid[:, at] * scale[at]).tolist()
    lengths = found.axis_lengths_um(flat)
    for at in range(2 if flat else 3):
        table[f"axis_{at + 1}_um"] = lengths[:, at].tolist()
    if found.surface is not None and not flat:
        table["sphericity"] = _sphericity(volume, found.surface)
    table["slices"] = found.slices.tolist()
    sure = sureness_of(selection)
    known = [sure.get(int(i)) for i in found.ids]
    table |= {
        "confidence": [r.confidence if r else None for r in rows],
        "mean_confidence": [s.mean if s else None for s in known],
        "min_confidence": [s.least if s else None for s in known],
        "annotator": [r.annotator if r else None for r in rows],
        "created": [s.created if s else None for s in known],
        "modified": [r.modified if r else None for r in rows],
    }
    return table | _intensity_columns(selection, found)


def _intensity_columns(selection: Selection, found: Measurements) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = {}
    for channel, values in found.intensity.items():
        end = "" if len(found.intensity) == 1 else f"_c{channel}"
        for at, name in enumerate(("mean", "std", "min", "max")):
            table[f"intensity_{name}{end}"] = values[:, at].tolist()
    return table


def _sphericity(volume: NDArray[Any], surface: NDArray[Any]) -> list[float | None]:
    """Surface of the ball of the same volume, divided by the object's (Wadell 1935)."""
    ball = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3)
    return [
        float(b / s) if s else None for b, s in zip(ball.tolist(), surface.tolist(), strict=True)
    ]


def _channel(channel: int | list[int] | None) -> str | int | None:
    return " ".join(map(str, channel)) if isinstance(channel, list) else channel
