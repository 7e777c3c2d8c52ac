"""NGFF 0.4 and 0.5 metadata as plain documents: reading multiscales with their units, writing images and labels.

Specifications: https://ngff.openmicroscopy.org/0.4/ and https://ngff.openmicroscopy.org/0.5/.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from volseg.errors import NotOmeZarrError, NotThereError
from volseg.store import Location, Store
from volseg.volume.units import length_unit, time_unit

VERSIONS = ("0.4", "0.5")
RECORDS = "volseg"
"""Name of the groups that hold volseg's own records."""


@dataclass(frozen=True)
class Axis:
    """One axis of an array: name as in the file, kind ("t", "c", "z", "y" or "x"), NGFF unit or None, µm per unit."""

    name: str
    kind: str
    unit: str | None
    micrometres: float = 1.0


@dataclass(frozen=True)
class Dataset:
    """One level: path of its array, scale and translation per axis in the axes' units."""

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Multiscale:
    """The first multiscale of an image and what stands beside it; `attributes` is NGFF's part of the metadata."""

    version: str
    axes: tuple[Axis, ...]
    datasets: tuple[Dataset, ...]
    name: str
    attributes: dict[str, Any]
    notes: tuple[str, ...] = ()

    def axis(self, kind: str) -> int | None:
        """Return the position of the axis of a kind, None where there is none."""
        return next((i for i, axis in enumerate(self.axes) if axis.kind == kind), None)

    def micrometres(self, values: Sequence[float], *, missing: float) -> tuple[float, float, float]:
        """Return per-axis values as (z, y, x) in micrometres, with `missing` for an absent z."""
        result = []
        for kind in "zyx":
            position = self.axis(kind)
            found = (
                missing if position is None else values[position] * self.axes[position].micrometres
            )
            result.append(float(found))
        return (result[0], result[1], result[2])


def zarr_format(version: str) -> int:
    """Return the Zarr format that an NGFF version is written in."""
    return 2 if version == "0.4" else 3


def group_key(version: str) -> str:
    """Return the key, below a group, of the document with its attributes."""
    return ".zattrs" if version == "0.4" else "zarr.json"


