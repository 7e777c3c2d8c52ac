"""What an editor knows: records that chunks may lack, operations that the journal lacks, and how they lie on chunks.

In memory only; every method is called under the editor's lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from volseg.editing.deltas import Delta, Place, common_voxels
from volseg.editing.record import Operation, Record
from volseg.geometry import Triple


def touch(a: Operation, b: Operation) -> bool:
    """Tell whether two operations change the same voxels, or the same object's class."""
    if a.classes.keys() & b.classes.keys():
        return True
    return any(common_voxels(p, q) for p in a.deltas for q in b.deltas)


@dataclass(eq=False)
class PendingOperation:
    """An operation that is not yet in the journal.

    Parameters
    ----------
    operation
        What was done.
    base
        Newest record that its author's view contained when it began: later ones of others may be in its way.
    """

    operation: Operation
    base: int


@dataclass(frozen=True)
class Clash:
    """Voxels (or an id's class) changed by a pending operation and by somebody's later record.

    Parameters
    ----------
    place
        The chunk; None for a class.
    voxels
        How many voxels both change.
    annotator, number
        Who stands in the way, in which record.
    operation
        The pending operation.
    """

    place: Place | None
    voxels: int
    annotator: str
    number: int
    operation: Operation

    def __str__(self) -> str:
        what = (
            "the class of the same object"
            if self.place is None
            else f"{self.voxels} voxels of chunk {self.place.zyx}"
            + (f" at time {self.place.time}" if self.place.time else "")
        )
        return f"{what}, changed by {self.annotator} in record {self.number}"


class EditState:
    """Records and pending operations over one level-0 grid.

    Parameters
    ----------
    shape, chunks
        Voxels of level 0 and of one of its objects (z, y, x).
    dtype
        Of the ids.
    session
        The editor's session: its own records are never in its way.
    floor
        All chunks hold all records up to this number.
    """

    def __init__(
        self, shape: Triple, chunks: Triple, dtype: np.dtype, session: str, floor: int
    ) -> None:
        self.shape = shape
        self.chunks = chunks
        self.dtype = dtype
        self.session = session
        self.floor = floor
        self.base = floor
        self.listed = (
            0.0  # monotonic clock (s): when the request that found `base` to be the newest was sent
        )
        self.records: list[Record] = []
        self.pending: list[PendingOperation] = []
        self._known: dict[Place, list[tuple[int, str, str, Delta]]] = {}
        self._durable: dict[Place, int] = {}
        self._lying: dict[Place, list[Delta]] = {}

    # --- records

    def add_record(self, record: Record) -> None:
        """Take in the next record of the journal."""
        self.records.append(record)
        self.base = record.number
        self.remember([record])

    def remember(self, records: Iterable[Record]) -> None:
        """Keep what records change, to find what is in the way of pending operations."""
        for record in records:
            self._remember(record)

    def _remember(self, record: Record) -> None:
        for delta in record.deltas:
            place = delta.place(self.chunks)
            entry = (record.number, record.session, record.annotator, delta)
            self._known.setdefault(place, []).append(entry)

    def applied(self, place: Place) -> int:
        """Return the number up to which the stored chunk surely holds all records."""
        return self._durable.get(place, self.floor)

    def set_applied(self, place: Place, number: int) -> None:
        """Remember that the stored chunk holds all records up to a number; what that makes needless is forgotten."""
        self._durable[place] = max(number, self.applied(place))

    def outstanding(self, place: Place, applied: int) -> list[Delta]:
        """Return what records after `applied` change in a chunk, in order."""
        return [delta for number, _, _, delta in self._known.get(place, ()) if number > applied]

    def places_after(self, number: int) -> set[Place]:
        """Return the chunks that records after a number touch."""
        return {
            place
            for place, entries in self._known.items()
            if any(entry[0] > number for entry in entries)
        }

    # --- pending operations

    def push(self, item: PendingOperation) -> None:
        """Append a pending operation."""
        self.pending.append(item)
        self._index(item)

    def set_pending(self, items: Iterable[PendingOperation]) -> None:
        """Replace all pending operations."""
        self.pending = list(items)
        self._lying = {}
        for item in self.pending:
            self._index(item)

    def _index(self, item: PendingOperation) -> None:
        for delta in item.operation.deltas:
            self._lying.setdefault(delta.place(self.chunks), []).append(delta)

    def pending_deltas(self, place: Place) -> list[Delta]:
        """Return what pending operations change in a chunk, in order."""
        return self._lying.get(place, [])

    def pending_places(self) -> set[Place]:
        """Return the chunks that pending operations touch."""
        return set(self._lying)

    def clashes(self, items: Iterable[PendingOperation]) -> list[Clash]:
        """Return where records of others, later than an operation's base, touch what it changes."""
        found = []
        for item in items:
            for delta in item.operation.deltas:
                place = delta.place(self.chunks)
                for number, session, annotator, other in self._known.get(place, ()):
                    if number <= item.base or session == self.session:
                        continue
                    common = common_voxels(delta, other)
                    if common:
                        found.append(Clash(place, common, annotator, number, item.operation))
            found += self._class_clashes(item)
        return found

    def parted(self) -> tuple[list[PendingOperation], list[PendingOperation]]:
        """Return the pending operations that can be stored, and those that are in conflict or lie on one that is."""
        bad = {clash.operation.uuid for clash in self.clashes(self.pending)}
        free: list[PendingOperation] = []
        held: list[PendingOperation] = []
        for item in self.pending:
            operation = item.operation
            lies = any(touch(operation, other.operation) for other in held)
            (held if operation.uuid in bad or lies else free).append(item)
        return free, held

    def _class_clashes(self, item: PendingOperation) -> list[Clash]:
        if not item.operation.classes:
            return []
        return [
            Clash(None, 0, record.annotator, record.number, item.operation)
            for record in self.records
            if record.number > item.base and record.session != self.session
            for operation in record.operations
            if operation.classes.keys() & item.operation.classes.keys()
        ]

    def overlay(self, place: Place, block: np.ndarray, applied: int, origin: Triple) -> bool:
        """Put on a stored block what it lacks: outstanding records, then pending operations.

        Returns
        -------
        changed
            False where nothing lies on the chunk.
        """
        deltas = [*self.outstanding(place, applied), *self.pending_deltas(place)]
        for delta in deltas:
            delta.apply(block, origin)
        return bool(deltas)
