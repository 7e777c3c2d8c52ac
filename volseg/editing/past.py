"""Looking back: who changed what and when, and the labels as they were at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.editing.deltas import Delta, id_counts
from volseg.editing.index import JournalIndex
from volseg.editing.record import Operation, Record
from volseg.errors import InputError
from volseg.geometry import (
    Region,
    coarsened,
    enclosing,
    intersection,
    refined,
    region_origin,
    region_shape,
    slices,
)
from volseg.images.pyramid import coarser
from volseg.progress import Progress, silent
from volseg.storage.urls import Location

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels

Replay = Callable[
    [Operation, Region, int, NDArray[np.integer], NDArray[np.bool_]], NDArray[np.integer]
]
"""What a segmentation run does: (operation, region, time, ids before, voxels that people own) to ids after."""


@dataclass(frozen=True)
class HistoryEntry:
    """One operation of the journal.

    Parameters
    ----------
    number, operation
        Number of the record, and the operation's `uuid` (for `Editor.undo`).
    time
        When it was made, UTC.
    annotator, kind
        Who, and what ("paint", "merge", "undo", "segment" …).
    voxels, chunks
        How many changed.
    bbox
        Box around them, half-open (z, y, x) of level 0; None where there are none.
    ids
        Objects that grew or shrank, by how many voxels.
    classes
        Changed classes: id to (old, new).
    undone
        It was taken back later.
    details
        What else the record says: merged ids; plan and tracks of a run.
    """

    number: int
    operation: str
    time: datetime
    annotator: str
    kind: str
    voxels: int
    chunks: int
    bbox: Region | None
    ids: dict[int, int]
    classes: dict[int, tuple[str | None, str | None]]
    undone: bool
    details: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "number": self.number,
            "operation": self.operation,
            "time": self.time.isoformat(timespec="milliseconds"),
            "annotator": self.annotator,
            "kind": self.kind,
            "voxels": self.voxels,
            "chunks": self.chunks,
            "bbox": self.bbox,
            "ids": {str(label): number for label, number in self.ids.items()},
            "classes": {str(label): list(pair) for label, pair in self.classes.items()},
            "undone": self.undone,
            "details": self.details,
        }


def history(labels: Labels) -> list[HistoryEntry]:
    """Return every operation of a label image's journal, oldest first."""
    index = JournalIndex(labels)
    return [
        _entry(index, record, operation)
        for record in index.records
        for operation in record.operations
    ]


def _entry(index: JournalIndex, record: Record, operation: Operation) -> HistoryEntry:
    details = dict(operation.details)
    if operation.run is not None:
        details["run"] = dict(operation.run)
    if operation.inverts is not None:
        details["operation"] = operation.chain
    return HistoryEntry(
        number=record.number,
        operation=operation.uuid,
        time=datetime.fromtimestamp(operation.time, UTC),
        annotator=record.annotator,
        kind=operation.kind,
        voxels=operation.voxels,
        chunks=len(operation.deltas),
        bbox=enclosing(delta.region for delta in operation.deltas) if operation.deltas else None,
        ids=dict(operation.counts) or id_counts(operation.deltas),
        classes=dict(operation.classes),
        undone=operation.inverts is None and not index.is_done(operation),
        details=details,
    )


def labels_at(
    labels: Labels, when: datetime | str | int, *, replay: Replay | None = None
) -> LabelsAt:
    """Return a label image as it was.

    Parameters
    ----------
    labels
        The label image.
    when
        A time (a datetime, or ISO 8601 text; UTC where it says no zone), or the number of the last record to keep
        (0: before the first).
    replay
        What a segmentation run does; needed only where a run was recorded after `when`.

    Raises
    ------
    InputError
        If the time can't be read, or a run after it can't be taken back without `replay`.
    """
    index = JournalIndex(labels)
    number = when if isinstance(when, int) else _number_at(index, _moment(when))
    if not 0 <= number <= index.last:
        raise InputError(
            f"{labels.location} has records 1 to {index.last}; there is no number {number}"
        )
    later = [n for n, _ in index.runs() if n > number]
    if later and replay is None:
        raise InputError(
            f"{labels.location}: record {later[0]} is a segmentation run after {when}; what it replaced is not in "
            f"the journal. Choose a time after it, or segment again with its plan"
        )
    return LabelsAt(index, number, replay)


def labels_now(labels: Labels) -> LabelsAt:
    """Return a label image with everything that the journal holds, also what a stopped editor left out of the chunks.

    For reading where nothing may be written; opening an editor brings the chunks themselves up to date.
    """
    return LabelsAt(JournalIndex(labels), None)


def _moment(when: datetime | str) -> datetime:
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError:
            raise InputError(
                f"{when!r} is no time; expected ISO 8601, as 2025-06-30T14:00:00+02:00"
            ) from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _number_at(index: JournalIndex, when: datetime) -> int:
    moment = when.timestamp()
    return max((record.number for record in index.records if record.time <= moment), default=0)