def group_documents(version: str, attributes: dict[str, Any]) -> dict[str, bytes]:
    """Return the documents (by key) of a group with all its attributes; the first one creates it."""
    if version == "0.4":
        documents: dict[str, Any] = {".zgroup": {"zarr_format": 2}}
        if attributes:
            documents[".zattrs"] = attributes
    else:
        documents = {
            "zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        }
    return {key: to_json(value) for key, value in documents.items()}


def ngff_attributes(version: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return NGFF content as a group's attributes: as it is in 0.4, under ``ome`` with the version in 0.5."""
    return content if version == "0.4" else {"ome": {"version": version, **content}}


def to_json(value: Any) -> bytes:
    """Return a JSON document as volseg writes it."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode()


def read_group(store: Store, path: str = "") -> tuple[str, dict[str, Any]] | None:
    """Read a group's NGFF attributes.

    Returns
    -------
    tuple or None
        NGFF version as the Zarr format implies ("0.4" for v2, "0.5" for v3) and the attributes (in 0.5 the content of
        ``ome``); None if there is no group.

    Raises
    ------
    NotOmeZarrError
        If there is an array instead, or a document is damaged.
    """
    prefix = f"{path}/" if path else ""
    where = f"{store.location}/{path}".rstrip("/")
    document = _json(store.get_or_none(f"{prefix}zarr.json"), f"{where}/zarr.json")
    if document is not None:
        if document.get("node_type") == "array":
            raise _bare_array(where)
        attributes = document.get("attributes") or {}
        ome = attributes.get("ome")
        return "0.5", ome if isinstance(ome, dict) else {}
    attributes = _json(store.get_or_none(f"{prefix}.zattrs"), f"{where}/.zattrs")
    if store.exists(f"{prefix}.zarray"):
        raise _bare_array(where)
    if attributes is None and not store.exists(f"{prefix}.zgroup"):
        return None
    return "0.4", attributes or {}


def _bare_array(where: str) -> NotOmeZarrError:
    return NotOmeZarrError(
        f"{where} is a Zarr array, not an OME-Zarr image: give the group above it, or write one with `volseg import`"
    )


def _json(data: bytes | None, where: str) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        value = json.loads(data)
    except ValueError as error:
        raise NotOmeZarrError(f"{where} is damaged: {error}") from None
    if not isinstance(value, dict):
        raise NotOmeZarrError(f"{where} is damaged: expected a JSON object")
    return value


def read_multiscale(store: Store) -> Multiscale:
    """Read the first multiscale of an image or label image.

    Raises
    ------
    NotThereError
        If nothing lies at the location.
    NotOmeZarrError
        If what lies there is no OME-Zarr 0.4 or 0.5 image; for plates and bioformats2raw roots with the images inside.
    """
    where = store.location
    found = read_group(store)
    if found is None:
        raise _nothing(store)
    version, attributes = found
    multiscales = attributes.get("multiscales")
    if not multiscales:
        raise NotOmeZarrError(_why_no_image(store, attributes))
    if not isinstance(multiscales, list) or not isinstance(multiscales[0], dict):
        raise NotOmeZarrError(f"{where}: 'multiscales' is not a list of objects")
    first = multiscales[0]
    said = attributes.get("version") if version == "0.5" else first.get("version", "0.4")
    if said != version:
        raise NotOmeZarrError(
            f"{where}: NGFF version {said!r} in Zarr format {zarr_format(version)} is not supported; "
            "volseg reads 0.4 (Zarr 2) and 0.5 (Zarr 3)"
        )
    axes, notes = _axes(first.get("axes"), where)
    datasets = _datasets(first, len(axes), where)
    name = first.get("name")
    return Multiscale(
        version, axes, datasets, name if isinstance(name, str) else where.name, attributes, notes
    )


def _nothing(store: Store) -> NotThereError | NotOmeZarrError:
    where = store.location
    if where.scheme in ("http", "https"):
        return NotThereError(f"{where}: no zarr.json, .zattrs or .zgroup there")
    names = store.list_names()
    if not names:
        return NotThereError(f"{where} does not exist, or is empty")
    images = [name for name in names if name.endswith(".zarr")]
    hint = (
        f"; inside are {', '.join(images[:20])}" if images else "; convert it with `volseg import`"
    )
    return NotOmeZarrError(
        f"{where} is not an OME-Zarr image (no zarr.json, .zattrs or .zgroup){hint}"
    )


def _why_no_image(store: Store, attributes: dict[str, Any]) -> str:
    where = store.location
    inside = [f"{where}/{path}" for path in _images_inside(store, attributes)]
    if not inside:
        return f"{where} is a Zarr group, but not an OME-Zarr image: it has no 'multiscales'"
    listing = "\n  ".join(inside[:50])
    more = f"\n  and {len(inside) - 50} more" if len(inside) > 50 else ""
    return f"{where} is a collection of images; open one of them:\n  {listing}{more}"


def _images_inside(store: Store, attributes: dict[str, Any]) -> list[str]:
    """Paths of the images in a plate, well or bioformats2raw root."""
    if isinstance(attributes.get("plate"), dict):
        wells = _paths(attributes["plate"].get("wells"))
        return [image for well in wells[:200] for image in _well(store, well)]
    if isinstance(attributes.get("well"), dict):
        return _paths(attributes["well"].get("images"))
    series = read_group(store, "OME")
    if series is not None and isinstance(series[1].get("series"), list):
        return [str(path) for path in series[1]["series"]]
    if "bioformats2raw.layout" in attributes:
        return sorted((name for name in store.list_names() if name.isdigit()), key=int)
    return []


def _well(store: Store, path: str) -> list[str]:
    found = read_group(store, path)
    well = found[1].get("well") if found else None
    images = _paths(well.get("images")) if isinstance(well, dict) else []
    return [f"{path}/{image}" for image in images] or [path]


def _paths(items: Any) -> list[str]:
    """The safe paths that a list of wells or images names."""
    named = [item.get("path") for item in items if isinstance(item, dict)] if items else []
    return [path for path in named if isinstance(path, str) and ".." not in path]


def _axes(axes: Any, where: Location) -> tuple[tuple[Axis, ...], tuple[str, ...]]:
    if not isinstance(axes, list) or not all(
        isinstance(axis, dict) and axis.get("name") for axis in axes
    ):
        raise NotOmeZarrError(
            f"{where}: 'axes' is not a list of objects with names; is this NGFF 0.3 or older?"
        )
    kinds: list[str | None] = [_kind(axis) for axis in axes]
    spatial = [i for i, kind in enumerate(kinds) if kind == "space"]
    if len(spatial) not in (2, 3) or any(kinds.count(kind) > 1 for kind in "tc") or None in kinds:
        listed = ", ".join(f"{axis['name']} ({axis.get('type', 'no type')})" for axis in axes)
        raise NotOmeZarrError(
            f"{where}: axes {listed}; expected two or three of space, at most one of time and one of channel"
        )
    for i, letter in zip(spatial, "zyx"[3 - len(spatial) :], strict=True):
        if axes[i]["name"] in ("z", "y", "x") and axes[i]["name"] != letter:
            raise NotOmeZarrError(f"{where}: axes of space are not in the order z, y, x")
        kinds[i] = letter
    result: list[Axis] = []
    notes: list[str] = []
    for axis, kind in zip(axes, kinds, strict=True):
        result.append(_axis(str(axis["name"]), str(kind), axis.get("unit"), notes))
    return tuple(result), tuple(notes)


def _kind(axis: dict[str, Any]) -> str | None:
    kind = {"space": "space", "time": "t", "channel": "c"}.get(axis.get("type", ""))
    if kind is None and "type" not in axis:
        kind = {"t": "t", "c": "c", "z": "space", "y": "space", "x": "space"}.get(axis["name"])
    return kind


def _axis(name: str, kind: str, unit: Any, notes: list[str]) -> Axis:
    if kind == "t":
        return Axis(name, kind, time_unit(unit))
    if kind == "c":
        return Axis(name, kind, None)
    length = length_unit(unit)
    if length is None:
        said = "has no unit" if unit is None else f"has the unknown unit {unit!r}"
        notes.append(f"axis {name} {said}; its voxel size is taken as micrometres")
        return Axis(name, kind, None)
    return Axis(name, kind, *length)


def _datasets(multiscale: dict[str, Any], n_axes: int, where: Location) -> tuple[Dataset, ...]:
    datasets = multiscale.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        raise NotOmeZarrError(f"{where}: the multiscale lists no datasets")
    common = _transform(multiscale.get("coordinateTransformations"), n_axes, where, "multiscale")
    result = []
    for dataset in datasets:
        path = dataset.get("path") if isinstance(dataset, dict) else None
        if (
            not isinstance(path, str)
            or any(p in ("", ".", "..") for p in path.split("/"))
            or "\\" in path
        ):
            raise NotOmeZarrError(f"{where}: dataset path {path!r} is not a relative path")
        own = _transform(dataset.get("coordinateTransformations"), n_axes, where, f"dataset {path}")
        scale = tuple(a * b for a, b in zip(own[0], common[0], strict=True))
        translation = tuple(t * s + u for t, s, u in zip(own[1], *common, strict=True))
        result.append(Dataset(path, scale, translation))
    return tuple(result)


def _transform(
    items: Any, n_axes: int, where: Location, what: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (scale, translation) of a list of coordinate transformations; identity for none."""
    scale, translation = (1.0,) * n_axes, (0.0,) * n_axes
    for item in items or []:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "identity":
            continue
        values = item.get(kind) if kind in ("scale", "translation") else None
        if (
            not isinstance(values, list)
            or len(values) != n_axes
            or not all(map(_is_number, values))
        ):
            raise NotOmeZarrError(
                f"{where}: {what} has a coordinate transformation that volseg can't read: {item!r}; "
                f"expected scale or translation of {n_axes} numbers"
            )
        if kind == "scale":
            if not all(value > 0 for value in values):
                raise NotOmeZarrError(f"{where}: {what} has a scale that is not positive: {values}")
            scale = tuple(float(value) for value in values)
        else:
            translation = tuple(float(value) for value in values)
    return scale, translation


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < float("inf")
    )


def multiscale_document(
    version: str, name: str, axes: Sequence[Axis], datasets: Sequence[Dataset], **more: Any
) -> dict[str, Any]:
    """Return the ``multiscales`` entry of NGFF metadata, complete with units, scale and translation per level."""
    types = {"t": "time", "c": "channel"}
    entry: dict[str, Any] = {
        "name": name,
        "axes": [
            {"name": axis.kind, "type": types.get(axis.kind, "space")}
            | ({"unit": axis.unit} if axis.unit else {})
            for axis in axes
        ],
        "datasets": [
            {
                "path": dataset.path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(dataset.scale)},
                    {"type": "translation", "translation": list(dataset.translation)},
                ],
            }
            for dataset in datasets
        ],
        **more,
    }
    if version == "0.4":
        entry["version"] = version
    return entry
