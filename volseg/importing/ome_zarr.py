"""OME-Zarr as a source: an image in one version, chunking or place, to be written in another."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.images.image import Volume, open_volume
from volseg.images.labels import listed_names
from volseg.images.units import seconds_of
from volseg.importing.ome_zarr_labels import copy_labels
from volseg.importing.opened import AS_IT_IS, Companions, OpenedImage, SourceOptions
from volseg.storage.urls import parse_url

_SOURCE = "volseg/source.json"


def open_ome_zarr(url: str, options: SourceOptions = AS_IT_IS) -> OpenedImage:
    """Open level 0 of an OME-Zarr image or label image; of a plate or collection, of the chosen one (``A/1/0``).

    Raises
    ------
    NotThereError, NotOmeZarrError, AccessDeniedError
        As `open_volume`.
    """
    location = parse_url(url)
    volume = open_volume(location.joined(options.series) if options.series else location)
    axes = "".join(axis for axis in "tczyx" if axis in volume.axes)
    return OpenedImage(
        Path(volume.location.name),
        "OME-Zarr image",
        _Level0(volume, axes),
        axes,
        scale_um=volume.scale,
        origin_um=volume.levels[0].translation,
        time_step_s=_time_step(volume),
        channel_names=tuple(channel.name for channel in volume.channels),
        is_rgb=volume.is_rgb,
        facts=_facts(volume),
        companions=Companions(
            volume.multiscale.attributes.get("omero"),
            _why_no_labels(volume),
            partial(copy_labels, volume),
        ),
    )


def _why_no_labels(volume: Volume) -> str | None:
    """Return why an OME-Zarr image is not taken for labels, None where it says that it is a label image."""
    location = volume.location
    if "image-label" in volume.multiscale.attributes or location.parent.name == "labels":
        return None
    names = listed_names(volume)
    if names:
        listed = ", ".join(f"{location}/labels/{name}" for name in names[:20])
        return f"{location} is an image, not labels; its label images are: {listed}"
    return f"{location} is an image, not labels (no 'image-label' in its metadata), and has no label images in it"


def _facts(volume: Volume) -> dict[str, Any]:
    """What volseg noted of the file that the source was made from, such as its orientation."""
    data = volume.store.get_or_none(_SOURCE)
    try:
        facts = json.loads(data)["facts"] if data is not None else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _time_step(volume: Volume) -> float | None:
    """Seconds between two times, None where the source does not say."""
    at = volume.multiscale.axis("t")
    if at is None:
        return None
    unit = seconds_of(volume.multiscale.axes[at].unit)
    return None if unit is None else volume.multiscale.datasets[0].scale[at] * unit


class _Level0:
    """Level 0 as an array with the image's axes, in the order t, c, z, y, x."""

    def __init__(self, volume: Volume, axes: str) -> None:
        self._volume, self._axes = volume, axes
        sizes = {"t": volume.n_times, "c": volume.n_channels}
        sizes |= dict(zip("zyx", volume.shape, strict=True))
        self.shape = tuple(sizes[axis] for axis in axes)
        self.dtype = volume.dtype

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[np.generic]:
        wanted: dict[str, Any] = {"t": 0, "c": 0, "z": slice(0, 1)}
        wanted |= dict(zip(self._axes, index, strict=True))
        region: Any = tuple((wanted[axis].start, wanted[axis].stop) for axis in "zyx")
        time, channel = wanted["t"], wanted["c"]
        if isinstance(channel, slice):
            channels = range(*channel.indices(self._volume.n_channels))
            found = np.stack([self._volume.read(region, time=time, channel=c) for c in channels])
        else:
            found = self._volume.read(region, time=time, channel=channel)
        return found if "z" in self._axes else found.squeeze(-3)
