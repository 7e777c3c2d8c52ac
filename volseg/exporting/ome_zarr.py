"""A copy of image and labels as OME-Zarr, sharded where asked for: few large objects to publish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import InputError, StorageError
from volseg.exporting.selection import Selection
from volseg.geometry import Grid, Region, Triple, plane_region
from volseg.images.omero import carry_label_metadata, carry_omero
from volseg.progress import Progress

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.images.objects import ObjectRow

SHARD_CHUNKS: Triple = (4, 2, 2)
"""Chunks (z, y, x) in a shard: 32 MB of uint32 labels with the usual chunks."""


def write_ome_zarr(
    selections: list[Selection],
    folder: Path,
    provenance: dict[str, Any],
    progress: Progress,
    *,
    shards: bool = False,
    ngff: str | None = None,
) -> None:
    """Write image and labels, all times and channels, with pyramids and the object tables.

    A region of a level becomes a volume of its own: its first voxel is voxel 0 there, its level is
    level 0, and what is measured in the table is measured anew.

    Parameters
    ----------
    shards : bool
        Put several chunks into each stored object (NGFF 0.5 only; such labels are not edited).
    ngff : {"0.4", "0.5"}, optional
        Version; default: 0.5 for shards, else the image's.
    """
    from volseg.images.pyramid import build_image_pyramid

    first = selections[0]
    if first.image_level is None:
        raise InputError(
            f"{first.labels.name} does not lie on a level of its image, which is copied with it"
        )
    version = ngff or ("0.5" if shards else first.volume.ngff_version)
    copy = _copy_image(first, folder, shards, version, progress)
    build_image_pyramid(copy, progress=progress)
    for selection in selections:
        _copy_labels(copy, selection, shards, progress)


def _copy_labels(copy: Volume, selection: Selection, shards: bool, progress: Progress) -> None:
    """Write one label image with its pyramid and table beside the copied image."""
    from volseg.images.labels import create_labels
    from volseg.images.pyramid import build_pyramid
    from volseg.images.scan import scan_objects

    labels = selection.labels
    made = create_labels(
        copy,
        labels.name,
        labels.dtype,
        channel=labels.channel,
        chunks=labels.levels[selection.level].chunks[-3:],
        category=labels.metadata.category,
        keep_thin=labels.metadata.keep_thin,
        classes=labels.metadata.classes,
    )
    if shards:
        made = _sharded(copy, made)
    for time in range(labels.n_times):
        part = replace(selection, time=time)
        _each(made.grid, part.read, _label_writer(made, time), f"labels t{time}", progress)
    build_pyramid(made, progress=progress)
    known = {(row.time, row.id): row for row in labels.objects.rows()}
    rows = [_described(row, known) for row in scan_objects(made, progress=progress)]
    made.objects.replace(rows)
    made.objects.publish()
    carry_label_metadata(labels, made)
    _check(selection, made)


def _described(row: ObjectRow, known: dict[tuple[int, int], ObjectRow]) -> ObjectRow:
    """What was measured in the copy, and what the source's table says beside that."""
    told = known.get((row.time, row.id), row)
    return replace(told, bbox=row.bbox, voxels=row.voxels, volume_um3=row.volume_um3)


def _copy_image(
    selection: Selection, folder: Path, shards: bool, ngff: str, progress: Progress
) -> Volume:
    from volseg.images.create import create_volume

    source, level = selection.volume, selection.volume.levels[selection.image_level or 0]
    sizes = {"t": source.n_times, "c": source.n_channels}
    sizes |= dict(zip("zyx", selection.shape, strict=True))
    axes = [axis for axis in "tczyx" if axis in source.axes]
    origin = zip(level.translation, selection.origin, level.scale, strict=True)
    copy = create_volume(
        folder,
        axes=axes,
        shape=[sizes[axis] for axis in axes],
        dtype=source.dtype,
        scale_um=level.scale,
        ngff=ngff,
        channels=[channel.name for channel in source.channels],
        chunks=level.chunks[-3:],
        shards=_times(level.chunks[-3:], SHARD_CHUNKS) if shards else None,
        rgb=source.is_rgb,
        name=source.name,
        origin_um=[first + n * size for first, n, size in origin],
    )
    carry_omero(source.multiscale.attributes.get("omero"), copy)
    for time in range(source.n_times):
        for channel in range(source.n_channels):

            def read(region: Region, t: int = time, c: int = channel) -> Any:
                return replace(selection, time=t).read_image(region, c)

            def write(region: Region, data: Any, t: int = time, c: int = channel) -> None:
                copy.write(region, data, time=t, channel=c)

            stage = f"image t{time} c{channel}"
            _each(copy.levels[0].grid, read, write, stage, progress)
    return copy


def _sharded(copy: Volume, labels: Labels) -> Labels:
    """Describe the (still empty) levels anew with shards, and open them again."""
    from volseg.images.create import array_documents
    from volseg.images.labels import open_labels

    for level in labels.levels:
        array = level.array
        chunks = _times(level.chunks[-3:], (1, 1, 1))
        counts = [-(-n // c) for n, c in zip(level.grid.shape, chunks, strict=True)]
        several = [min(many, n) for many, n in zip(SHARD_CHUNKS, counts, strict=True)]
        outer = _times(chunks, tuple(several))
        lead = [1] * (array.ndim - 3) if array.ndim > 3 else []
        flat = array.ndim - len(lead) < 3
        documents = array_documents(
            "0.5",
            array.shape,
            [*lead, *(chunks[1:] if flat else chunks)],
            labels.dtype,
            axes=copy.axes if "c" not in copy.axes else [a for a in copy.axes if a != "c"],
            shards=[*lead, *(outer[1:] if flat else outer)],
        )
        for key, document in documents.items():
            labels.store.put(f"{level.path}/{key}", document)
    return open_labels(copy, labels.name)


def _label_writer(made: Labels, time: int) -> Callable[[Region, Any], None]:
    def write(region: Region, data: Any) -> None:
        made.write_objects(region, data, time=time, fresh=True)

    return write


def _each(
    grid: Grid,
    read: Callable[[Region], Any],
    write: Callable[[Region, Any], None],
    stage: str,
    progress: Progress,
) -> None:
    """Copy storage object by storage object."""
    blocks = list(grid.blocks((1, 1, 1)))
    for done, region in enumerate(blocks, 1):
        write(region, read(region))
        progress("export", done, len(blocks), stage)


def _check(selection: Selection, made: Labels) -> None:
    """Reopen the labels and compare a slice."""
    z = selection.shape[0] // 2
    region = plane_region(z, selection.shape)
    if not np.array_equal(made.read(region), replace(selection, time=0).read(region)):
        raise StorageError(f"{made.location}: slice {z} reads back differently; try again")


def _times(shape: tuple[int, ...], many: tuple[int, ...]) -> Triple:
    z, y, x = (n * m for n, m in zip(shape, many, strict=True))
    return z, y, x