class LabelsAt:
    """A label image after a certain record; get it from `labels_at`.

    Later records are taken back from the labels as they are now. Where a run is among them, the journal is replayed
    from empty labels instead.

    Parameters
    ----------
    index
        All records.
    number
        The last record to keep; None: all that there are when it is read.
    replay
        What runs do.
    """

    def __init__(
        self, index: JournalIndex, number: int | None, replay: Replay | None = None
    ) -> None:
        self._index = index
        self._replay = replay
        self._number = number
        self.labels = index.labels
        self._applied = index.journal.checkpoint()
        self._forward = number is not None and any(n > number for n, _ in index.runs())

    @property
    def number(self) -> int:
        """Number of the last record that is kept."""
        return self._index.last if self._number is None else self._number

    def read(self, region: Region, *, level: int = 0, time: int = 0) -> NDArray[np.integer]:
        """Read a region of a level: ids (z, y, x)."""
        if level:
            return self._read_coarser(region, level, time)
        if self._forward:
            return replayed(self._index, region, time=time, upto=self.number, replay=self._replay)
        block = self.labels.read(region, time=time)
        self._index.refresh()  # after the read: what the chunks may hold by now is known
        for _, _, delta in self._index.changes(region, time, after=self._applied):
            put(block, region, delta, back=False)
        for _, _, delta in reversed(list(self._index.changes(region, time, after=self.number))):
            put(block, region, delta, back=True)
        return block

    def _read_coarser(self, region: Region, level: int, time: int) -> NDArray[np.integer]:
        """Read a coarser level as stored, and make anew what lies above changes that it should not have or lacks."""
        labels = self.labels
        totals = labels.factors
        z, y, x = (b // a for a, b in zip(totals[level - 1], totals[level], strict=True))
        block = labels.read(region, level=level, time=time)
        self._index.refresh()
        below = refined(region, totals[level], labels.shape)
        since = min(self._applied, self.number)
        boxes = {delta.region for _, _, delta in self._index.changes(below, time, after=since)}
        parts = {intersection(coarsened(box, totals[level]), region) for box in boxes}
        if self._forward:
            parts = {region}
        for part in parts:
            if part is not None:
                finer = refined(part, (z, y, x), labels.levels[level - 1].grid.shape)
                made = coarser(
                    self.read(finer, level=level - 1, time=time),
                    (z, y, x),
                    keep_thin=labels.metadata.keep_thin,
                )
                block[slices(part, region_origin(region))] = made
        return block

    def write(self, url: str | Path | Location, *, progress: Progress = silent) -> Volume:
        """Write a copy with a whole pyramid as an OME-Zarr label image of its own.

        Raises
        ------
        ExistsError
            If there is something.
        """
        from volseg.editing.copying import write_copy_of

        return write_copy_of(self, url, progress)


def replayed(
    index: JournalIndex,
    region: Region,
    *,
    time: int = 0,
    upto: int | None = None,
    replay: Replay | None = None,
) -> NDArray[np.integer]:
    """Return a region as the journal alone makes it, from empty labels.

    Parameters
    ----------
    index
        All records.
    region
        Voxels of level 0.
    time
        Time index.
    upto
        Last record; None for all.
    replay
        What segmentation runs do.

    Raises
    ------
    InputError
        If there is a run and no `replay`.
    """
    block = np.zeros(region_shape(region), index.labels.dtype)
    last = index.last if upto is None else upto
    for operation, deltas in _in_order(index, region, time, last):
        if operation.run is not None:
            if replay is None:
                raise InputError(
                    f"{index.labels.location}: replaying a segmentation run needs its tracks"
                )
            block = replay(operation, region, time, block, index.person_edited(region, time))
        for delta in deltas:
            put(block, region, delta, back=False)
    return block


def _in_order(
    index: JournalIndex, region: Region, time: int, last: int
) -> Iterator[tuple[Operation, list[Delta]]]:
    touching: dict[str, list[Delta]] = {}
    for _, operation, delta in index.changes(region, time):
        touching.setdefault(operation.uuid, []).append(delta)
    for record in index.records:
        if record.number > last:
            return
        for operation in record.operations:
            yield operation, touching.get(operation.uuid, [])


def put(block: np.ndarray, region: Region, delta: Delta, *, back: bool) -> None:
    """Set a delta's new (or old) values in the block of a region."""
    part = intersection(delta.region, region)
    if part is None:
        return
    inside = slices(part, region_origin(region))
    own = slices(part, delta.origin)
    change = delta.change()
    values = np.zeros(change.mask.shape, delta.dtype)
    values[change.mask] = change.old if back else change.new
    chosen = change.mask[own]
    block[inside][chosen] = values[own][chosen]
