"""What people do to whole objects, as jobs for the label image's own thread: interpolate, split, merge, delete."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

import numpy as np

from napari_plugin.editing import LabelEditing
from volseg.editing.editor import Editor
from volseg.errors import InputError

Placed = tuple[np.ndarray, tuple[int, int]]
"""A mask (y, x) and the voxel of its first one."""


def new_object(editing: LabelEditing) -> Future[int]:
    """Claim an id that nobody else gets."""
    return editing.submit(lambda editor: editor.new_id(), "take a new id")


def merge(editing: LabelEditing, ids: Sequence[int]) -> Future[int]:
    """Make one object of several; it keeps the first one's id."""
    return editing.merge(ids)


def delete(editing: LabelEditing, ids: Sequence[int]) -> Future[None]:
    """Delete objects, each as a step of undo."""
    return editing.delete(ids)


def split(
    editing: LabelEditing, object_id: int, points: Sequence[Sequence[int]], *, time: int = 0
) -> Future[list[int]]:
    """Divide an object: each point (z, y, x) is the seed of one part, the first one's keeps the id.

    Raises
    ------
    InputError
        If there are fewer than two points. The future has it where a point is not in the object.
    """
    if len(points) < 2:
        raise InputError(f"to split object {object_id}, mark a point in each of its parts")

    def run(editor: Editor) -> list[int]:
        editor.time = time
        return editor.split(object_id, [[[int(v) for v in point]] for point in points])

    return editing.submit(run, f"split object {object_id}")


def interpolate(
    editing: LabelEditing, object_id: int, *, time: int = 0, protect: bool = True
) -> Future[list[int]]:
    """Fill the slices between those in which an object is painted, by signed distances; return the slices.

    Other objects are left alone where `protect` is set. (Raya & Udupa 1990: shape-based interpolation.)
    """

    def run(editor: Editor) -> list[int]:
        editor.time = time
        painted = editor.slices_of(object_id)
        if len(painted) < 2:
            raise InputError(
                f"object {object_id} is painted on {len(painted)} slices; interpolation needs two or more"
            )
        filled = []
        with editor.stroke("interpolate", ids=[object_id]):
            for low, high in pairwise(painted):
                filled += _fill_gap(editor, object_id, low, high, protect)
        if not filled:
            raise InputError(f"object {object_id} has no empty slice between its first and last")
        return filled

    return editing.submit(run, f"interpolate object {object_id}")


def _fill_gap(editor: Editor, label: int, low: int, high: int, protect: bool) -> list[int]:
    if high - low < 2:
        return []
    below, above = editor.slice_mask(label, low), editor.slice_mask(label, high)
    if below is None or above is None:
        return []
    for z in range(low + 1, high):
        mask, origin = between(below, above, (z - low) / (high - low))
        editor.paint(z, mask, label, origin=origin, protect=protect)
    return list(range(low + 1, high))


def between(below: Placed, above: Placed, share: float) -> Placed:
    """Return the shape between two masks.

    The shapes are brought to one centre first, so that an object that runs obliquely is not lost between slices.

    Parameters
    ----------
    below, above
        Masks and their places.
    share
        0: below, 1: above.
    """
    from scipy.ndimage import distance_transform_edt

    centres = [_centre(*below), _centre(*above)]
    centre = np.round(centres[0] * (1 - share) + centres[1] * share).astype(int)
    reach = np.max(
        [_reach(*placed, at) for placed, at in zip((below, above), centres, strict=True)], axis=0
    )
    distances = []
    for (mask, origin), at in zip((below, above), centres, strict=True):
        window = np.zeros(2 * reach + 1, bool)
        start = np.asarray(origin) - np.round(at).astype(int) + reach
        window[start[0] : start[0] + mask.shape[0], start[1] : start[1] + mask.shape[1]] = mask
        inside, outside = distance_transform_edt(window), distance_transform_edt(~window)
        distances.append(np.where(window, inside - 0.5, 0.5 - outside))
    shape: np.ndarray[Any, Any] = distances[0] * (1 - share) + distances[1] * share > 0
    first = centre - reach
    return shape, (int(first[0]), int(first[1]))


def _centre(mask: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
    centre: np.ndarray = np.argwhere(mask).mean(axis=0) + origin
    return centre


def _reach(mask: np.ndarray, origin: tuple[int, int], centre: np.ndarray) -> np.ndarray:
    """Return how far a mask goes from its centre, with one voxel to spare."""
    low = np.round(centre).astype(int) - origin
    reach: np.ndarray = np.maximum(low, np.asarray(mask.shape) - low) + 2
    return reach
