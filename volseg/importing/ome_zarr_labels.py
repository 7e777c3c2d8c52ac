"""The label images of an OME-Zarr image, written beside a copy of it: voxels, objects, colours, properties, prompts."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from volseg.geometry import Region
from volseg.images.image import Volume
from volseg.images.labels import Labels, create_labels
from volseg.images.omero import carry_label_metadata
from volseg.images.pyramid import build_pyramid
from volseg.images.scan import scan_objects
from volseg.progress import Progress

PROMPTS = "volseg/prompts"
BLOCK_BYTES = 2**26
_LOG = logging.getLogger(__name__)


def copy_labels(source: Volume, target: Volume, progress: Progress) -> None:
    """Copy every label image of a volume that can be read; the others are named in a warning.

    Parameters
    ----------
    source
        The volume.
    target
        A copy of its image, with a pyramid of its own.
    progress
        Told of each block.

    Raises
    ------
    StorageError
        If a store fails.
    """
    labels_of = source.labels
    for name, why in labels_of.unreadable.items():
        _LOG.warning("label image %s is left out: %s", name, why)
    for name, labels in labels_of.items():
        level = next((one.index for one in target.levels if one.grid.shape == labels.shape), None)
        if level is None or labels.n_times not in (1, target.n_times):
            _LOG.warning(
                "label image %s is left out: its %s voxels (z, y, x) lie on no level of the new volume; "
                "export it by itself",
                name,
                " × ".join(map(str, labels.shape)),
            )
            continue
        _copy(labels, target, level, progress)


def _copy(labels: Labels, target: Volume, level: int, progress: Progress) -> None:
    made = create_labels(
        target,
        labels.name,
        labels.dtype,
        level=level,
        channel=_channel(labels, target),
        category=labels.metadata.category,
        keep_thin=labels.metadata.keep_thin,
        classes=labels.metadata.classes,
    )
    blocks = list(_blocks(made))
    for time in range(labels.n_times):
        for done, region in enumerate(blocks, 1):
            made.write_objects(region, labels.read(region, time=time), time=time, fresh=True)
            progress("labels", done, len(blocks), labels.name)
        build_pyramid(made, time=time, progress=progress)
    made.objects.replace(labels.objects.rows() or scan_objects(made, progress=progress))
    made.objects.publish()
    carry_label_metadata(labels, made)
    for key in labels.store.list_names_or_none(PROMPTS) or ():
        data = labels.store.get_or_none(f"{PROMPTS}/{key}")
        if data is not None:
            made.store.put(f"{PROMPTS}/{key}", data)


def _channel(labels: Labels, target: Volume) -> int | list[int] | None:
    """The channel that the objects were seen in, None where the image has no such one."""
    said = labels.channel
    several = [said] if isinstance(said, int) else said or []
    fits = all(isinstance(c, int) and 0 <= c < target.n_channels for c in several)
    return said if fits else None


def _blocks(labels: Labels) -> Iterator[Region]:
    """Regions of whole storage objects, rows along x whole, of about `BLOCK_BYTES`."""
    grid = labels.grid
    row = grid.chunk[0] * grid.chunk[1] * grid.shape[2] * labels.dtype.itemsize
    rows = max(1, min(grid.counts[1], BLOCK_BYTES // max(1, row)))
    return iter(grid.blocks((1, rows, grid.counts[2])))
