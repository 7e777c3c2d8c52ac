"""`Labels`: an OME-Zarr label image with its pyramid, beside the image that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import (
    AlreadyWrittenError,
    ChangedError,
    ExistsError,
    InputError,
    NameRefusedError,
    NotOmeZarrError,
    NotThereError,
)
from volseg.store import Location, Store, check_name
from volseg.volume.arrays import LevelArray
from volseg.volume.blocks import Grid, Region, Triple
from volseg.volume.create import array_documents, claimed_group, datasets_of, fitted, put_group
from volseg.volume.image import Level, Volume, open_volume, read_levels
from volseg.volume.levels import LevelPlan, level_plan, plan_of, whole_factors
from volseg.volume.metadata import (
    RECORDS,
    Axis,
    Multiscale,
    group_key,
    multiscale_document,
    ngff_attributes,
    read_group,
    read_multiscale,
    to_json,
)
from volseg.volume.writing import Written, write_whole

if TYPE_CHECKING:
    from volseg.editing.editor import Editor
    from volseg.volume.objects import ObjectTable

LABEL_CHUNKS: Triple = (8, 256, 256)
MOST_PROPERTIES = 1000
"""The `image-label` metadata lists at most this many objects; the object table is the authority."""


class Labels:
    """A label image, opened lazily: only its metadata is read. Make one with `open_labels` or `Volume.labels`.

    Parameters
    ----------
    volume_location
        The image that the labels belong to.
    store
        Store of the label image's group.
    labels_at
        Where the volume's labels are, if not in the image; needed to find the volume again.
    """

    def __init__(
        self, volume_location: Location, store: Store, labels_at: Location | None = None
    ) -> None:
        self.volume_location = volume_location
        self.store = store
        self._labels_at = labels_at
        self.multiscale: Multiscale = read_multiscale(store)
        self._levels: list[Level] = read_levels(store, self.multiscale)
        self.metadata: LabelMetadata = read_label_metadata(store)
        if self.dtype.kind not in "iu":
            raise NotOmeZarrError(
                f"{store.location} holds {self.dtype}; labels are whole numbers: write them anew as integers"
            )

    def __reduce__(self) -> tuple[Callable[..., Labels], tuple[Any, ...]]:
        return Labels, (self.volume_location, self.store, self._labels_at)

    def __repr__(self) -> str:
        return f"Labels({str(self.location)!r}, {self.shape}, {self.dtype}, {len(self._levels)} levels)"

    @property
    def name(self) -> str:
        """Name of the label image."""
        return self.store.location.name

    @property
    def location(self) -> Location:
        """The label image's group."""
        return self.store.location

    @property
    def levels(self) -> list[LevelArray]:
        """Lazy arrays with axes (t,) z, y, x, finest first; slicing and `numpy.asarray` read."""
        return [level.lazy for level in self._levels]

    @property
    def level_info(self) -> list[Level]:
        """Per level: path, scale and translation (z, y, x) in micrometres, grid of storage objects."""
        return list(self._levels)

    @property
    def ngff_version(self) -> str:
        """Version of the metadata: "0.4" or "0.5"."""
        return self.multiscale.version

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the ids."""
        return self._levels[0].dtype

    @property
    def shape(self) -> Triple:
        """Voxels (z, y, x) of level 0."""
        return self._levels[0].shape

    @property
    def scale(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) of level 0 in micrometres."""
        return self._levels[0].scale

    @property
    def n_times(self) -> int:
        """Number of time points, 1 without a time axis."""
        lazy = self._levels[0].lazy
        return lazy.shape[0] if "t" in lazy.axes else 1

    @property
    def channel(self) -> int | list[int] | None:
        """Index of the image's channel that the objects were seen in, a list of several, None if not known."""
        return self.metadata.channel

    @property
    def grid(self) -> Grid:
        """The grid of storage objects of level 0."""
        return self._levels[0].grid

    @property
    def factors(self) -> list[Triple]:
        """Whole factors (z, y, x) from level 0 to each level.

        Raises
        ------
        NotOmeZarrError
            If the levels are no whole multiples, so that volseg can't keep this pyramid.
        """
        totals = whole_factors(
            [level.shape for level in self._levels], [level.scale for level in self._levels]
        )
        if totals is None:
            raise NotOmeZarrError(
                f"{self.location}: its levels are not whole multiples of level 0, so its pyramid can't be kept; "
                "copy it with `volseg import-labels`"
            )
        return totals

    @property
    def objects(self) -> ObjectTable:
        """The table of objects."""
        from volseg.volume.objects import ObjectTable

        return ObjectTable(self)

    def volume(self) -> Volume:
        """Open the image that the labels belong to."""
        return open_volume(self.volume_location, self._labels_at)

    def read(self, region: Region, *, level: int = 0, time: int = 0) -> np.ndarray[Any, Any]:
        """Read a region.

        Returns
        -------
        ndarray
            (z, y, x) ids in the labels' dtype.

        Raises
        ------
        InputError
            If region, level or time is not inside.
        StorageError
            If the store fails past its retries.
        """
        return self._level(level).lazy.read(region, time)

    def write_objects(
        self,
        region: Region,
        data: np.ndarray[Any, Any],
        *,
        level: int = 0,
        time: int = 0,
        fresh: bool = False,
    ) -> list[Written]:
        """Write whole storage objects: the one way in for every writer that doesn't go through the journal.

        Parameters
        ----------
        region
            Half-open voxel ranges of the level, made of whole storage objects (`level_info[level].grid.whole`).
        data
            (z, y, x) ids; those that don't fit the dtype are refused.
        level, time
            Indices from 0.
        fresh
            Nothing was ever written there, so that empty objects need no deletion.

        Returns
        -------
        list of Written
            Key in `store`, entity tag and content digest of each object; tag and digest are "" where all is
            background, which is not stored.

        Raises
        ------
        AlignmentError
            If the region is not made of whole objects.
        """
        return write_whole(self._level(level).lazy, region, data, time=time, fresh=fresh)

    def edit(self, annotator: str, **options: Any) -> Editor:
        """Open for editing in place; see `volseg.editing`."""
        from volseg.editing import open_editor

        return open_editor(self, annotator, **options)

    def _level(self, index: int) -> Level:
        if not 0 <= index < len(self._levels):
            raise InputError(
                f"{self.location} has no level {index}; it has {len(self._levels)}, numbered from 0"
            )
        return self._levels[index]


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
        The pyramid lets background win only where there is nothing else; see `volseg.volume.downsample`.
    """

    def __init__(
        self,
        channel: int | list[int] | None = None,
        category: str | None = None,
        level: int = 0,
        keep_thin: bool = False,
    ) -> None:
        self.channel = channel
        self.category = category
        self.level = level
        self.keep_thin = keep_thin

    def to_attributes(self) -> dict[str, Any]:
        """Return the attributes of the records group."""
        return {
            "volseg": {
                "format": 1,
                "channel": self.channel,
                "category": self.category,
                "level": self.level,
                "keep_thin": self.keep_thin,
            }
        }


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
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotOmeZarrError(f"{store.location}/{key} is damaged") from None
    return LabelMetadata()


def create_labels(
    volume: Volume,
    name: str,
    dtype: str | np.dtype[Any] | type = "uint32",
    *,
    level: int = 0,
    channel: int | Sequence[int] | None = None,
    chunks: Sequence[int] | None = None,
    overwrite: bool = False,
    category: str | None = None,
    keep_thin: bool = False,
) -> Labels:
    """Create an empty label image with a whole pyramid of empty levels beside an image.

    It has the image's NGFF version and its axes without c; the levels follow the image's where these are whole
    multiples, else `level_plan`, and have ceil(n / f) voxels.

    Parameters
    ----------
    volume
        The image.
    name
        Name of the label image: one path component.
    dtype
        Integer type of the ids.
    level
        Level of the image whose grid becomes level 0 of the labels.
    channel
        Channel (or channels) of the image that the objects belong to.
    chunks
        (z, y, x) of a chunk.
    overwrite
        Replace a label image of this name.
    category
        What the objects are.
    keep_thin
        Keep thin objects alive in coarse levels, at the price of swelling; see `volseg.volume.downsample`.

    Raises
    ------
    NameRefusedError
        If the name can't be a path component.
    ExistsError
        If there is one of this name, and `overwrite` is not given.
    InputError
        If level, channel or dtype can't be.
    NotThereError, AccessDeniedError, StorageFullError
        If the place can't be written; then nothing is left behind.
    """
    check_name(name, "label image")
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        raise InputError(f"labels are whole numbers; {kind} is not an integer type")
    source = volume.level(level)
    metadata = LabelMetadata(_checked_channel(volume, channel), category, level, keep_thin)
    volume.check_output()
    root = volume.output_store
    _make_way(root, name, overwrite)
    plans = _plan(volume, level)
    axes = [_output_axis(axis) for axis in volume.multiscale.axes if axis.kind != "c"]
    positions = [i for i, axis in enumerate(volume.multiscale.axes) if axis.kind != "c"]
    dataset = volume.multiscale.datasets[level]
    scale = [dataset.scale[i] for i in positions]
    origin = [dataset.translation[i] for i in positions]
    datasets = datasets_of(plans, axes, scale, origin)
    version = volume.ngff_version
    path = f"labels/{name}"
    content = {
        "multiscales": [
            multiscale_document(
                version,
                name,
                axes,
                datasets,
                type="mode",
                metadata={"description": "mode; see volseg.volume.pyramid"},
            )
        ],
        "image-label": {
            "version": version,
            "colors": [{"label-value": 0, "rgba": [0, 0, 0, 0]}],
            "source": {"image": _source(volume)},
        },
    }
    n_times = volume.n_times
    with _claim(root, name, version, content):
        for item, plan in zip(datasets, plans, strict=True):
            sizes = dict(zip("zyx", plan.shape, strict=True), t=n_times)
            piece = dict(zip("zyx", fitted(chunks or LABEL_CHUNKS, plan.shape), strict=True), t=1)
            documents = array_documents(
                version,
                [sizes[axis.kind] for axis in axes],
                [piece[axis.kind] for axis in axes],
                kind,
                axes=[axis.kind for axis in axes],
            )
            for key, document in documents.items():
                root.put(f"{path}/{item.path}/{key}", document)
        put_group(root, f"{path}/{RECORDS}", version, metadata.to_attributes())
        _list_in_group(root, name, version)
    at = None if root.location == volume.location else root.location
    return Labels(volume.location, root.sub(path), at)


def _checked_channel(volume: Volume, channel: int | Sequence[int] | None) -> int | list[int] | None:
    if channel is None:
        return None
    several = [channel] if isinstance(channel, int) else [int(c) for c in channel]
    for c in several:
        volume.levels[0].lazy.check_index("c", c)
    return several[0] if isinstance(channel, int) else several


@contextmanager
def _claim(root: Store, name: str, version: str, content: dict[str, Any]) -> Iterator[None]:
    """Create the group, undone if what happens inside fails; ExistsError if someone else was faster."""
    attributes = ngff_attributes(version, content)
    with ExitStack() as stack:
        try:
            stack.enter_context(claimed_group(root, f"labels/{name}", version, attributes))
        except AlreadyWrittenError:
            raise _exists(root, name) from None
        yield


def _make_way(root: Store, name: str, overwrite: bool) -> None:
    if root.sub(f"labels/{name}").is_empty():
        return
    if not overwrite:
        raise _exists(root, name)
    root.delete_all(f"labels/{name}")


def _exists(root: Store, name: str) -> ExistsError:
    return ExistsError(f"{root.location}: label image {name!r} exists already; choose another name, or overwrite it")


def _plan(volume: Volume, level: int) -> list[LevelPlan]:
    """Levels of labels: the image's from `level` on where they are whole multiples, else halvings."""
    levels = volume.levels[level:]
    first = levels[0]
    scales = [item.scale for item in levels]
    totals = whole_factors([item.shape for item in levels], scales)
    if totals is None or len(totals) == 1:
        return level_plan(first.shape, first.scale)
    return plan_of(first.shape, first.scale, totals)


