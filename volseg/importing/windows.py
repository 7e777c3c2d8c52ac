"""The display windows of an imported image, measured.

In the full range of the type, viewers that trust the metadata would show most 16-bit images black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from volseg.volume.create import put_group
from volseg.volume.metadata import ngff_attributes, read_group

if TYPE_CHECKING:
    from volseg.volume.image import Volume

MOST_VOXELS = 2**24


def write_windows(volume: Volume) -> None:
    """Put each channel's measured window into the image's `omero` metadata.

    It goes from the 0.5 to the 99.5 percentile of the first time, counted on the finest level of at most `MOST_VOXELS`
    voxels (else on the coarsest). Images of bytes, colour ones among them, keep their full range.

    Parameters
    ----------
    volume : Volume
        Opened writable, with its pyramid.

    Raises
    ------
    StorageError
        If the store fails.
    """
    found = read_group(volume.store)
    if volume.dtype.itemsize == 1 or found is None:
        return
    version, content = found
    windows = _measured(volume)
    for channel, (low, high) in zip(content["omero"]["channels"], windows, strict=True):
        channel["window"] |= {"start": low, "end": high}
        if volume.dtype.kind == "f":  # the type's own range says nothing
            channel["window"] |= {"min": low, "max": high}
    attributes: dict[str, Any] = ngff_attributes(version, content)
    put_group(volume.store, "", version, attributes)


def _measured(volume: Volume) -> list[tuple[float, float]]:
    from volseg.sam.rendering import measure_rendering

    sizes = [level.shape[0] * level.shape[1] * level.shape[2] for level in volume.levels]
    level = next((i for i, size in enumerate(sizes) if size <= MOST_VOXELS), len(sizes) - 1)
    windows = []
    for channel in range(volume.n_channels):
        seen = measure_rendering(volume, level, 0, channel)
        windows.append((seen.low[0], seen.high[0]))
    return windows
