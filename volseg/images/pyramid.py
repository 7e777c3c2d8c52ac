"""Label and image pyramids on a store: built block by block, kept up to date under what was touched.

Each level is made from the next finer one by `volseg.images.downsample`, in whole storage objects, so that any cutting
into blocks and any number of workers gives the same bytes. Memory is bounded by `BLOCK_BYTES`, not by the volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.geometry import Region, Triple, coarsened, refined
from volseg.images.downsample import downsample_image, downsample_labels
from volseg.images.image import Volume
from volseg.images.labels import Labels
from volseg.images.levels import LevelPlan, level_plan
from volseg.images.mapping import block_multiple, run_jobs
from volseg.images.writing import Written

if TYPE_CHECKING:
    from distributed import Client

    from volseg.progress import Progress

COMPILED_FROM = 1 << 27
"""Voxels of level 0 from which on compiling the inner loop pays."""

__all__ = [
    "LevelPlan",
    "build_image_pyramid",
    "build_pyramid",
    "coarser",
    "downsample_image",
    "downsample_labels",
    "level_plan",
    "make_block",
    "owned_levels",
    "pyramid_blocks",
    "update_pyramid",
    "write_with_coarser",
]


def build_pyramid(
    labels: Labels,
    *,
    time: int | None = None,
    first: int = 1,
    client: Client | None = None,
    threads: int = 2,
    progress: Progress | None = None,
) -> list[Written]:
    """Make the coarser levels of a label image from its level 0.

    Parameters
    ----------
    labels
        The label image; its level 0 is not written.
    time
        One time index, or None for all.
    first
        The first level to make, from the level below it.
    client
        Run on these Dask workers; else in `threads` threads here.
    threads
        Blocks worked on at once without a client.
    progress
        Called as ``progress("pyramid", blocks done, blocks in all, message)``.

    Returns
    -------
    list of Written
        Every storage object of these levels.

    Raises
    ------
    NotOmeZarrError
        If the levels are no whole multiples of each other.
    StorageError
        If the store fails; what was written stays, and running again is harmless.
    """
    times = range(labels.n_times) if time is None else [time]
    n_levels = len(labels.levels)
    total = len(times) * sum(len(pyramid_blocks(labels, level)) for level in range(first, n_levels))
    written: list[Written] = []
    done = 0
    for level in range(first, n_levels):
        jobs = [(labels, level, block, t) for t in times for block in pyramid_blocks(labels, level)]
        for result in run_jobs(make_block, jobs, client, threads):
            written.extend(result)
            done += 1
            if progress is not None:
                progress("pyramid", done, total, f"level {level}")
    return written


def update_pyramid(labels: Labels, dirty: Region, time: int = 0) -> list[Written]:
    """Make anew the coarser storage objects above a region of level 0, and no others.

    For whoever is the only writer of these labels; editors go through `volseg.editing`.

    Parameters
    ----------
    labels
        The label image.
    dirty
        Region of level 0 whose voxels changed.
    time
        Time index.
    """
    written: list[Written] = []
    factors = labels.factors
    for level in range(1, len(factors)):
        grid = labels.levels[level].grid
        for index in grid.index_of(coarsened(dirty, factors[level])):
            written.extend(make_block(labels, level, grid.region(index), time))
    return written


def pyramid_blocks(labels: Labels, level: int) -> list[Region]:
    """Return the regions of whole storage objects of a level that are made one at a time."""
    info = labels.levels
    step = _step(labels.factors, level)
    return list(info[level].grid.blocks(block_multiple(info[level].grid, step, info[0].dtype)))


def make_block(labels: Labels, level: int, region: Region, time: int = 0) -> list[Written]:
    """Make a region of whole storage objects of one level from the next finer level."""
    step = _step(labels.factors, level)
    finer = refined(region, step, labels.levels[level - 1].grid.shape)
    block = labels.read(finer, level=level - 1, time=time)
    made = _coarser_of(labels, block, step)
    return labels.write_objects(region, made, level=level, time=time)


def coarser(
    block: NDArray[np.integer],
    factors: Sequence[int],
    *,
    keep_thin: bool = False,
    compiled: bool = False,
) -> NDArray[np.integer]:
    """Return `downsample_labels` of a block, without work for one of a single value."""
    if block.flat[0] == block.flat[-1] and (block == block.flat[0]).all():
        shape = [-(-n // f) for n, f in zip(block.shape, factors, strict=True)]
        return np.full(shape, block.flat[0], block.dtype)
    return downsample_labels(block, factors, keep_thin=keep_thin, compiled=compiled)


def _coarser_of(
    labels: Labels, block: NDArray[np.integer], factors: Sequence[int]
) -> NDArray[np.integer]:
    large = prod(labels.shape) * labels.n_times >= COMPILED_FROM
    return coarser(block, factors, keep_thin=labels.metadata.keep_thin, compiled=large)


def owned_levels(labels: Labels, region: Region) -> list[int]:
    """Return the levels, from 0, of which a region of level 0 covers whole storage objects entirely.

    A writer of this region can make these levels from what it has in memory; a level is only owned if all finer ones
    are.
    """
    owned: list[int] = []
    factors = labels.factors
    for level, info in enumerate(labels.levels):
        part = coarsened(region, factors[level])
        if refined(part, factors[level], labels.shape) != region or not info.grid.is_whole(part):
            break
        owned.append(level)
    return owned


def write_with_coarser(
    labels: Labels,
    region: Region,
    data: NDArray[np.integer],
    *,
    time: int = 0,
    fresh: bool = False,
) -> list[Written]:
    """Write a region of whole storage objects of level 0, and every coarser level that it owns entirely.

    Parameters
    ----------
    labels, region, data, time, fresh
        As for `Labels.write_objects` at level 0.
    """
    written: list[Written] = []
    factors = labels.factors
    for level in owned_levels(labels, region) or [0]:
        if level:
            data = _coarser_of(labels, data, _step(factors, level))
        part = coarsened(region, factors[level])
        written.extend(labels.write_objects(part, data, level=level, time=time, fresh=fresh))
    return written


def build_image_pyramid(
    volume: Volume,
    *,
    client: Client | None = None,
    threads: int = 2,
    progress: Progress | None = None,
) -> None:
    """Make the coarser levels of an image that volseg created from its level 0, by averaging.

    Parameters
    ----------
    volume
        The image, opened writable.
    client, threads, progress
        As for `build_pyramid`.
    """
    jobs: list[tuple[Any, ...]] = []
    per_level = []
    for level in volume.levels[1:]:
        step = _image_step(volume, level.index)
        blocks = list(level.grid.blocks(block_multiple(level.grid, step, volume.dtype)))
        places = product(range(volume.n_times), range(volume.n_channels), blocks)
        per_level.append([(volume, level.index, block, t, c) for t, c, block in places])
        jobs += per_level[-1]
    done = 0
    for level_jobs in per_level:
        for _ in run_jobs(_make_image_block, level_jobs, client, threads):
            done += 1
            if progress is not None:
                progress("image pyramid", done, len(jobs), f"level {level_jobs[0][1]}")


def _make_image_block(volume: Volume, level: int, region: Region, time: int, channel: int) -> None:
    step = _image_step(volume, level)
    finer = refined(region, step, volume.levels[level - 1].grid.shape)
    block = volume.read(finer, level=level - 1, time=time, channel=channel)
    volume.write(region, downsample_image(block, step), level=level, time=time, channel=channel)


def _image_step(volume: Volume, level: int) -> Triple:
    fine, coarse = volume.levels[level - 1], volume.levels[level]
    z, y, x = (max(1, round(b / a)) for a, b in zip(fine.scale, coarse.scale, strict=True))
    return (z, y, x)


def _step(factors: Sequence[Triple], level: int) -> Triple:
    z, y, x = (a // b for a, b in zip(factors[level], factors[level - 1], strict=True))
    return (z, y, x)