def _output_axis(axis: Axis) -> Axis:
    """The axis as written: a length without a unit gets the one that it is taken as."""
    if axis.kind in "zyx" and axis.unit is None:
        return Axis(axis.kind, axis.kind, "micrometer")
    return Axis(axis.kind, axis.kind, axis.unit, axis.micrometres)


def _source(volume: Volume) -> str:
    inside = volume.output_store.location == volume.location
    return "../../" if inside else volume.location.url


def _list_in_group(root: Store, name: str, version: str) -> None:
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


def _listed(document: dict[str, Any]) -> list[str]:
    attributes = document.get("attributes", document)
    names = attributes.get("ome", attributes).get("labels", attributes.get("labels"))
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


class LabelsMapping(Mapping[str, Labels]):
    """The label images of a volume by name; each is opened when asked for."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def __getitem__(self, name: str) -> Labels:
        return open_labels(self._volume, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self._names()))}}}"

    def _names(self) -> list[str]:
        names: dict[str, None] = {}
        for store in _places(self._volume):
            names.update(dict.fromkeys(label_names(store)))
        return list(names)


def _places(volume: Volume) -> list[Store]:
    same = volume.output_store.location == volume.location
    return [volume.output_store] if same else [volume.output_store, volume.store]


def label_names(store: Store) -> list[str]:
    """Return the names that the labels group of an image lists, unsafe ones left out."""
    for key in ("labels/zarr.json", "labels/.zattrs"):
        data = store.get_or_none(key)
        if data is None:
            continue
        try:
            names = _listed(json.loads(data))
        except (ValueError, AttributeError):
            raise NotOmeZarrError(f"{store.location}/{key} is damaged") from None
        return [name for name in names if _is_safe(name)]
    return []


def _is_safe(name: str) -> bool:
    try:
        check_name(name, "label image")
    except NameRefusedError:
        return False
    return True


class NoLabelsError(NotThereError, KeyError):
    """There is no label image of this name."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


def open_labels(volume: Volume | str | Path | Location, name: str) -> Labels:
    """Open a label image of an image by name.

    Raises
    ------
    NotThereError
        If there is none of this name; the message lists those that there are.
    NameRefusedError
        If the name can't be a path component.
    NotOmeZarrError
        If it is damaged, or does not hold integers.
    """
    if not isinstance(volume, Volume):
        volume = open_volume(volume)
    check_name(name, "label image")
    for store in _places(volume):
        below = store.sub(f"labels/{name}")
        if read_group(below) is not None:
            at = volume.output_store.location
            return Labels(volume.location, below, None if at == volume.location else at)
    names = ", ".join(LabelsMapping(volume)) or "none"
    raise NoLabelsError(f"{volume.location} has no label image {name!r}; it has: {names}")
