"""GeoJSON as QuPath takes it: one annotation per object and slice, with holes and parts, class and colour."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from volseg.errors import StorageError
from volseg.exporting.outlines import Polygon, SliceOutline, outlines_of
from volseg.exporting.selection import Selection
from volseg.images.objects import color_of
from volseg.progress import Progress


def write_geojson(
    selections: list[Selection], path: Path, provenance: dict[str, Any], progress: Progress
) -> None:
    """Write a collection of features that `volseg import-labels` reads back as the same labels.

    Coordinates are pixels x, y of the level; the plane is that of QuPath (z, t from 0). Ids, layers and channels stand
    in each annotation's metadata.
    """
    written = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for selection in selections:
            for outline in outlines_of(selection, progress):
                text = json.dumps(_feature(outline, selection), separators=(",", ":"))
                file.write((",\n" if written else "\n") + text)
                written += 1
        file.write(f'\n], "provenance": {json.dumps(provenance)}}}\n')
    with path.open("rb") as file:
        lines = sum(1 for line in file if line.startswith(b'{"type":"Feature"'))
    if lines != written:
        raise StorageError(f"{path}: {lines} features were written of {written}; try again")


def _feature(outline: SliceOutline, selection: Selection) -> dict[str, Any]:
    labels = selection.labels
    place = f"{labels.location.url}/{outline.id}/{outline.time}/{outline.z}"
    kept = {"volseg.id": str(outline.id), "volseg.layer": labels.name}
    if isinstance(labels.channel, int):
        kept["volseg.channel"] = str(labels.channel)
    told: dict[str, Any] = {
        "objectType": "annotation",
        "name": f"{labels.name} {outline.id}",
        "color": color_of(outline.id)[:3],
        "isLocked": False,
        "metadata": kept,
    }
    if outline.kind:
        told["classification"] = {"name": outline.kind, "color": color_of(outline.id)[:3]}
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, place)),
        "geometry": _geometry(outline.polygons)
        | {"plane": {"c": -1, "z": outline.z, "t": outline.time}},
        "properties": told,
    }


def _geometry(polygons: list[Polygon]) -> dict[str, Any]:
    closed = [[[*ring.tolist(), ring[0].tolist()] for ring in polygon] for polygon in polygons]
    if len(closed) == 1:
        return {"type": "Polygon", "coordinates": closed[0]}
    return {"type": "MultiPolygon", "coordinates": closed}
