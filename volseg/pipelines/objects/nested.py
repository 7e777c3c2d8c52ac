"""Nested label images as one picture of classes: what is only the parent (cytoplasm), and the child (organelles)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from volseg.errors import InputError
from volseg.images.labels import labels_made_aside
from volseg.images.mapping import block_multiple
from volseg.images.pyramid import build_pyramid
from volseg.images.targets.permission import Permission
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels

ONLY_PARENT, CHILD = 1, 2


def nested_classes(
    volume: Volume,
    child: str,
    parent: str,
    into: str,
    *,
    overwrite: bool = False,
    overwrite_edits: bool = False,
    progress: Progress = silent,
) -> Labels:
    """Write a label image of class numbers: 1 for what is of `parent` and not of `child`, 2 for `child`.

    Parameters
    ----------
    volume
        The image.
    child, parent
        Its label images, of the same voxels.
    into
        Name of the label image to write; its classes are called after the two.
    overwrite, overwrite_edits
        Replace one of that name, as in `create_labels`.
    progress
        Told after every block.

    Raises
    ------
    InputError
        The label images have different voxels, or one of them would be replaced.
    ExistsError
        There is one of the new name.
    """
    if into in (child, parent):
        raise InputError(f"{into} can't be replaced by what is made of it; choose another name")
    inner, outer = volume.labels[child], volume.labels[parent]
    if (inner.shape, inner.n_times) != (outer.shape, outer.n_times):
        raise InputError(
            f"{child} has {inner.shape} voxels at {inner.n_times} times and {parent} {outer.shape} at {outer.n_times}; "
            "nesting needs the same grid"
        )
    with labels_made_aside(
        volume,
        into,
        "uint8",
        level=outer.metadata.level,
        channel=outer.channel,
        chunks=outer.grid.chunk,
        permission=Permission(overwrite, overwrite_edits),
        classes={ONLY_PARENT: f"{parent} without {child}", CHILD: child},
    ) as made:
        blocks = list(made.grid.blocks(block_multiple(made.grid, (1, 1, 1), outer.dtype)))
        for time in range(outer.n_times):
            for done, region in enumerate(blocks, 1):
                inside = inner.read(region, time=time) != 0
                data = np.where(inside, CHILD, outer.read(region, time=time) != 0).astype(np.uint8)
                if data.any():
                    made.write_objects(region, data, time=time, fresh=True)
                progress("nest", done + time * len(blocks), len(blocks) * outer.n_times)
        build_pyramid(made)
    return volume.labels[into]
