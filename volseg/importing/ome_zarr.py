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
        "tczyx",
        scale_um=volume.scale,
        channel_names=tuple(channel.name for channel in volume.channels),
        is_rgb=volume.is_rgb,
    )


class _Level0:
    """Level 0 as an array (t, c, z, y, x)."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.shape = (volume.n_times, volume.n_channels, *volume.shape)
        self.dtype = volume.dtype

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        time, channel, *space = index
        region: Any = tuple((part.start, part.stop) for part in space)
        if not isinstance(channel, slice):
            return self._volume.read(region, time=time, channel=channel)
        channels = range(*channel.indices(self.shape[1]))
        return np.stack([self._volume.read(region, time=time, channel=c) for c in channels])
