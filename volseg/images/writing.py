"""The one gate for writes of whole storage objects (invariant 1), for labels and images alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volseg.errors import AlignmentError, InputError
from volseg.geometry import Region, Triple, check_region, region_origin, region_shape, slices
from volseg.images.arrays import LevelArray
from volseg.storage import digest

THREADS = 8


class Written(NamedTuple):
    """One storage object after a write: key in the store, entity tag and digest ("" where nothing is stored)."""

    key: str
    etag: str
    digest: str


def write_whole(
    level: LevelArray,
    region: Region,
    data: NDArray[np.generic],
    *,
    time: int = 0,
    channel: int = 0,
    fresh: bool = False,
) -> list[Written]:
    """Write a region made of whole storage objects; objects of nothing but the fill value are deleted.

    Parameters
    ----------
    level
        Where to write.
    region
        Voxels of the level; whole objects.
    data
        (z, y, x) of the region's shape; values must fit the level's dtype.
    time, channel
        Index along t and c.
    fresh
        Nothing was ever written in this region, so that empty objects need no deletion.

    Returns
    -------
    list of Written
        In z, y, x order of the objects.

    Raises
    ------
    AlignmentError
        If the region is not made of whole objects, or objects hold several times or channels.
    InputError
        If the region or index is not inside, or the values don't fit.
    StorageError
        If the store fails; objects written before that stay.
    """
    region = check_region(region, level.shape[-3:])
    level.check_index("t", time)
    level.check_index("c", channel)
    _check_alignment(level, region)
    data = _fitting(level, region, data)
    jobs = list(level.grid.index_of(region))

    def write(index: Triple) -> Written:
        return _write_object(level, index, region, data, time, channel, fresh)

    if len(jobs) == 1:
        return [write(jobs[0])]
    with ThreadPoolExecutor(min(THREADS, len(jobs))) as pool:
        return list(pool.map(write, jobs))


def _write_object(
    level: LevelArray,
    index: Triple,
    region: Region,
    data: NDArray[np.generic],
    time: int,
    channel: int,
    fresh: bool,
) -> Written:
    codec, grid = level.codec, level.grid
    box = grid.region(index)
    part = data[slices(box, region_origin(region))]
    key = codec.key(index, time, channel)
    packed = None
    if part.any() or codec.fill != 0:
        whole = codec.empty()
        codec.view(whole, time, channel)[tuple(slice(0, n) for n in region_shape(box))] = part
        packed = codec.pack(whole)
    if packed is None:
        if not fresh:
            level.store.delete(key)
        return Written(key, "", "")
    return Written(key, level.store.put(key, packed), digest(packed))


def _check_alignment(level: LevelArray, region: Region) -> None:
    grid = level.grid
    several = [
        kind for kind, n in zip(level.axes, level.objects, strict=True) if kind in "tc" and n > 1
    ]
    if several:
        raise AlignmentError(
            f"{level.store.location}/{level.path}: one storage object holds several indices of axis "
            f"{', '.join(several)}, so single ones can't be written without racing other writers; "
            "copy the data into an array with chunks of 1 along it"
        )
    if not grid.is_whole(region):
        raise AlignmentError(
            f"{level.store.location}/{level.path}: region {region} does not cover whole storage objects of "
            f"{grid.chunk} voxels (z, y, x); the smallest one that does is {grid.whole(region)}"
        )


def _fitting(level: LevelArray, region: Region, data: NDArray[np.generic]) -> NDArray[np.generic]:
    data = np.asarray(data)
    if data.shape != region_shape(region):
        raise InputError(f"data of shape {data.shape} does not fill region {region} (z, y, x)")
    if data.dtype == level.dtype or np.can_cast(data.dtype, level.dtype, "safe"):
        return data.astype(level.dtype, copy=False)
    if data.dtype.kind not in "iub" or level.dtype.kind not in "iu":
        raise InputError(
            f"{level.store.location}/{level.path} holds {level.dtype}; can't write {data.dtype} into it"
        )
    limits = np.iinfo(level.dtype)
    if int(data.min()) < limits.min or int(data.max()) > limits.max:
        raise InputError(
            f"{level.store.location}/{level.path} holds {level.dtype}, up to {limits.max}; got values from "
            f"{data.min()} to {data.max()}. Make the label image with a larger dtype, as uint64"
        )
    return data.astype(level.dtype)
