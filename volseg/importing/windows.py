"""The display windows of an imported image, measured.

In the full range of the type, viewers that trust the metadata would show most 16-bit images black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from volseg.images.contrast import measure_contrast, widened
from volseg.images.create import put_group
from volseg.images.groups import read_group
from volseg.images.metadata import ngff_attributes

if TYPE_CHECKING:
    from volseg.images.image import Volume


def write_windows(volume: Volume, *, binary: bool = False) -> None:
    """Put each channel's measured window into the image's `omero` metadata.

    It is what `volseg.images.contrast` measures of the finest level's first time. Images of bytes, colour ones among
    them, keep their full range.

    Parameters
    ----------
    volume : Volume
        Opened writable.
    binary : bool
        Whether the bytes are only 0 and 1; then the window is that.

    Raises
    ------
    StorageError
        If the store fails.
    """
    found = read_group(volume.store)
    if found is None or (volume.dtype.itemsize == 1 and not binary):
        return
    version, content = found
    windows = [(0.0, 1.0)] * volume.n_channels if binary else _measured(volume)
    for channel, (low, high) in zip(content["omero"]["channels"], windows, strict=True):
        channel["window"] |= {"start": low, "end": high}
        if volume.dtype.kind == "f":  # the type's own range says nothing
            channel["window"] |= {"min": low, "max": high}
    attributes: dict[str, Any] = ngff_attributes(version, content)
    put_group(volume.store, "", version, attributes)


def _measured(volume: Volume) -> list[tuple[float, float]]:
    channels = range(volume.n_channels)
    return [widened(*measure_contrast(volume, channel=channel)) for channel in channels]
