"""Keeping or dropping the objects of some classes: a new label image, or one edit that can be undone."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.images.mapping import block_multiple
from volseg.images.targets.permission import Permission
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.images.objects import ObjectRow


@dataclass(frozen=True)
class Selected:
    """What was kept and dropped: numbers of listed objects, and the label image that holds what was kept."""

    labels: str
    kept: int
    dropped: int


def select_classes(
    volume: Volume,
    name: str,
    classes: Sequence[str],
    *,
    keep: bool,
    into: str | None = None,
    overwrite: bool = False,
    overwrite_edits: bool = False,
    annotator: str | None = None,
    progress: Progress | None = None,
) -> Selected:
    """Keep the objects of some classes, or drop them.

    Parameters
    ----------
    volume
        The image.
    name
        Its label image.
    classes
        Names of classes, a person's before a model's.
    keep
        Keep them, and drop all others, those without a class too; else drop them, and keep all others.
    into
        Name of a new label image; None: drop by one edit, which can be undone.
    overwrite, overwrite_edits
        With `into`: replace a label image of that name, as in `create_labels`.
    annotator
        Who edits; by default the account's name.
    progress
        Told after every block.

    Raises
    ------
    InputError
        No object is of one of the classes.
    ExistsError
        There is a label image of the new name.
    """
    labels = volume.labels[name]
    rows = labels.objects.rows()
    known = {row.class_ for row in rows if row.class_ is not None}
    if not classes:
        raise InputError("no class was given; name at least one with --class")
    if unknown := sorted(set(classes) - known):
        listed = ", ".join(sorted(known)) or "none"
        raise InputError(f"{name} has no object of class {unknown[0]!r}; its classes: {listed}")
    of_them = {(row.time, row.id) for row in rows if row.class_ in set(classes)}
    stays = [row for row in rows if ((row.time, row.id) in of_them) == keep]
    gone = [row for row in rows if ((row.time, row.id) in of_them) != keep]
    if into is None:
        _edit(labels, stays, gone, annotator, progress or silent)
    else:
        permission = Permission(overwrite, overwrite_edits)
        chosen = stays if keep else gone
        _copy(volume, labels, into, stays, chosen, keep, permission, progress or silent)
    return Selected(into or name, len(stays), len(gone))


def _edit(
    labels: Labels,
    stays: Sequence[ObjectRow],
    gone: Sequence[ObjectRow],
    annotator: str | None,
    progress: Progress,
) -> None:
    """Delete what goes, in one operation; an object that is one at several times goes or stays as a whole."""
    both = {row.id for row in stays} & {row.id for row in gone}
    if both:
        raise InputError(
            f"object {min(both)} has another class at another time, so that one edit can't drop it; make a new label "
            "image with --labels NEW"
        )
    with labels.edit(annotator=annotator or getpass.getuser()) as editor:
        editor.delete_all(sorted({row.id for row in gone}), progress=progress)
    labels.objects.publish()


def _copy(
    volume: Volume,
    labels: Labels,
    into: str,
    stays: Sequence[ObjectRow],
    chosen: Sequence[ObjectRow],
    keep: bool,
    permission: Permission,
    progress: Progress,
) -> None:
    from volseg.images.labels import labels_made_aside
    from volseg.images.pyramid import build_pyramid

    ids = {time: [row.id for row in chosen if row.time == time] for time in range(labels.n_times)}
    with labels_made_aside(
        volume,
        into,
        labels.dtype,
        level=labels.metadata.level,
        channel=labels.channel,
        chunks=labels.grid.chunk,
        keep_thin=labels.metadata.keep_thin,
        permission=permission,
    ) as made:
        blocks = list(made.grid.blocks(block_multiple(made.grid, (1, 1, 1), made.dtype)))
        for time in range(labels.n_times):
            for done, region in enumerate(blocks, 1):
                data = _masked(labels.read(region, time=time), ids[time], keep)
                if data.any():
                    made.write_objects(region, data, time=time, fresh=True)
                progress("select", done + time * len(blocks), len(blocks) * labels.n_times)
        build_pyramid(made)
        made.objects.replace(stays)
        made.objects.publish()


def _masked(data: NDArray[np.integer], ids: list[int], keep: bool) -> NDArray[np.integer]:
    import fastremap

    block = np.array(data, order="C")
    found: NDArray[np.integer] = (
        fastremap.mask_except(block, ids, in_place=True)
        if keep
        else fastremap.mask(block, ids, in_place=True)
    )
    return found
