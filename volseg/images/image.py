"""`Volume`: an OME-Zarr image of up to five axes, seen as z, y, x volumes per time and channel.

Missing z, c and t, units and versions are dealt with here and in `metadata`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import AccessDeniedError, InputError, NotOmeZarrError, NotThereError
from volseg.geometry import Region, Triple
from volseg.images.arrays import LevelArray, open_array
from volseg.images.documents import Documents
from volseg.images.metadata import Multiscale, read_multiscale, zarr_format
from volseg.images.targets.contents import check_place_for_labels
from volseg.images.writing import Written, write_whole
from volseg.storage import Location, Store, open_store, parse_url

if TYPE_CHECKING:
    from volseg.images.labels import Labels
    from volseg.images.labels_mapping import LabelsMapping


@dataclass(frozen=True)
class Channel:
    """A channel: index, label, colour ("RRGGBB") and display window (low, high) where the file says them."""

    index: int
    name: str
    color: str | None = None
    window: tuple[float, float] | None = None


class Volume:
    """An OME-Zarr image, opened lazily: only its metadata is read. Make one with `open_volume`.

    Parameters
    ----------
    location
        The image.
    labels_at
        Where labels, cache and runs go instead of into the image.
    writable
        Allow `write` of image data.
    """

    def __init__(
        self,
        location: str | Path | Location,
        labels_at: str | Path | Location | None = None,
        *,
        writable: bool = False,
    ) -> None:
        self.location = parse_url(location)
        self._labels_at = None if labels_at is None else parse_url(labels_at)
        self._writable = writable
        self.store = open_store(self.location, read_only=not writable).anchored()
        output = Store(self._labels_at or self.location, like=self.store)
        self.output_store = output if self._labels_at else output.anchored()
        self.documents = Documents(self.store)
        self.multiscale: Multiscale = read_multiscale(self.documents)
        self.levels: list[LevelArray] = read_levels(self.documents, self.multiscale)

    def __reduce__(self) -> tuple[Callable[..., Volume], tuple[Any, ...]]:
        at = self._labels_at
        return _reopen, (self.location.url, None if at is None else at.url, self._writable)

    def __repr__(self) -> str:
        axes = "".join(self.axes)
        return f"Volume({str(self.location)!r}, {axes}, {self.levels[0].shape}, {self.dtype})"

    @property
    def ngff_version(self) -> str:
        """Version of what is written beside it: "0.4" (in Zarr 2) or "0.5"; what it states itself may be older."""
        return self.multiscale.version

    @property
    def stated_version(self) -> str:
        """Version that the image's own metadata state: "0.1" to "0.5"."""
        return self.multiscale.stated

    @property
    def name(self) -> str:
        """The image's name in its metadata, else the last part of its location."""
        return self.multiscale.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be assumed to read the metadata, for people; empty where it is complete."""
        return self.multiscale.notes

    @property
    def axes(self) -> tuple[str, ...]:
        """Kinds of the axes that the file has, in its order, as ("t", "c", "z", "y", "x")."""
        return tuple(axis.kind for axis in self.multiscale.axes)

    @property
    def axis_units(self) -> tuple[str | None, ...]:
        """NGFF unit of each axis, None where the file has none; lengths without one are taken as micrometres."""
        return tuple(axis.unit for axis in self.multiscale.axes)

    @property
    def n_times(self) -> int:
        """Number of time points, 1 without a time axis."""
        return self._length("t")

    @property
    def n_channels(self) -> int:
        """Number of channels, 1 without a channel axis."""
        return self._length("c")

    @property
    def shape(self) -> Triple:
        """Voxels (z, y, x) of level 0; 2D images have one slice."""
        return self.levels[0].grid.shape

    @property
    def scale(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) of level 0 in micrometres."""
        return self.levels[0].scale

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self.levels[0].dtype

    @cached_property
    def channels(self) -> list[Channel]:
        """One per channel, with what the `omero` metadata says of it."""
        said = self._omero_channels()
        if len(said) != self.n_channels:
            return [Channel(i, f"channel {i}") for i in range(self.n_channels)]
        return [_channel(i, item) for i, item in enumerate(said)]

    @property
    def is_rgb(self) -> bool:
        """Whether the channels are one colour image: three uint8 channels shown pure red, green, blue in full range."""
        colors = [channel.color for channel in self.channels]
        windows = {channel.window for channel in self.channels}
        return (
            self.dtype == np.uint8
            and colors == ["FF0000", "00FF00", "0000FF"]
            and windows == {(0.0, 255.0)}
        )

    @property
    def labels(self) -> LabelsMapping:
        """The label images of this image by name, those at `labels_at` first; opened when asked for."""
        from volseg.images.labels_mapping import LabelsMapping

        return LabelsMapping(self)

    def read(
        self, region: Region, *, level: int = 0, time: int = 0, channel: int = 0
    ) -> NDArray[Any]:
        """Read a region.

        Parameters
        ----------
        region
            Half-open voxel ranges ((z0, z1), (y0, y1), (x0, x1)) of the level.
        level, time, channel
            Indices from 0.

        Returns
        -------
        ndarray
            (z, y, x) in the image's dtype.

        Raises
        ------
        InputError
            If region, level, time or channel is not inside.
        StorageError
            If the store fails past its retries.
        """
        return self.level(level).read(region, time, channel)

    def write(
        self,
        region: Region,
        data: NDArray[np.generic],
        *,
        level: int = 0,
        time: int = 0,
        channel: int = 0,
    ) -> list[Written]:
        """Write a region made of whole storage objects; see `volseg.images.writing.write_whole`."""
        if not self._writable:
            raise InputError(f"{self.location} was opened for reading; open it with writable=True")
        return write_whole(self.level(level), region, data, time=time, channel=channel)

    def level(self, index: int) -> LevelArray:
        """Return a level by number.

        Raises
        ------
        InputError
            If there is none of this number.
        """
        if not 0 <= index < len(self.levels):
            raise InputError(
                f"{self.location} has no level {index}; it has {len(self.levels)}, numbered from 0"
            )
        return self.levels[index]

    def identity(self, level: int = 0) -> str:
        """Return the digest of a level's array metadata: the source identity that plans name."""
        return self.level(level).identity()

    def create_labels(
        self,
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
        """Create an empty label image with a whole pyramid; see `volseg.images.labels.create_labels`."""
        from volseg.images.labels import create_labels

        return create_labels(
            self,
            name,
            dtype,
            level=level,
            channel=channel,
            chunks=chunks,
            overwrite=overwrite,
            overwrite_edits=overwrite_edits,
            category=category,
            keep_thin=keep_thin,
            classes=classes,
        )

    def check_output(self) -> None:
        """Raise if labels, cache and runs can't be written where they belong, saying what to do.

        Raises
        ------
        InputError
            If the image is on a web server and no other place was given.
        NotThereError, AccessDeniedError, StorageFullError
            If the place can't be used.
        """
        if self.output_store.read_only:
            raise InputError(
                f"{self.location} is read only; give a place for labels with labels_at (--labels-at)"
            )
        if self.output_store.location != self.location:
            check_place_for_labels(self.output_store)
        open_store(self.output_store.location, create=True)
        path = self.output_store.location.local_path
        if path is not None and not _can_write(path):
            raise AccessDeniedError(
                f"{path} can't be written; give another place for labels with labels_at (--labels-at)"
            )

    def _length(self, kind: str) -> int:
        finest = self.levels[0]
        return finest.shape[finest.axes.index(kind)] if kind in finest.axes else 1

    def _omero_channels(self) -> list[dict[str, Any]]:
        omero = self.multiscale.attributes.get("omero")
        channels = omero.get("channels") if isinstance(omero, dict) else None
        valid = isinstance(channels, list) and all(isinstance(item, dict) for item in channels)
        return channels if valid and channels else []


def _channel(index: int, said: dict[str, Any]) -> Channel:
    label, color, window = said.get("label"), said.get("color"), said.get("window")
    span = None
    if isinstance(window, dict):
        low, high = window.get("start"), window.get("end")
        if isinstance(low, (int, float)) and isinstance(high, (int, float)):
            span = (float(low), float(high))
    name = str(label) if label not in (None, "") else f"channel {index}"
    code = color.lstrip("#").upper() if isinstance(color, str) else None
    return Channel(index, name, code, span)


def _can_write(path: Path) -> bool:
    import os

    return os.access(path, os.W_OK | os.X_OK)


def read_levels(documents: Documents, multiscale: Multiscale) -> list[LevelArray]:
    """Open the arrays of all levels of an image or label image, several at once."""
    store, zarr_version = documents.store, zarr_format(multiscale.version)

    def read(index: int) -> LevelArray:
        dataset = multiscale.datasets[index]
        array = open_array(documents, dataset.path, zarr_version)
        scale = multiscale.micrometres(dataset.scale, missing=1.0)
        translation = multiscale.micrometres(dataset.translation, missing=0.0)
        return LevelArray(store, dataset.path, array, multiscale.axes, index, scale, translation)

    with ThreadPoolExecutor(8) as pool:
        levels = list(pool.map(read, range(len(multiscale.datasets))))
    if any(0 in level.shape for level in levels):
        raise NotOmeZarrError(f"{store.location}: a level has an axis of length 0")
    finer = next((level for level in levels if level.size > levels[0].size), None)
    if finer is not None:
        raise NotOmeZarrError(
            f"{store.location}: dataset {finer.path} is finer than the first one, {levels[0].path}; the metadata must "
            "list the finest first"
        )
    return levels


def _reopen(url: str, labels_at: str | None, writable: bool) -> Volume:
    return Volume(url, labels_at, writable=writable)


def open_volume(
    url: str | Path | Location,
    labels_at: str | Path | Location | None = None,
    *,
    writable: bool = False,
) -> Volume:
    """Open an OME-Zarr image (NGFF 0.1 to 0.5) on a folder, S3 or, for reading, a web server.

    Parameters
    ----------
    url
        Path, ``file://``, ``s3://bucket/key`` or ``https://`` URL of the image's group.
    labels_at
        Where labels, embeddings and runs go, if not into the image. Labels of both places are listed.
    writable
        Allow `Volume.write`; labels can be created without it.

    Raises
    ------
    NotThereError
        If the bucket or path does not exist.
    NotOmeZarrError
        If it is not an image; for plates and collections the message lists the images inside.
    AccessDeniedError
        If the credentials are refused.
    """
    try:
        return Volume(url, labels_at, writable=writable)
    except (NotThereError, NotOmeZarrError):
        from volseg.images.targets.replacement import finish_interrupted_at

        if not finish_interrupted_at(parse_url(url)):
            raise
    return Volume(url, labels_at, writable=writable)
