"""Prompts made out of existing labels, one per object: to re-run, compare or extend them.

Labels are read a few slices at a time, so that memory does not grow with the volume. The prompts'
own form lives in `models`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volseg.errors import PromptError
from volseg.prompts.models import Layer, Prompt, PromptedObject, PromptSet, RunLengthMask

Kind = Literal["point", "box", "mask"]
SLAB_BYTES = 256 * 2**20  # the most that is read at once


def prompts_from_labels(
    labels: Any,
    *,
    kind: Kind = "point",
    slice: Literal["middle", "largest"] = "middle",  # noqa: A002
    layer: str = "objects",
    channel: int | tuple[int, ...] | None = None,
    min_voxels: int = 1,
    time: int = 0,
) -> PromptSet:
    """One prompt per object of a label image.

    Parameters
    ----------
    labels : array (z, y, x) or (y, x), or Labels
        Object ids, 0 for background. Lazy arrays are read slab by slab.
    kind : {"point", "box", "mask"}
        A point farthest inside, the bounding box, or the mask itself, on the chosen slice.
    slice : {"middle", "largest"}
        The slice: the one nearest to the middle of the object's own z range whose area is at least
        half of the object's median area, or the one with the largest area. Ties go to the lower z.
    layer, channel : str, int
        Name and channel of the layer that the objects are put into.
    min_voxels : int
        Objects with fewer voxels are left out.
    time : int
        Time point of `labels` (a `Labels` with t only); the prompts carry it.

    Raises
    ------
    PromptError
        The labels have another number of axes, or no object is left.
    """
    if kind not in ("point", "box", "mask") or slice not in ("middle", "largest"):
        raise PromptError(
            f"no prompts of kind {kind!r} on the {slice!r} slice; kinds are point, box, mask, "
            "slices are middle, largest"
        )
    areas: dict[int, dict[int, int]] = defaultdict(dict)
    for z, plane in _planes(labels, time):
        for one, n in zip(*np.unique(plane[plane != 0], return_counts=True), strict=True):
            areas[int(one)][z] = int(n)
    chosen: dict[int, list[int]] = defaultdict(list)
    for one, by_z in areas.items():
        if sum(by_z.values()) >= min_voxels:
            chosen[_chosen_slice(by_z, slice)].append(one)
    if not chosen:
        raise PromptError(f"the labels have no object of at least {min_voxels} voxels")
    found = {
        one: prompt
        for z, plane in _planes(labels, time, only=set(chosen))
        for one, prompt in _prompts_of_plane(plane, z, sorted(chosen[z]), kind, time)
    }
    objects = tuple(
        PromptedObject(id=one, layer=layer, prompts=(found[one],)) for one in sorted(found)
    )
    return PromptSet(layers=(Layer(name=layer, channel=channel),), objects=objects)


def _planes(
    labels: Any, time: int, only: set[int] | None = None
) -> Iterator[tuple[int, NDArray[np.integer]]]:
    """Slices (y, x) with their z, those of `only` where given, read in slabs of whole chunks."""
    read, (depth, height, width), itemsize, thick = _reader(labels, time)
    step = max(1, min(thick, SLAB_BYTES // max(1, height * width * itemsize)))
    for z0 in range(0, depth, step):
        z1 = min(depth, z0 + step)
        wanted = [z for z in range(z0, z1) if only is None or z in only]
        if wanted:
            slab = read(z0, z1)
            for z in wanted:
                yield z, slab[z - z0]


def _reader(labels: Any, time: int) -> tuple[Any, tuple[int, int, int], int, int]:
    if hasattr(labels, "levels") and hasattr(labels, "read"):  # volseg.images.labels.Labels
        level = labels.levels[0]
        depth, height, width = (int(n) for n in level.shape[-3:])

        def read(z0: int, z1: int) -> NDArray[np.integer]:
            region = ((z0, z1), (0, height), (0, width))
            return np.asarray(labels.read(region, level=0, time=time))

        return read, (depth, height, width), np.dtype(level.dtype).itemsize, int(level.chunks[-3])
    array = labels if hasattr(labels, "shape") else np.asarray(labels)
    if array.ndim not in (2, 3):
        raise PromptError(f"labels are (z, y, x) or (y, x); these have shape {array.shape}")
    if array.ndim == 2:
        return (lambda z0, z1: np.asarray(array)[None]), (1, *array.shape), array.dtype.itemsize, 1
    chunks = getattr(array, "chunks", None)
    thick = int(chunks[0]) if chunks and isinstance(chunks[0], int) else 1
    return (lambda z0, z1: np.asarray(array[z0:z1])), array.shape, array.dtype.itemsize, thick


def _chosen_slice(by_z: dict[int, int], which: str) -> int:
    if which == "largest":
        return min(by_z, key=lambda z: (-by_z[z], z))
    middle = (min(by_z) + max(by_z)) / 2
    enough = 0.5 * float(np.median(list(by_z.values())))
    return min((z for z in by_z if by_z[z] >= enough), key=lambda z: (abs(z - middle), z))


def _prompts_of_plane(
    plane: NDArray[np.integer], z: int, wanted: list[int], kind: Kind, time: int
) -> Iterator[tuple[int, Prompt]]:
    from scipy import ndimage

    ids, packed = np.unique(plane, return_inverse=True)
    boxes = ndimage.find_objects(packed.reshape(plane.shape).astype(np.int32) + 1)
    places = {int(one): box for one, box in zip(ids, boxes, strict=True)}
    for one in wanted:
        rows, columns = places[one]
        mask = plane[rows, columns] == one
        if kind == "mask":
            yield one, Prompt(z=z, t=time, mask=RunLengthMask.encode(plane == one))
        elif kind == "box":
            box = (rows.start, columns.start, rows.stop, columns.stop)
            yield one, Prompt(z=z, t=time, box=box)
        else:
            inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(int(np.argmax(inside)), mask.shape)
            yield one, Prompt(z=z, t=time, points=((rows.start + y, columns.start + x, 1),))
