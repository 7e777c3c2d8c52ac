"""GeoJSON as QuPath writes it: annotations, detections and cells with their classes, as labels."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import reading, shown
from volseg.importing.label_layer import LabelLayer
from volseg.importing.shapes import Drawn, Outline, layers_of

if TYPE_CHECKING:
    from volseg.images.image import Volume

_LOG = logging.getLogger(__name__)
_AREAS = ("Polygon", "MultiPolygon", "GeometryCollection")
NUCLEI = "nuclei"


def is_geojson(content: Any) -> bool:
    """Return whether parsed JSON looks like GeoJSON: a collection, a feature, or a list of features."""
    first = content[0] if isinstance(content, list) and content else content
    return isinstance(first, dict) and first.get("type") in ("FeatureCollection", "Feature")


def open_geojson(path: Path, volume: Volume) -> list[LabelLayer]:
    """Read features as label layers: one, and one more of the nuclei where QuPath's cells have them.

    Coordinates are pixels x, y of level 0, as in QuPath; holes and parts are kept; slice and time are those of the
    geometry's plane. Classes are those of the classification. Lines and points are left out with a warning.

    Raises
    ------
    UnsupportedFormatError
        If the file is damaged or has no area.
    InputError
        If a feature lies outside the volume.
    """
    with reading(path, "GeoJSON file"):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if not is_geojson(content):
            raise UnsupportedFormatError(f"{shown(path)}: not GeoJSON: no features in it")
        features = list(_features(content))
        drawn = [one for feature in features for one in _drawn(feature)]
    if not drawn:
        raise UnsupportedFormatError(
            f"{shown(path)}: none of its {len(features)} features encloses an area"
        )
    left_out = sum(1 for one in features if not _is_area(one.get("geometry")))
    if left_out:
        _LOG.warning(
            "%s: %d of %d features enclose no area (lines, points) and are left out",
            shown(path), left_out, len(features),
        )  # fmt: skip
    return layers_of(drawn, volume.shape, volume.n_times)


def _features(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, list):
        for one in content:
            yield from _features(one)
    elif content.get("type") == "FeatureCollection":
        yield from _features(content.get("features") or [])
    elif content.get("type") == "Feature":
        yield content


def _is_area(geometry: Any) -> bool:
    return isinstance(geometry, dict) and geometry.get("type") in _AREAS


def _drawn(feature: dict[str, Any]) -> Iterator[Drawn]:
    """The shape of a feature, and that of its nucleus."""
    told = feature.get("properties") or {}
    kept: Any = told.get("metadata") if isinstance(told.get("metadata"), dict) else {}
    number = str(kept.get("volseg.id", ""))
    channel = str(kept.get("volseg.channel", ""))
    facts: dict[str, Any] = {
        "name": str(told.get("name") or ""),
        "id": int(number) if number.isdigit() and int(number) > 0 else None,
        "class_": _class_of(told),
        "layer": kept.get("volseg.layer"),
        "channel": int(channel) if channel.isdigit() else None,
    }
    shape = _outline(feature.get("geometry"))
    if shape is not None:
        yield Drawn(shape, *_plane(feature["geometry"], told), **facts)
    nucleus: Any = feature.get("nucleusGeometry") or told.get("nucleusGeometry")
    inner = _outline(nucleus)
    if inner is not None:
        place = _plane(nucleus, told) if "plane" in nucleus else _plane(feature["geometry"], told)
        yield Drawn(inner, *place, **(facts | {"layer": NUCLEI}))


def _class_of(told: dict[str, Any]) -> str | None:
    """QuPath's classification, as a name or a list of names, in an object or by itself."""
    found = told.get("classification")
    if isinstance(found, dict):
        found = found.get("name") or found.get("names")
    if isinstance(found, list):
        found = ": ".join(str(one) for one in found)
    return str(found) if found else None


def _plane(geometry: dict[str, Any], told: dict[str, Any]) -> tuple[int, int]:
    """Slice and time."""
    plane = geometry.get("plane") or told.get("plane") or {}
    return int(plane.get("z", 0)), int(plane.get("t", 0))


def _outline(geometry: Any) -> Outline | None:
    rings = list(_rings(geometry)) if isinstance(geometry, dict) else []
    return Outline(tuple(rings)) if rings else None


def _rings(geometry: dict[str, Any]) -> Iterator[Any]:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "GeometryCollection":
        for one in geometry.get("geometries") or []:
            yield from _rings(one)
        return
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(str(kind)) or []
    for polygon in polygons:
        for ring in polygon or []:
            corners = np.array([point[:2] for point in ring], np.float64)
            if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
                raise ValueError("a ring is no list of points [x, y]")
            if len(corners) > 2:
                yield corners
