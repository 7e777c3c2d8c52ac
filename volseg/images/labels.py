"""`Labels`: an OME-Zarr label image with its pyramid, beside the image that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, NotOmeZarrError, NotThereError, StorageError
from volseg.geometry import Grid, Region, Triple
from volseg.images.arrays import LevelArray
from volseg.images.documents import Documents
from volseg.images.groups import group_in
from volseg.images.image import Volume, open_volume, read_levels
from volseg.images.label_groups import (
    LABEL_CHUNKS,
    LabelMetadata,
    checked_channel,
    ensure_records_group,
    label_names,
    label_plans,
    list_in_group,
    read_label_metadata,
    write_groups,
    write_groups_aside,
)
from volseg.images.levels import whole_factors
from volseg.images.metadata import Multiscale, read_multiscale
from volseg.images.targets.contents import Contents, look_at_label_image
from volseg.images.targets.permission import NO_PERMISSION, Permission
from volseg.images.targets.places import writable_place
from volseg.images.targets.replacement import finish_interrupted, replacement
from volseg.images.targets.spot import spot_of_labels
from volseg.images.writing import Written, write_whole
from volseg.storage import Location, Store, check_name

if TYPE_CHECKING:
    from volseg.editing.editor import Editor
    from volseg.editing.options import EditorOptions
    from volseg.images.objects import ObjectTable

__all__ = [
    "LABEL_CHUNKS",
    "LabelMetadata",
    "Labels",
    "create_labels",
    "label_names",
    "label_plans",
    "open_labels",
]

_plan = label_plans


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
        documents = self._documents()
        self.multiscale: Multiscale = read_multiscale(documents)
        self._levels: list[LevelArray] = read_levels(documents, self.multiscale)
        self.metadata: LabelMetadata = read_label_metadata(store)
        if self.dtype.kind not in "iu":
            raise NotOmeZarrError(
                f"{store.location} holds {self.dtype}; labels are whole numbers: write them anew as integers"
            )

    def __reduce__(self) -> tuple[Callable[..., Labels], tuple[Any, ...]]:
        return Labels, (self.volume_location, self.store, self._labels_at)

    def __repr__(self) -> str:
        return f"Labels({str(self.location)!r}, {self.shape}, {self.dtype}, {len(self._levels)} levels)"

    def _documents(self) -> Documents:
        """The label image's metadata documents; those of an image above it may be consolidated there."""
        inside = self.location == self.volume_location.joined(f"labels/{self.name}")
        if not inside:
            return Documents(self.store)
        image = Documents(Store(self.volume_location, read_only=True))
        return Documents(self.store, image, f"labels/{self.name}")

    @property
    def name(self) -> str:
        """Name of the label image."""
        return self.store.location.name

    @property
    def location(self) -> Location:
        """The label image's group."""
        return self.store.location

    @property
    def places(self) -> tuple[Location, ...]:
        """The image, and where its label images lie."""
        at = () if self._labels_at is None else (self._labels_at,)
        return (self.volume_location, *at)

    @property
    def levels(self) -> list[LevelArray]:
        """Lazy arrays with axes (t,) z, y, x, finest first; see `LevelArray`."""
        return list(self._levels)

    @property
    def ngff_version(self) -> str:
        """Version of what is written into it: "0.4" (in Zarr 2) or "0.5"; what it states itself may be older."""
        return self.multiscale.version

    @property
    def stated_version(self) -> str:
        """Version that the label image's own metadata state: "0.1" to "0.5"."""
        return self.multiscale.stated

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the ids."""
        return self._levels[0].dtype

    @property
    def shape(self) -> Triple:
        """Voxels (z, y, x) of level 0."""
        return self._levels[0].grid.shape

    @property
    def scale(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) of level 0 in micrometres."""
        return self._levels[0].scale

    @property
    def n_times(self) -> int:
        """Number of time points, 1 without a time axis."""
        finest = self._levels[0]
        return finest.shape[0] if "t" in finest.axes else 1

    @property
    def channel(self) -> int | list[int] | None:
        """Index of the image's channel that the objects were seen in, a list of several, None if not known."""
        return self.metadata.channel

    @property
    def classes(self) -> dict[int, str]:
        """Names of classes by number, where ids are class numbers; unnamed ones are left out."""
        return dict(self.metadata.classes or {})

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
            [level.grid.shape for level in self._levels], [level.scale for level in self._levels]
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
        from volseg.images.objects import ObjectTable

        return ObjectTable(self)

    def volume(self) -> Volume:
        """Open the image that the labels belong to."""
        return open_volume(self.volume_location, self._labels_at)

    def read(self, region: Region, *, level: int = 0, time: int = 0) -> NDArray[np.integer]:
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
        return self._level(level).read(region, time)

    def write_objects(
        self,
        region: Region,
        data: NDArray[np.integer],
        *,
        level: int = 0,
        time: int = 0,
        fresh: bool = False,
    ) -> list[Written]:
        """Write whole storage objects: the one way in for every writer that doesn't go through the journal.

        Parameters
        ----------
        region
            Half-open voxel ranges of the level, made of whole storage objects (`levels[level].grid.whole`).
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
        return write_whole(self._level(level), region, data, time=time, fresh=fresh)

    def edit(self, annotator: str, **options: Unpack[EditorOptions]) -> Editor:
        """Open for editing in place; see `volseg.editing.open_editor`."""
        from volseg.editing import open_editor

        return open_editor(self, annotator, **options)

    def _level(self, index: int) -> LevelArray:
        if not 0 <= index < len(self._levels):
            raise InputError(
                f"{self.location} has no level {index}; it has {len(self._levels)}, numbered from 0"
            )
        return self._levels[index]


def create_labels(
    volume: Volume,
    name: str,
    dtype: str | np.dtype[Any] | type = "uint32",
    *,
    level: int = 0,
    channel: int | Sequence[int] | None = None,
    chunks: Sequence[int] | None = None,
    overwrite: bool = False,
    overwrite_edits: bool = False,
    category: str | None = None,
    keep_thin: bool = False,
    classes: Mapping[int, str] | None = None,
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
        Replace a label image of this name that volseg wrote, and keep it in the trash.
    overwrite_edits
        With `overwrite`: also one that people edited.
    category
        What the objects are.
    keep_thin
        Keep thin objects alive in coarse levels, at the price of swelling; see `volseg.images.downsample`.
    classes
        Names of classes by number: ids are class numbers, such as scribbles' or a classifier's; numbers without a name
        are valid. Coarse levels keep thin strokes then.

    Raises
    ------
    NameRefusedError
        If the name can't be a path component.
    ExistsError
        If there is one of this name that may not be replaced.
    LeaseHeldError
        If people have the one that is to be replaced open.
    InputError
        If level, channel or dtype can't be.
    NotThereError, AccessDeniedError, StorageFullError
        If the place can't be written; then nothing is left behind.
    """
    options: dict[str, Any] = {"level": level, "channel": channel, "chunks": chunks}
    options |= {"category": category, "keep_thin": keep_thin, "classes": classes}
    permission = Permission(overwrite, overwrite_edits)
    there = check_label_image(volume, name, permission)
    if there.kind == "nothing":
        metadata = _checked(volume, dtype, level, channel, category, keep_thin, classes)
        write_groups(volume, name, np.dtype(dtype), chunks or LABEL_CHUNKS, metadata)
    else:
        with labels_made_aside(volume, name, dtype, permission=permission, **options):
            pass
    at = None if volume.output_store.location == volume.location else volume.output_store.location
    return Labels(volume.location, volume.output_store.sub(f"labels/{name}").anchored(), at)


