"""The groups on the store that make a label image: its place in the listing, metadata, empty levels and records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from volseg.errors import (
    AlreadyWrittenError,
    ChangedError,
    ExistsError,
    NotOmeZarrError,
    StorageError,
    VolsegError,
)
from volseg.geometry import Triple
from volseg.images.create import array_documents, claimed_group, datasets_of, fitted, put_group
from volseg.images.documents import Documents
from volseg.images.groups import group_in, read_group
from volseg.images.image import Volume
from volseg.images.levels import LevelPlan, level_plan, plan_of, whole_factors
from volseg.images.metadata import (
    RECORDS,
    Axis,
    Dataset,
    group_documents,
    group_key,
    multiscale_document,
    ngff_attributes,
    to_json,
)
from volseg.images.targets.contents import LABEL_MARK
from volseg.storage import Store

LABEL_CHUNKS: Triple = (8, 256, 256)
"""Voxels (z, y, x) of a chunk of new label images: thin in z, so that a view of one slice fetches little."""


class LabelMetadata:
    """volseg's own record of a label image, kept in its `volseg` group: what the labels were made from.

    Parameters
    ----------
    channel
        Channel index of the image, a list of several, or None.
    category
        What the objects are, as "nucleus".
    level
        Level of the image whose grid is level 0 of the labels.
    keep_thin
        The pyramid lets background win only where there is nothing else; see `volseg.images.downsample`.
    classes
        Names of classes by number, where ids are class numbers; None where ids are objects.
    """

    def __init__(
        self,
        channel: int | list[int] | None = None,
        category: str | None = None,
        level: int = 0,
        keep_thin: bool = False,
        classes: Mapping[int, str] | None = None,
    ) -> None:
        self.channel = channel
        self.category = category
        self.level = level
        self.keep_thin = keep_thin
        self.classes = None if classes is None else dict(classes)

    def to_attributes(self) -> dict[str, Any]:
        """Return the attributes of the records group."""
        said: dict[str, Any] = {
            "format": 1,
            "channel": self.channel,
            "category": self.category,
            "level": self.level,
            "keep_thin": self.keep_thin,
        }
        if self.classes is not None:
            said["classes"] = {str(number): name for number, name in self.classes.items()}
        return {"volseg": said}


def read_label_metadata(store: Store) -> LabelMetadata:
    """Read volseg's record of a label image; defaults where others wrote it."""
    for key in (f"{RECORDS}/zarr.json", f"{RECORDS}/.zattrs"):
        data = store.get_or_none(key)
        if data is None:
            continue
        try:
            document = json.loads(data)
            said = document.get("attributes", document)["volseg"]
            return LabelMetadata(
                said.get("channel"),
                said.get("category"),
                int(said.get("level") or 0),
                bool(said.get("keep_thin", False)),
                _read_classes(said.get("classes")),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotOmeZarrError(f"{store.location}/{key} is damaged") from None
    return LabelMetadata()


def _read_classes(said: Any) -> dict[int, str] | None:
    return None if said is None else {int(number): str(name) for number, name in said.items()}


def write_groups(
    volume: Volume,
    name: str,
    dtype: np.dtype[np.generic],
    chunks: Sequence[int],
    metadata: LabelMetadata,
) -> None:
    """Write everything that an empty label image consists of, or nothing.

    Raises
    ------
    ExistsError
        If someone else created it meanwhile.
    StorageError
        If the store fails; what was written is deleted.
    """
    version, root = volume.ngff_version, volume.output_store
    axes, datasets = _described(volume, metadata.level)
    with _claim(root, name, version, _content(volume, name, axes, datasets, metadata)):
        _write_inside(volume, root.sub(f"labels/{name}"), dtype, chunks, metadata)
        list_in_group(root, name, version)
    with suppress(
        StorageError
    ):  # the labels are complete: this only spares other readers a warning
        ensure_records_group(root, version)


def write_groups_aside(
    volume: Volume,
    name: str,
    place: Store,
    dtype: np.dtype[np.generic],
    chunks: Sequence[int],
    metadata: LabelMetadata,
) -> None:
    """Write the same to an empty place, from which it will be moved to where it belongs."""
    axes, datasets = _described(volume, metadata.level)
    content = _content(volume, name, axes, datasets, metadata)
    _write_inside(volume, place, dtype, chunks, metadata)
    put_group(place, "", volume.ngff_version, ngff_attributes(volume.ngff_version, content))


def _described(volume: Volume, level: int) -> tuple[list[Axis], list[Dataset]]:
    axes = [_output_axis(volume.multiscale.axes[i]) for i in _positions(volume)]
    return axes, _datasets(volume, level, label_plans(volume, level), axes)


def _write_inside(
    volume: Volume,
    place: Store,
    dtype: np.dtype[np.generic],
    chunks: Sequence[int],
    metadata: LabelMetadata,
) -> None:
    """Write the levels and the records of a label image."""
    version, plans = volume.ngff_version, label_plans(volume, metadata.level)
    axes, datasets = _described(volume, metadata.level)
    for item, plan in zip(datasets, plans, strict=True):
        sizes = dict(zip("zyx", plan.shape, strict=True), t=volume.n_times)
        piece = dict(zip("zyx", fitted(chunks, plan.shape), strict=True), t=1)
        documents = array_documents(
            version,
            [sizes[axis.kind] for axis in axes],
            [piece[axis.kind] for axis in axes],
            dtype,
            axes=[axis.kind for axis in axes],
        )
        for key, document in documents.items():
            place.put(f"{item.path}/{key}", document)
    put_group(place, RECORDS, version, metadata.to_attributes())


def ensure_records_group(root: Store, version: str) -> None:
    """Make the group `volseg` of an image, where caches and runs are kept, unless it is there.

    Without a group's document other readers warn of a folder that they don't know.
    """
    for key, document in group_documents(version, {}).items():
        with suppress(AlreadyWrittenError):
            root.put_new(f"{RECORDS}/{key}", document)


def _positions(volume: Volume) -> list[int]:
    """Return where the image has the axes of its labels, in the order t, z, y, x."""
    found = [volume.multiscale.axis(kind) for kind in "tzyx"]
    return [position for position in found if position is not None]


def _datasets(
    volume: Volume, level: int, plans: Sequence[LevelPlan], axes: Sequence[Axis]
) -> list[Dataset]:
    positions = _positions(volume)
    first = volume.multiscale.datasets[level]
    scale = [first.scale[i] for i in positions]
    return datasets_of(plans, axes, scale, [first.translation[i] for i in positions])


def _content(
    volume: Volume,
    name: str,
    axes: Sequence[Axis],
    datasets: Sequence[Dataset],
    metadata: LabelMetadata,
) -> dict[str, Any]:
    version = volume.ngff_version
    rule = {"description": LABEL_MARK}
    entry = multiscale_document(version, name, axes, datasets, type="mode", metadata=rule)
    shown: dict[str, Any] = {
        "version": version,
        "colors": [{"label-value": 0, "rgba": [0, 0, 0, 0]}],
        "source": {"image": _source(volume)},
    }
    if metadata.classes:  # colours and properties of the same ids: validators insist
        numbers = sorted(metadata.classes)
        shown["colors"] = [{"label-value": n, "rgba": color_of(n)} for n in numbers]
        shown["properties"] = [{"label-value": n, "class": metadata.classes[n]} for n in numbers]
    return {"multiscales": [entry], "image-label": shown}


def color_of(object_id: int) -> list[int]:
    """Return the RGBA colour (0..255) of an id: hues by the golden ratio, so that neighbours in number differ."""
    import colorsys

    hue = (object_id * 0.6180339887498949) % 1.0
    r, g, b = colorsys.hsv_to_rgb(hue, 0.75, 0.75 + 0.25 * (object_id % 2))
    return [round(255 * r), round(255 * g), round(255 * b), 255]


def checked_channel(volume: Volume, channel: int | Sequence[int] | None) -> int | list[int] | None:
    """Return a channel, or a list of several, after checking that the image has them."""
    if channel is None:
        return None
    several = [channel] if isinstance(channel, int) else [int(c) for c in channel]
    for c in several:
        volume.levels[0].check_index("c", c)
    return several[0] if isinstance(channel, int) else several


@contextmanager
def _claim(root: Store, name: str, version: str, content: dict[str, Any]) -> Iterator[None]:
    """Create the group, undone if what happens inside fails; ExistsError if someone else was faster."""
    attributes = ngff_attributes(version, content)
    with ExitStack() as stack:
        stack.push(_drop_empty_group(root))
        try:
            stack.enter_context(claimed_group(root, f"labels/{name}", version, attributes))
        except AlreadyWrittenError:
            raise _exists(root, name) from None
        yield


def _drop_empty_group(root: Store) -> Callable[..., None]:
    """Return an exit function that, after a failure, deletes a labels group of which nothing but its mark is there."""

    def leave(kind: Any, error: Any, trace: Any) -> None:
        with suppress(VolsegError):
            if error is not None and root.list_names("labels") == [".zgroup"]:
                root.delete_all("labels")

    return leave


def _exists(root: Store, name: str) -> ExistsError:
    return ExistsError(
        f"{root.location}: label image {name!r} exists already; choose another name, or overwrite it"
    )


def label_plans(volume: Volume, level: int) -> list[LevelPlan]:
    """Return the levels of labels: the image's from `level` on where whole multiples, else `level_plan`."""
    levels = volume.levels[level:]
    first = levels[0]
    scales = [item.scale for item in levels]
    totals = whole_factors([item.grid.shape for item in levels], scales)
    if totals is None or len(totals) == 1:
        return level_plan(first.grid.shape, first.scale)
    return plan_of(first.grid.shape, first.scale, totals)


def _output_axis(axis: Axis) -> Axis:
    """The axis as written: a length without a unit gets the one that it is taken as."""
    if axis.kind in "zyx" and axis.unit is None:
        return Axis(axis.kind, axis.kind, "micrometer")
    return Axis(axis.kind, axis.kind, axis.unit, axis.micrometres)


def _source(volume: Volume) -> str:
    inside = volume.output_store.location == volume.location
    return "../../" if inside else volume.location.url


def list_in_group(root: Store, name: str, version: str) -> None:
    """Add a name to the listing of the labels group, creating the groups where missing; safe among several writers."""
    if read_group(root) is None:  # a place of its own for labels
        put_group(root, "", version, {})
    key = f"labels/{group_key(version)}"
    while True:
        found = root.get_with_etag(key)
        names = [] if found is None else _listed(json.loads(found[0]))
        if name in names:
            return
        content = {"labels": [*names, name]}
        document: dict[str, Any] = content
        if version == "0.5":
            attributes = ngff_attributes(version, content)
            document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
            if found is not None:
                document = json.loads(found[0])
                document.setdefault("attributes", {}).update(attributes)
        elif found is not None:
            document = json.loads(found[0]) | content
        try:
            if version == "0.4" and not root.exists("labels/.zgroup"):
                root.put("labels/.zgroup", to_json({"zarr_format": 2}))
            if found is None:
                root.put_new(key, to_json(document))
            else:
                root.put_if(key, to_json(document), found[1])
            return
        except (AlreadyWrittenError, ChangedError):
            continue


def take_off_group(root: Store, name: str, version: str) -> None:
    """Take a name off the listing of the labels group."""
    key = f"labels/{group_key(version)}"
    while (found := root.get_with_etag(key)) is not None:
        document = json.loads(found[0])
        part = document if version == "0.4" else document["attributes"]["ome"]
        part["labels"] = [other for other in part.get("labels", []) if other != name]
        try:
            root.put_if(key, to_json(document), found[1])
        except ChangedError:
            continue
        return


def _listed(document: dict[str, Any]) -> list[str]:
    attributes = document.get("attributes", document)
    names = attributes.get("ome", attributes).get("labels", attributes.get("labels"))
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def label_names(store: Store) -> list[str]:
    """Return the names that the labels group of an image lists, such as no label image can have among them."""
    found = group_in(Documents(store), "labels")
    names = found[1].get("labels") if found else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
