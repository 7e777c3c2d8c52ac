"""NGFF metadata as plain documents: reading multiscales of 0.1 to 0.5, writing images and labels of 0.4 and 0.5.

Specifications: https://ngff.openmicroscopy.org/0.1/ to https://ngff.openmicroscopy.org/0.5/.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from volseg.errors import NoListingError, NotOmeZarrError, NotThereError
from volseg.images.axes import Axis, read_axes
from volseg.images.collection import why_no_image
from volseg.images.documents import Documents
from volseg.images.groups import group_in
from volseg.images.transforms import read_transforms, transforms_of_shapes
from volseg.storage import Location, Store

VERSIONS = ("0.4", "0.5")
RECORDS = "volseg"
"""Name of the groups that hold volseg's own records."""


@dataclass(frozen=True)
class Dataset:
    """One level: path of its array, scale and translation per axis in the axes' units."""

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Multiscale:
    """The first multiscale of an image and what stands beside it.

    Parameters
    ----------
    version
        "0.4" (Zarr 2) or "0.5" (Zarr 3): what is written beside it.
    axes, datasets, name
        As the metadata say.
    attributes
        NGFF's part of the group's metadata.
    notes
        What had to be assumed, for people.
    stated
        The version that the metadata state, from "0.1" on.
    """

    version: str
    axes: tuple[Axis, ...]
    datasets: tuple[Dataset, ...]
    name: str
    attributes: dict[str, Any]
    notes: tuple[str, ...] = ()
    stated: str = "0.5"

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


def array_key(zarr: int) -> str:
    """Return the key, below an array, of its metadata in a Zarr format."""
    return ".zarray" if zarr == 2 else "zarr.json"


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


def read_multiscale(documents: Documents) -> Multiscale:
    """Read the first multiscale of an image or label image, NGFF 0.1 to 0.5.

    Raises
    ------
    NotThereError
        If nothing lies at the location.
    NotOmeZarrError
        If what lies there is no image of these versions; for plates and bioformats2raw roots with the images inside.
    AccessDeniedError
        If the place refuses to show any metadata.
    """
    where = documents.store.location
    found = group_in(documents)
    if found is None:
        raise documents.denied or _nothing(documents.store)
    version, attributes = found
    multiscales = attributes.get("multiscales")
    if not multiscales:
        raise NotOmeZarrError(why_no_image(documents, attributes))
    if not isinstance(multiscales, list) or not isinstance(multiscales[0], dict):
        raise NotOmeZarrError(f"{where}: 'multiscales' is not a list of objects")
    first = multiscales[0]
    if version == "0.5":
        stated = _stated(attributes.get("version", version), first)
    else:
        stated = _stated(first.get("version"), first)
    if stated not in (("0.5",) if version == "0.5" else ("0.1", "0.2", "0.3", "0.4")):
        raise NotOmeZarrError(
            f"{where}: NGFF version {stated!r} in Zarr format {zarr_format(version)} is not supported; "
            "volseg reads 0.1 to 0.4 (Zarr 2) and 0.5 (Zarr 3)"
        )
    axes, notes = read_axes(first.get("axes"), stated, str(where))
    datasets, more = _datasets(first, axes, documents, zarr_format(version))
    name = first.get("name")
    name = name if isinstance(name, str) else where.name
    return Multiscale(version, axes, datasets, name, attributes, (*notes, *more), stated)


def _stated(version: Any, multiscale: dict[str, Any]) -> str:
    """Return the version that metadata state; where they don't, the one that their axes look like."""
    if version is not None:
        text = str(version)
        return "0.5" if text.startswith("0.5.") and text[4:].isdigit() else text
    axes = multiscale.get("axes")
    if axes is None:
        return "0.1"
    named = isinstance(axes, list) and all(isinstance(axis, str) for axis in axes)
    return "0.3" if named else "0.4"


def _nothing(store: Store) -> NotThereError | NotOmeZarrError:
    where = store.location
    try:
        names = store.list_names()
    except NoListingError:
        return NotThereError(
            f"{where} does not exist, or is no OME-Zarr (no zarr.json, .zattrs or .zgroup); this place can't list "
            "what it has: check the address"
        )
    if not names:
        return NotThereError(f"{where} does not exist, or is empty")
    images = [name for name in names if name.endswith(".zarr")]
    hint = (
        f"; inside are {', '.join(images[:20])}" if images else "; convert it with `volseg import`"
    )
    return NotOmeZarrError(
        f"{where} is not an OME-Zarr image (no zarr.json, .zattrs or .zgroup){hint}"
    )


def _datasets(
    multiscale: dict[str, Any], axes: Sequence[Axis], documents: Documents, zarr: int
) -> tuple[tuple[Dataset, ...], tuple[str, ...]]:
    """Return the levels, and what had to be assumed."""
    where = documents.store.location
    datasets = multiscale.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        raise NotOmeZarrError(f"{where}: the multiscale lists no datasets")
    kinds = [axis.kind for axis in axes]
    paths = [_checked_path(dataset, where) for dataset in datasets]
    listed = [dataset.get("coordinateTransformations") for dataset in datasets]
    notes: tuple[str, ...] = ()
    if any(listed):
        own = [
            read_transforms(items, kinds, f"{where}: dataset {path}")
            for items, path in zip(listed, paths, strict=True)
        ]
    else:
        own = transforms_of_shapes(
            [_shape(documents, path, zarr, len(axes)) for path in paths], kinds
        )
        if multiscale.get("coordinateTransformations") is None:
            notes = ("no voxel size is stated; voxels of level 0 are taken as 1 in each direction",)
    common = multiscale.get("coordinateTransformations")
    whole = read_transforms(common, kinds, f"{where}: multiscale")
    joined = [one.then(whole) for one in own]
    return tuple(
        Dataset(path, one.scale, one.translation) for path, one in zip(paths, joined, strict=True)
    ), notes


def _checked_path(dataset: Any, where: Location) -> str:
    path = dataset.get("path") if isinstance(dataset, dict) else None
    parts = path.split("/") if isinstance(path, str) else []
    parts = [part for part in parts if part not in ("", ".")]  # "./0" and "0/" are written, too
    if not parts or ".." in parts or "\\" in str(path):
        raise NotOmeZarrError(f"{where}: dataset path {path!r} is not a relative path")
    return "/".join(parts)


def _shape(documents: Documents, path: str, zarr: int, n_axes: int) -> list[int]:
    """Return the shape of a level from its array's document; ones where it can't be told, which opening it explains."""
    shape: Any = (documents.get(f"{path}/{array_key(zarr)}") or {}).get("shape")
    fits = isinstance(shape, list) and len(shape) == n_axes
    if not fits or not all(isinstance(n, int) and n > 0 for n in shape):
        return [1] * n_axes
    return list(shape)


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