@contextmanager
def labels_made_aside(
    volume: Volume,
    name: str,
    dtype: str | np.dtype[Any] | type = "uint32",
    *,
    level: int = 0,
    channel: int | Sequence[int] | None = None,
    chunks: Sequence[int] | None = None,
    category: str | None = None,
    keep_thin: bool = False,
    classes: Mapping[int, str] | None = None,
    permission: Permission = NO_PERMISSION,
) -> Iterator[Labels]:
    """Give an empty label image to fill, and put it in its place once that has succeeded; see `create_labels`.

    Until then, and when anything goes wrong, what was there under this name stays.
    """
    metadata = _checked(volume, dtype, level, channel, category, keep_thin, classes)
    there = check_label_image(volume, name, permission)
    root, version = volume.output_store, volume.ngff_version
    at = None if root.location == volume.location else root.location
    with replacement(spot_of_labels(root, name), there) as place:
        store = Store(place)
        kind = np.dtype(dtype)
        write_groups_aside(volume, name, store, kind, chunks or LABEL_CHUNKS, metadata)
        yield Labels(volume.location, store, at)
        ensure_records_group(root, version)
        list_in_group(root, name, version)


def check_label_image(volume: Volume, name: str, permission: Permission) -> Contents:
    """Return what lies where a label image belongs, unless none may be written there.

    Raises
    ------
    NameRefusedError
        If the name can't be a path component.
    ExistsError, InputError
        If it would replace what nobody allowed.
    LeaseHeldError
        If people have it open.
    """
    from volseg.editing.sessions import refuse_open_editors

    check_name(name, "label image")
    volume.check_output()
    root = volume.output_store
    spot = spot_of_labels(root, name)
    writable_place(spot.target)
    finish_interrupted(spot)
    there = look_at_label_image(root, name)
    permission.check(there, "label image", f"{root.location}: label image {name!r}")
    if there.kind == "label image":
        refuse_open_editors(root.sub(f"labels/{name}"))
    return there


