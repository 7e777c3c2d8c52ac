"""A source file into an OME-Zarr volume, slab by slab, with its pyramid; all of it or nothing."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import InputError
from volseg.geometry import Region
from volseg.importing.guard import printable
from volseg.importing.opened import AS_IT_IS, OpenedImage, SourceOptions
from volseg.importing.opening import open_image
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from volseg.geometry import Grid
    from volseg.images.image import Volume
    from volseg.storage import Location

SLAB_BYTES = 2**27
RECORD = "volseg/source.json"
_LOG = logging.getLogger(__name__)


def import_volume(
    src: str | os.PathLike[str],
    url: str | Path,
    *,
    axes: str | None = None,
    voxel_size_um: Sequence[float] | None = None,
    ngff: str = "0.5",
    progress: Progress | None = None,
    overwrite: bool = False,
    overwrite_edits: bool = False,
    channels: Sequence[str] | None = None,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    patient_data: bool = False,
    options: SourceOptions = AS_IT_IS,
    labels: bool = True,
) -> Volume:
    """Write an OME-Zarr volume from a file, a folder of slices or of a DICOM series, or OME-Zarr.

    Parameters
    ----------
    src : path or URL
        See `volseg.importing.opening.open_image`.
    url : path or URL
        Where the volume goes; a folder or S3.
    axes : str, optional
        One letter per axis of the source, out of t, c, z, y, x (and s for colour samples), slowest
        first, where the file does not tell or tells wrong.
    voxel_size_um : (z, y, x), optional
        Voxel size in micrometres; default: the file's, where it is plausible; 1 where it has none (with a warning).
    ngff : {"0.5", "0.4"}
        Version of OME-Zarr.
    progress : Progress, optional
    overwrite : bool
        Replace a volume that volseg wrote, and keep it in the trash beside it.
    overwrite_edits : bool
        With `overwrite`: also one with label images.
    channels : sequence of str, optional
        Names of the channels; default: the file's.
    chunks, shards : (z, y, x), optional
        Of the stored objects, in voxels; default: as `create_volume` chooses, not sharded.
    patient_data : bool
        Keep what DICOM says of the patient and the study in `volseg/source.json`.
    options : SourceOptions
        Which image of a source that holds several, and how it is read.
    labels : bool
        Copy the label images of an OME-Zarr source too.

    Returns
    -------
    Volume

    Raises
    ------
    InputError
        If the source can't be read (`NotThereError`, `UnsupportedFormatError`), the target exists
        and may not be replaced (`ExistsError`), or an argument is wrong. What was there stays.
    StorageError
        If the store fails; what was there stays.
    """
    from volseg.images.image import open_volume
    from volseg.images.omero import carry_omero
    from volseg.images.pyramid import build_image_pyramid
    from volseg.images.targets.permission import Permission
    from volseg.images.targets.replacement import check_volume, volume_replacement
    from volseg.importing.windows import write_windows

    told = progress or silent
    layout: dict[str, Any] = {"ngff": ngff, "chunks": chunks, "shards": shards}
    permission = Permission(overwrite, overwrite_edits)
    target, _ = check_volume(url, permission, [src])  # before a long look at the source
    with open_image(src, axes, options) as image:
        _tell_times(image, axes)
        layout["scale_um"] = image.voxel_size(voxel_size_um)
        layout["channels"] = _channel_names(image, channels)
        with volume_replacement(url, permission, [src]) as place:
            volume = _create(image, place, **layout)
            _copy(image, volume, told)
            build_image_pyramid(volume, progress=told)
            write_windows(volume, binary=np.dtype(image.array.dtype).kind == "b")
            carry_omero(image.companions.omero, volume, names=channels)
            if labels and image.companions.copy_labels is not None:
                image.companions.copy_labels(volume, told)
            record = _record(src, image)
            if patient_data and image.private:
                record["patient"] = image.private
            volume.store.put(RECORD, json.dumps(record, indent=2).encode())
    return open_volume(target, writable=True)


def _create(image: OpenedImage, place: Location, **options: Any) -> Volume:
    """Create the empty volume that an image goes into."""
    from volseg.images.create import write_empty_volume

    return write_empty_volume(
        place,
        axes=[a for a in "tczyx" if image.size(a) > 1 or a in "zyx" or _has(image, a)],
        shape=_shape(image),
        dtype=image.dtype,
        rgb=image.is_rgb,
        origin_um=image.origin_um,
        time_step_s=image.time_step_s,
        **options,
    )


def slabs(grid: Grid, itemsize: int, most_bytes: int = SLAB_BYTES) -> list[Region]:
    """Cut a grid into regions of whole storage objects of about `most_bytes`, rows along x whole.

    Parameters
    ----------
    grid : Grid
    itemsize : int
        Bytes of a voxel.
    """
    z, y, _ = grid.chunk
    row = z * y * grid.shape[2] * itemsize
    rows = max(1, min(grid.counts[1], most_bytes // max(1, row)))
    return list(grid.blocks((1, rows, grid.counts[2])))


def _copy(image: OpenedImage, volume: Volume, progress: Progress) -> None:
    grid = volume.levels[0].grid
    every = image.size("s") > 1
    width = image.dtype.itemsize * (image.n_channels if every else 1)
    jobs = [
        (time, channel, region)
        for time in range(image.n_times)
        for channel in ([None] if every else range(image.n_channels))
        for region in slabs(grid, width)
    ]

    def read(job: tuple[int, int | None, Region]) -> Any:
        time, channel, region = job
        return image.read(region, time=time, channel=channel)

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read, jobs[0])
        for done, (time, channel, region) in enumerate(jobs, 1):
            data = ahead.result()
            if done < len(jobs):
                ahead = pool.submit(read, jobs[done])
            blocks = enumerate(data) if channel is None else [(channel, data)]
            for c, block in blocks:
                volume.write(region, block, time=time, channel=c)
            progress("import", done, len(jobs))


def _tell_times(image: OpenedImage, axes: str | None) -> None:
    """Tell of times that may be meant as slices."""
    if axes is None and image.n_times > 1 and image.shape_zyx[0] == 1:
        _LOG.warning(
            "%s: read as %d times of one slice; if these are the slices of a stack, give --axes %s",
            printable(str(image.path)),
            image.n_times,
            image.axes.replace("z", "").replace("t", "z"),
        )


def _has(image: OpenedImage, letter: str) -> bool:
    return letter in image.axes or (letter == "c" and "s" in image.axes)


def _shape(image: OpenedImage) -> list[int]:
    sizes = {"t": image.n_times, "c": image.n_channels}
    sizes |= dict(zip("zyx", image.shape_zyx, strict=True))
    return [n for a, n in sizes.items() if n > 1 or a in "zyx" or _has(image, a)]


def _channel_names(image: OpenedImage, given: Sequence[str] | None) -> list[str] | None:
    if given is not None and len(given) != image.n_channels:
        raise InputError(f"{len(given)} channel names, but the image has {image.n_channels}")
    names = list(given or image.channel_names)
    return [printable(name) for name in names] if len(names) == image.n_channels else None


def _record(src: str | os.PathLike[str], image: OpenedImage) -> dict[str, Any]:
    """What the volume was made from; the file's name only, since folders may name patients."""
    name = printable(os.fspath(src).rstrip("/").rpartition("/")[2])
    return {
        "format": "volseg-source",
        "version": 1,
        "name": name,
        "kind": image.format_name,
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
        "facts": image.facts,
    }
