"""Reading a label image block by block: its objects with their boxes and sizes, and children outside their parents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.geometry import Region
from volseg.images.labels import Labels
from volseg.images.mapping import block_multiple, run_jobs
from volseg.images.objects import ObjectRow

if TYPE_CHECKING:
    from distributed import Client

    from volseg.progress import Progress


@dataclass
class Extent:
    """Where an id lies: bounding box and number of voxels."""

    bbox: Region
    voxels: int

    def joined(self, other: Extent) -> Extent:
        """Return the extent of both parts together."""
        z, y, x = (
            (min(a, c), max(b, d)) for (a, b), (c, d) in zip(self.bbox, other.bbox, strict=True)
        )
        return Extent((z, y, x), self.voxels + other.voxels)


def block_extents(data: NDArray[np.integer], origin: tuple[int, int, int]) -> dict[int, Extent]:
    """Return the extent of every id of a block but 0.

    Parameters
    ----------
    data
        (z, y, x) ids of any integer dtype.
    origin
        Voxel (z, y, x) at which the block lies.
    """
    if not data.any():
        return {}
    import cc3d
    import fastremap

    small, mapping = fastremap.renumber(
        np.array(data, order="C"), preserve_zero=True, in_place=True
    )
    ids = {int(new): int(old) for old, new in mapping.items()}
    found = cc3d.statistics(small)
    result: dict[int, Extent] = {}
    for number, box in enumerate(found["bounding_boxes"]):
        voxels = int(found["voxel_counts"][number])
        if number == 0 or voxels == 0:
            continue
        z, y, x = ((int(s.start) + o, int(s.stop) + o) for s, o in zip(box, origin, strict=True))
        result[ids[number]] = Extent((z, y, x), voxels)
    return result


def scan_region(labels: Labels, region: Region, time: int = 0) -> dict[int, Extent]:
    """Return the extents of the ids in a region of level 0."""
    (z, _), (y, _), (x, _) = region
    return block_extents(labels.read(region, time=time), (z, y, x))


def scan_objects(
    labels: Labels,
    *,
    time: int | None = None,
    client: Client | None = None,
    threads: int = 2,
    progress: Progress | None = None,
) -> list[ObjectRow]:
    """Make the object table anew from the voxels; what only the table knows (class, parent, who) is kept.

    Parameters
    ----------
    labels
        The label image; read at level 0, block by block.
    time
        One time index, or None for all.
    client, threads, progress
        As for `volseg.images.pyramid.build_pyramid`; the stage is "objects".

    Returns
    -------
    list of ObjectRow
        Sorted by time and id; not yet stored (`labels.objects.replace`).
    """
    times = range(labels.n_times) if time is None else [time]
    jobs = [(labels, block, t) for t in times for block in _blocks(labels)]
    extents: dict[tuple[int, int], Extent] = {}
    for done, (t, found) in enumerate(run_jobs(_scan_job, jobs, client, threads), start=1):
        for number, extent in found.items():
            old = extents.get((t, number))
            extents[(t, number)] = extent if old is None else old.joined(extent)
        if progress is not None:
            progress("objects", done, len(jobs), f"{len(extents)} objects")
    known = {(row.time, row.id): row for row in labels.objects.rows()}
    return [_row(labels, *key, extents[key], known.get(key)) for key in sorted(extents)]


def _scan_job(labels: Labels, region: Region, time: int) -> tuple[int, dict[int, Extent]]:
    return time, scan_region(labels, region, time)


def _row(
    labels: Labels, time: int, number: int, extent: Extent, known: ObjectRow | None
) -> ObjectRow:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if known is None:
        meta = labels.metadata
        known = ObjectRow(number, time, class_=meta.category, channel=meta.channel, modified=now)
    elif (known.bbox, known.voxels) != (extent.bbox, extent.voxels):
        known = replace(known, modified=now)
    volume = extent.voxels * float(np.prod(labels.scale))
    return replace(known, bbox=extent.bbox, voxels=extent.voxels, volume_um3=volume)


def _blocks(labels: Labels) -> Iterator[Region]:
    grid = labels.grid
    yield from grid.blocks(block_multiple(grid, (1, 1, 1), labels.dtype))


@dataclass(frozen=True)
class NestingViolation:
    """A child that does not lie in exactly one parent.

    Parameters
    ----------
    time, child
        Time index and id of the child.
    parents
        Voxels of the child in each parent that it touches, by id.
    outside
        Voxels of the child in no parent.
    """

    time: int
    child: int
    parents: dict[int, int]
    outside: int


def nesting_violations(
    children: Labels,
    parents: Labels,
    *,
    client: Client | None = None,
    threads: int = 2,
    progress: Progress | None = None,
) -> list[NestingViolation]:
    """Find the objects of one label image that do not lie inside exactly one object of another.

    Parameters
    ----------
    children, parents
        Label images of the same grid.
    client, threads, progress
        As for `volseg.images.pyramid.build_pyramid`; the stage is "nesting".

    Raises
    ------
    InputError
        If the grids differ.
    """
    shares = nesting_shares(children, parents, client=client, threads=threads, progress=progress)
    result = []
    for (t, child), share in sorted(shares.items()):
        outside = share.pop(0, 0)
        if outside or len(share) != 1:
            result.append(NestingViolation(t, child, share, outside))
    return result


def nesting_shares(
    children: Labels,
    parents: Labels,
    *,
    client: Client | None = None,
    threads: int = 2,
    progress: Progress | None = None,
) -> dict[tuple[int, int], dict[int, int]]:
    """Return the voxels of each object, by time and id, in each object of another label image; 0: in none.

    Parameters
    ----------
    children, parents, client, threads, progress
        As for `nesting_violations`.

    Raises
    ------
    InputError
        If the grids differ.
    """
    if (children.shape, children.n_times) != (parents.shape, parents.n_times):
        raise InputError(
            f"{children.name} has {children.shape} voxels at {children.n_times} times and {parents.name} "
            f"{parents.shape} at {parents.n_times}; nesting needs the same grid"
        )
    jobs = [(children, parents, b, t) for t in range(children.n_times) for b in _blocks(children)]
    shares: dict[tuple[int, int], dict[int, int]] = {}
    for done, (t, found) in enumerate(run_jobs(_share_job, jobs, client, threads), start=1):
        for (child, parent), voxels in found.items():
            share = shares.setdefault((t, child), {})
            share[parent] = share.get(parent, 0) + voxels
        if progress is not None:
            progress("nesting", done, len(jobs), f"{len(shares)} objects")
    return shares


def _share_job(
    children: Labels, parents: Labels, region: Region, time: int
) -> tuple[int, dict[tuple[int, int], int]]:
    child = children.read(region, time=time)
    inside = child != 0
    if not inside.any():
        return time, {}
    pairs_of = (child[inside], parents.read(region, time=time)[inside])
    child_ids, child_index = np.unique(pairs_of[0], return_inverse=True)
    parent_ids, parent_index = np.unique(pairs_of[1], return_inverse=True)
    pairs, counts = np.unique(child_index * len(parent_ids) + parent_index, return_counts=True)
    return time, {
        (int(child_ids[pair // len(parent_ids)]), int(parent_ids[pair % len(parent_ids)])): int(n)
        for pair, n in zip(pairs, counts, strict=True)
    }