def _checked(
    volume: Volume,
    dtype: str | np.dtype[Any] | type,
    level: int,
    channel: int | Sequence[int] | None,
    category: str | None,
    keep_thin: bool,
    classes: Mapping[int, str] | None,
) -> LabelMetadata:
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        raise InputError(f"labels are whole numbers; {kind} is not an integer type")
    volume.level(level)
    named = None if classes is None else _checked_classes(classes, kind)
    thin = keep_thin or named is not None
    return LabelMetadata(checked_channel(volume, channel), category, level, thin, named)


def _checked_classes(classes: Mapping[int, str], dtype: np.dtype[Any]) -> dict[int, str]:
    """Return names of classes by number, ascending."""
    largest = int(np.iinfo(dtype).max)
    found: dict[int, str] = {}
    for number, name in sorted(classes.items()):
        if not 0 < int(number) <= largest:
            raise InputError(
                f"class {number}: expected numbers from 1 to {largest} ({dtype}); 0 is not labelled"
            )
        if not str(name).strip():
            raise InputError(f"class {number} has an empty name; leave it out where it has none")
        found[int(number)] = str(name)
    return found


def listed_names(volume: Volume) -> list[str]:
    """Return every name that a volume lists, those at `labels_at` first; nothing is opened."""
    names: dict[str, None] = {}
    for store in _places(volume):
        names.update(dict.fromkeys(label_names(store)))
    return list(names)


def _places(volume: Volume) -> list[Store]:
    same = volume.output_store.location == volume.location
    return [volume.output_store] if same else [volume.output_store, volume.store]


class NoLabelsError(NotThereError, KeyError):
    """There is no label image of this name."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


def open_labels(volume: Volume | str | Path | Location, name: str) -> Labels:
    """Open a label image of an image by name.

    Raises
    ------
    NotThereError
        If there is none of this name; the message lists those that the image names.
    NameRefusedError
        If the name can't be a path component.
    NotOmeZarrError
        If it is damaged, or does not hold integers.
    """
    if not isinstance(volume, Volume):
        volume = open_volume(volume)
    check_name(name, "label image")
    place = place_of(volume, name)
    if place is None and _finished(volume, name):
        place = place_of(volume, name)
    if place is None:
        names = ", ".join(listed_names(volume)) or "none"
        raise NoLabelsError(f"{volume.location} has no label image {name!r}; it has: {names}")
    at = volume.output_store.location
    return Labels(volume.location, place.anchored(), None if at == volume.location else at)


def place_of(volume: Volume, name: str) -> Store | None:
    """Return the store of a label image's group, which may be damaged; None where there is none."""
    for store in _places(volume):
        try:
            if group_in(Documents(store), f"labels/{name}") is None:
                continue
        except NotOmeZarrError:
            pass
        return store.sub(f"labels/{name}")
    return None


def _finished(volume: Volume, name: str) -> bool:
    """Bring a replacement of a label image that was killed to its end, where there is one and that can be done."""
    if volume.output_store.read_only:
        return False
    with suppress(StorageError):
        return finish_interrupted(spot_of_labels(volume.output_store, name))
    return False
