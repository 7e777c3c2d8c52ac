"""The object table after edits: sizes, boxes, classes, who and when, for the objects that records touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from volseg.editing.deltas import Delta
from volseg.editing.record import Operation, Record
from volseg.geometry import Region, Triple, joined
from volseg.images.objects import ObjectRow

if TYPE_CHECKING:
    from volseg.images.labels import Labels

_MOST_SCANNED = 64  # chunks read to find the box of one shrunken object
RowKey = tuple[int, int]


@dataclass
class _Change:
    """What records did to one object at one time."""

    gained: int = 0
    lost: int = 0
    grown: Region | None = None
    shrunk: Region | None = None
    annotator: str = ""
    time: float = 0.0


def update_rows(labels: Labels, records: Iterable[Record]) -> None:
    """Bring what records changed into the table, once per record.

    Parameters
    ----------
    labels
        The label image; its chunks hold the records already.
    records
        Of this session, each passed exactly once.
    """
    records = list(records)
    changes = _changes(records)
    classes = _classes(records)
    if not changes and not classes:
        return

    def changed(rows: dict[RowKey, ObjectRow]) -> dict[RowKey, ObjectRow]:
        rows = dict(rows)
        for key, change in changes.items():
            _change_row(labels, rows, key, change)
        _give_classes(rows, classes)
        return rows

    labels.objects.change(changed)


def rescan_rows(labels: Labels, records: Iterable[Record]) -> None:
    """Make the rows of the objects that records touched anew from the voxels.

    For records of sessions that crashed: nobody knows what was counted.
    """
    records = list(records)
    changes = _changes(records)
    classes = _classes(records)
    if not changes and not classes:
        return

    def changed(rows: dict[RowKey, ObjectRow]) -> dict[RowKey, ObjectRow]:
        rows = dict(rows)
        for time in {key[0] for key in changes}:
            found = _scan(labels, time, {k: c for k, c in changes.items() if k[0] == time}, rows)
            for key, change in changes.items():
                if key in found:
                    rows[key] = _row(labels, rows.get(key), key, *found[key], change)
                elif key[0] == time:
                    rows.pop(key, None)
        _give_classes(rows, classes)
        return rows

    labels.objects.change(changed)


def _scan(
    labels: Labels, time: int, changes: dict[RowKey, _Change], rows: dict[RowKey, ObjectRow]
) -> dict[RowKey, tuple[int, Region]]:
    """Return size and box of changed objects, read where they were listed or changed."""
    from volseg.images.scan import scan_region

    indices: set[Triple] = set()
    for key, change in changes.items():
        for region in (change.grown, change.shrunk, rows[key].bbox if key in rows else None):
            if region is not None:
                indices.update(labels.grid.index_of(region))
    found: dict[RowKey, tuple[int, Region]] = {}
    for index in sorted(indices):
        for label, extent in scan_region(labels, labels.grid.region(index), time).items():
            if (time, label) in changes:
                voxels, box = found.get((time, label), (0, None))
                found[time, label] = voxels + extent.voxels, joined(box, extent.bbox)
    return found


def drop_empty_rows(labels: Labels) -> None:
    """Remove rows without voxels, once nobody is at work: objects that the table never had listed whole."""
    if any(row.voxels < 0 for row in labels.objects.rows()):
        labels.objects.change(
            lambda rows: {key: row for key, row in rows.items() if row.voxels >= 0}
        )


def _change_row(
    labels: Labels, rows: dict[RowKey, ObjectRow], key: RowKey, change: _Change
) -> None:
    """Change one row. Called anew after a race, so that what it reads of the voxels is not older than the rows.

    Several editors may come in any order, so sizes are sums: a row may be below zero until the others have come.
    """
    row = rows.get(key)
    voxels = (0 if row is None else row.voxels) + change.gained - change.lost
    if voxels == 0:
        rows.pop(key, None)
        return
    changed = change.grown or change.shrunk
    assert changed is not None, "a change has voxels"
    box = joined(None if row is None else row.bbox, changed)
    if change.lost and voxels > 0 and _reaches_face(box, change.shrunk):
        box = _exact_box(labels, key, box) or box
    rows[key] = _row(labels, row, key, voxels, box, change)


def _row(
    labels: Labels, row: ObjectRow | None, key: RowKey, voxels: int, box: Region, change: _Change
) -> ObjectRow:
    if row is None:
        meta = labels.metadata
        row = ObjectRow(key[1], key[0], class_=meta.category, channel=meta.channel)
    when = datetime.fromtimestamp(change.time, UTC).isoformat(timespec="seconds")
    return replace(
        row,
        bbox=box,
        voxels=voxels,
        volume_um3=voxels * float(np.prod(labels.scale)),
        confidence=None,
        annotator=change.annotator,
        modified=when,
    )


def _changes(records: Iterable[Record]) -> dict[RowKey, _Change]:
    changes: dict[RowKey, _Change] = defaultdict(_Change)
    for record in records:
        for operation in record.operations:
            for delta in operation.deltas:
                for label, gained, lost, region in _per_id(delta):
                    change = changes[delta.time, label]
                    change.gained += gained
                    change.lost += lost
                    if gained:
                        change.grown = joined(change.grown, region)
                    if lost:
                        change.shrunk = joined(change.shrunk, region)
                    change.annotator, change.time = record.annotator, operation.time
    return dict(changes)


def _per_id(delta: Delta) -> Iterable[tuple[int, int, int, Region]]:
    """Yield (id, voxels gained, voxels lost, their box) of a delta; background is left out."""
    change = delta.change()
    where = np.nonzero(change.mask)
    for values, gain in ((change.old, False), (change.new, True)):
        for label in np.unique(values).tolist():
            if label == 0:
                continue
            chosen = values == label
            number = int(np.count_nonzero(chosen))
            spans = [
                (int(axis[chosen].min()) + o, int(axis[chosen].max()) + o + 1)
                for axis, o in zip(where, delta.origin, strict=True)
            ]
            region: Region = (spans[0], spans[1], spans[2])
            yield label, number if gain else 0, 0 if gain else number, region


_Class = tuple[str | None, str | None, float | None]
"""A class, who gave it, and how sure a model was."""


def _give_classes(rows: dict[RowKey, ObjectRow], classes: dict[int, _Class]) -> None:
    """Put classes into the rows of objects, with who gave them; an object that was never listed gets a row."""
    unlisted = classes.keys() - {key[1] for key in rows}
    rows |= {(0, one): ObjectRow(one) for one in unlisted if classes[one][0] is not None}
    for key in list(rows):
        if key[1] in classes:
            name, by, sure = classes[key[1]]
            rows[key] = replace(rows[key], class_=name, class_by=by, class_confidence=sure)


def _class(operation: Operation, label: int, name: str | None, annotator: str) -> _Class:
    """An undo gives a class back to whoever gave it before."""
    before = operation.details.get("given_by", {}).get(str(label))
    if operation.kind == "undo" and before is not None:
        return (name, before[0], before[1])
    return (name, None if name is None else annotator, None)


def _classes(records: Iterable[Record]) -> dict[int, _Class]:
    return {
        label: _class(operation, label, new, record.annotator)
        for record in records
        for operation in record.operations
        for label, (_, new) in operation.classes.items()
    }


def _reaches_face(box: Region, part: Region | None) -> bool:
    if part is None:
        return False
    return any(p <= b or q >= e for (b, e), (p, q) in zip(box, part, strict=True))


def _exact_box(labels: Labels, key: RowKey, box: Region) -> Region | None:
    """Return the box of an object from its voxels; None where that would read too much."""
    from volseg.images.scan import scan_region

    time, label = key
    indices = list(labels.grid.index_of(box))
    if len(indices) > _MOST_SCANNED:
        return None
    found: Region | None = None
    for index in indices:
        extent = scan_region(labels, labels.grid.region(index), time).get(label)
        if extent is not None:
            found = joined(found, extent.bbox)
    return found
