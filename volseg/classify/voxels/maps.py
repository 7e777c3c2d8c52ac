"""Maps of a classifier: an OME-Zarr image of its own, `volseg/maps/<name>`, beside the image that it is about.

uint8: the probability of each class (c), and last their entropy; 255 is 1. It has two pyramids: the first one is by
mean, the second, under ``max/``, by maximum, in which a thin or small uncertain place can still be seen from afar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import ExistsError, NotThereError
from volseg.geometry import Region, Triple
from volseg.images.create import array_documents, datasets_of, fitted, put_group
from volseg.images.image import Volume, read_levels
from volseg.images.label_groups import LABEL_CHUNKS, color_of, label_plans
from volseg.images.metadata import Axis, multiscale_document, ngff_attributes
from volseg.storage import Store, check_name

if TYPE_CHECKING:
    from volseg.images.arrays import LevelArray

FOLDER = "volseg/maps"
MARK = "volseg-maps"
ENTROPY = "entropy"


class Maps:
    """Maps, opened; the levels by mean are `volume`'s.

    Parameters
    ----------
    volume
        The image that they are about.
    name
        Of the maps.

    Raises
    ------
    NotThereError
        If there are none of this name; the message lists those that there are.
    """

    def __init__(self, volume: Volume, name: str) -> None:
        store = maps_store(volume, name)
        if not _is_ours(store):
            names = ", ".join(map_names(volume)) or "none"
            raise NotThereError(f"{volume.location} has no maps {name!r}; it has: {names}")
        self.name = name
        self.volume = Volume(store.location, writable=not volume.output_store.read_only)
        self.classes, self.level = _read_mark(self.volume)

    @property
    def n_maps(self) -> int:
        """Classes and entropy."""
        return len(self.classes) + 1

    def largest(self, level: int) -> LevelArray:
        """Return a level from 1 of the pyramid by maximum; level 0 is that of `volume`."""
        if level == 0:
            return self.volume.levels[0]
        described = self.volume.multiscale
        paths = tuple(replace(d, path=_max_path(i)) for i, d in enumerate(described.datasets))
        return read_levels(self.volume.documents, replace(described, datasets=paths))[level]

    def read(self, region: Region, *, level: int = 0, time: int = 0) -> NDArray[np.uint8]:
        """Read all maps (c, z, y, x) of a region."""
        time = time if self.volume.n_times > 1 else 0
        parts = [
            self.volume.read(region, level=level, time=time, channel=channel)
            for channel in range(self.n_maps)
        ]
        return np.stack(parts)


def maps_store(volume: Volume, name: str) -> Store:
    """Return the store of maps of a name, which need not be there."""
    return volume.output_store.sub(f"{FOLDER}/{check_name(name, 'maps')}")


def map_names(volume: Volume) -> list[str]:
    """Return the names of an image's maps."""
    return list(volume.output_store.list_names_or_none(FOLDER) or ())


def check_maps(volume: Volume, name: str, *, overwrite: bool) -> None:
    """Refuse a name at which maps may not be written.

    Raises
    ------
    ExistsError
        If something is there.
    """
    store = maps_store(volume, name)
    if store.is_empty():
        return
    if not _is_ours(store):
        raise ExistsError(f"{store.location} holds something else than maps; choose another --maps")
    if not overwrite:
        raise ExistsError(
            f"maps {name!r} exist in {volume.output_store.location}; choose another name, or replace them with "
            "--overwrite"
        )


def create_maps(
    volume: Volume, name: str, classes: Mapping[int, str | None], *, level: int = 0
) -> Maps:
    """Create empty maps with both pyramids; maps that were there are gone then (see `check_maps`).

    Parameters
    ----------
    volume
        The image.
    name
        Of the maps.
    classes
        Numbers and names, ascending: one channel each.
    level
        Level of the image whose grid the maps have.
    """
    store, version = maps_store(volume, name), volume.ngff_version
    store.delete_all()
    plans = label_plans(volume, level)
    kinds = [kind for kind in "tczyx" if kind == "c" or volume.multiscale.axis(kind) is not None]
    axes = [_axis(volume, kind) for kind in kinds]
    sizes = {"t": volume.n_times, "c": len(classes) + 1}
    for i, plan in enumerate(plans):
        shape = sizes | dict(zip("zyx", plan.shape, strict=True))
        chunk = dict(zip("zyx", fitted(LABEL_CHUNKS, plan.shape), strict=True)) | {"t": 1, "c": 1}
        documents = array_documents(
            version, [shape[k] for k in kinds], [chunk[k] for k in kinds], np.uint8, axes=kinds
        )
        for path in {str(i), _max_path(i)}:
            for key, document in documents.items():
                store.put(f"{path}/{key}", document)
    first = volume.multiscale.datasets[level]
    at = [None if k == "c" else volume.multiscale.axis(k) for k in kinds]
    scale = [1.0 if i is None else first.scale[i] for i in at]
    origin = [0.0 if i is None else first.translation[i] for i in at]
    datasets = datasets_of(plans, axes, scale, origin)
    largest = [replace(d, path=_max_path(i)) for i, d in enumerate(datasets)]
    content: dict[str, Any] = {
        "multiscales": [
            multiscale_document(version, name, axes, datasets, type="mean"),
            multiscale_document(version, f"{name} max", axes, largest, type="max"),
        ],
        "omero": _channels(classes),
    }
    mark = {
        "format": 1,
        "level": level,
        "classes": [{"number": n, "name": classes[n]} for n in sorted(classes)],
    }
    put_group(store, "", version, {**ngff_attributes(version, content), MARK: mark})
    return Maps(volume, name)


def pool(block: NDArray[np.uint8], factors: Triple) -> NDArray[np.uint8]:
    """Return the maximum of each block of voxels (z, y, x); those at the far border hold what there is."""
    found = block
    for axis, factor in enumerate(factors):
        starts = np.arange(0, found.shape[axis], factor)
        found = np.maximum.reduceat(found, starts, axis=axis)
    return found


def _max_path(level: int) -> str:
    return f"max/{level}" if level else "0"


def _axis(volume: Volume, kind: str) -> Axis:
    position = volume.multiscale.axis(kind)
    if kind == "c" or position is None:
        return Axis(kind, kind, None)
    axis = volume.multiscale.axes[position]
    unit = "micrometer" if kind in "zyx" and axis.unit is None else axis.unit
    return Axis(kind, kind, unit, axis.micrometres)


def _channels(classes: Mapping[int, str | None]) -> dict[str, Any]:
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    named = [
        (classes[n] or f"class {n}", "".join(f"{part:02X}" for part in color_of(n)[:3]))
        for n in sorted(classes)
    ]
    return {
        "channels": [
            {"label": label, "color": color, "active": True, "window": window}
            for label, color in [*named, (ENTROPY, "FFFFFF")]
        ],
        "rdefs": {"model": "color"},
    }


def _is_ours(store: Store) -> bool:
    for key in ("zarr.json", ".zattrs"):
        data = store.get_or_none(key)
        if data is not None:
            return f'"{MARK}"'.encode() in data
    return False


def _read_mark(maps: Volume) -> tuple[dict[int, str | None], int]:
    import json

    for key in ("zarr.json", ".zattrs"):
        data = maps.store.get_or_none(key)
        if data is not None:
            document = json.loads(data)
            mark = document.get("attributes", document)[MARK]
            return {int(one["number"]): one["name"] for one in mark["classes"]}, int(mark["level"])
    raise NotThereError(f"{maps.location} are no maps")
