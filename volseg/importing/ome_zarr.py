"""OME-Zarr as a source: an image in one version, chunking or place, to be written in another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.importing.opened import OpenedImage
from volseg.volume.image import Volume, open_volume


def open_ome_zarr(url: str) -> OpenedImage:
    """Open level 0 of an OME-Zarr image.

    Raises
    ------
    NotThereError, NotOmeZarrError, AccessDeniedError
        As `open_volume`.
    """
    volume = open_volume(url)
    return OpenedImage(
        Path(volume.location.name),
        "OME-Zarr image",
        _Level0(volume),
        "".join(volume.axes),
        scale_um=volume.scale,
        channel_names=tuple(channel.name for channel in volume.channels),
        is_rgb=volume.is_rgb,
    )


class _Level0:
    """Level 0 as an array with the image's own axes."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        sizes = {"t": volume.n_times, "c": volume.n_channels}
        sizes |= dict(zip("zyx", volume.shape, strict=True))
        self.shape = tuple(sizes[axis] for axis in volume.axes)
        self.dtype = volume.dtype

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        wanted: dict[str, Any] = {"t": 0, "c": 0, "z": slice(0, 1)}
        wanted |= dict(zip(self._volume.axes, index, strict=True))
        region: Any = tuple((wanted[axis].start, wanted[axis].stop) for axis in "zyx")
        time, channel = wanted["t"], wanted["c"]
        if isinstance(channel, slice):
            channels = range(*channel.indices(self._volume.n_channels))
            found = np.stack([self._volume.read(region, time=time, channel=c) for c in channels])
        else:
            found = self._volume.read(region, time=time, channel=channel)
        return found if "z" in self._volume.axes else found.squeeze(-3)
