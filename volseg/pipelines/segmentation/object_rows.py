"""A run's rows in an object table that others keep, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from volseg.geometry import Region, Triple, intersection

if TYPE_CHECKING:
    from volseg.images.labels import Labels
    from volseg.images.objects import ObjectRow
    from volseg.images.scan import Extent
    from volseg.pipelines.segmentation.plan import Plan

Regions = dict[int, list[Region]]
RowKey = tuple[int, int]


def merge_rows(
    labels: Labels, plan: Plan, rows: Sequence[ObjectRow], gone: Iterable[int], settled: int
) -> None:
    """Bring what a run made into the table; rows of other objects, and what people said of these, stay.

    Parameters
    ----------
    labels
        The label image.
    plan
        The run's.
    rows
        One for each object that the run made, with its extent when it was composed.
    gone
        Objects of the run that have no voxels.
    settled
        Objects that later records touch are counted anew from the voxels.
    """
    time = plan.source.time
    touched = touched_since(labels, settled, time)
    made = {row.id: row for row in rows}
    absent = set(gone)

    def changed(old: dict[RowKey, ObjectRow]) -> dict[RowKey, ObjectRow]:
        merged = {key: row for key, row in old.items() if key[0] != time or key[1] not in absent}
        for row in rows:
            merged[time, row.id] = _joined(old.get((time, row.id)), row)
        again = {i: parts for i, parts in touched.items() if i in made or i in absent}
        again |= _overwritten(plan, merged, made, rows)
        found = recount(labels, time, _with_boxes(again, merged, time))
        for i in again:
            _put_extent(labels, merged, (time, i), found.get(i))
        return merged

    labels.objects.change(changed)


def touched_since(labels: Labels, number: int, time: int) -> Regions:
    """Ids that people's records after a number changed, and where."""
    from volseg.editing.journal import Journal

    found: Regions = {}
    for record in Journal(labels.store).after(number):
        for delta in record.deltas:
            if delta.time == time:
                change = delta.change()
                for i in np.unique(np.concatenate([change.old, change.new])).tolist():
                    found.setdefault(i, []).append(delta.region)
    found.pop(0, None)
    return found


def recount(labels: Labels, time: int, where: Regions) -> dict[int, Extent]:
    """Extents of objects from their voxels, looked for in some regions; each storage object is read once."""
    from volseg.images.scan import scan_region

    indices: set[Triple] = set()
    for regions in where.values():
        for region in regions:
            indices.update(labels.grid.index_of(region))
    found: dict[int, Extent] = {}
    for index in sorted(indices):
        for i, extent in scan_region(labels, labels.grid.region(index), time).items():
            if i in where:
                found[i] = found[i].joined(extent) if i in found else extent
    return found


def _joined(before: ObjectRow | None, row: ObjectRow) -> ObjectRow:
    if before is None:
        return row
    return replace(
        before,
        class_=before.class_ or row.class_,
        channel=row.channel,
        bbox=row.bbox,
        voxels=row.voxels,
        volume_um3=row.volume_um3,
        confidence=row.confidence,
    )


def _overwritten(
    plan: Plan,
    rows: dict[RowKey, ObjectRow],
    made: dict[int, ObjectRow],
    new: Sequence[ObjectRow],
) -> Regions:
    """Other objects that a run which overwrites edits may have taken voxels from."""
    if plan.existing is None or not plan.existing.overwrite_edits:
        return {}
    boxes = [row.bbox for row in new if row.bbox is not None]
    return {
        i: []
        for (time, i), row in rows.items()
        if time == plan.source.time
        and i not in made
        and row.bbox is not None
        and any(intersection(row.bbox, box) is not None for box in boxes)
    }


def _with_boxes(regions: Regions, rows: dict[RowKey, ObjectRow], time: int) -> Regions:
    """The regions, each with the box that the table has of the object."""
    boxes = {i: rows[time, i].bbox for i in regions if (time, i) in rows}
    return {
        i: [*parts, *([box] if (box := boxes.get(i)) is not None else [])]
        for i, parts in regions.items()
    }


def _put_extent(
    labels: Labels, rows: dict[RowKey, ObjectRow], key: RowKey, extent: Extent | None
) -> None:
    from volseg.images.objects import ObjectRow

    if extent is None:
        rows.pop(key, None)
        return
    row = rows.get(key) or ObjectRow(key[1], key[0], class_=labels.metadata.category)
    volume = extent.voxels * float(np.prod(labels.scale))
    rows[key] = replace(row, bbox=extent.bbox, voxels=extent.voxels, volume_um3=volume)
