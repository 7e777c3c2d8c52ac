"""All records of a journal, by chunk: who touched what last, without reading a voxel more than asked for."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.editing.deltas import Delta, Place
from volseg.editing.journal import Journal
from volseg.editing.record import Operation, Record
from volseg.geometry import Region, Triple, intersection, region_origin, region_shape, slices

if TYPE_CHECKING:
    from volseg.images.labels import Labels


class JournalIndex:
    """Every record of a label image, kept up to date by `refresh`. Read it once per process, ask it per block.

    Parameters
    ----------
    labels
        The label image.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.journal = Journal(labels.store)
        self.records: list[Record] = []
        self._chunks: Triple = labels.grid.chunk
        self._by_place: dict[Place, list[tuple[int, Operation, Delta]]] = defaultdict(list)
        self._links: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self.refresh()

    @property
    def last(self) -> int:
        """Number of the newest record that is known."""
        return self.records[-1].number if self.records else 0

    def refresh(self) -> int:
        """Take in new records; one request where there are none. Return how many."""
        with self._lock:
            news = self.journal.after(self.last)
            for record in news:
                self.records.append(record)
                for operation in record.operations:
                    self._links[operation.chain] += 1
                    for delta in operation.deltas:
                        place = delta.place(self._chunks)
                        self._by_place[place].append((record.number, operation, delta))
            return len(news)

    def is_done(self, operation: Operation) -> bool:
        """Tell whether an operation's chain stands as done: it, or its last redo, was not undone."""
        return self._links[operation.chain] % 2 == 1

    def changes(
        self, region: Region, time: int = 0, after: int = 0
    ) -> Iterator[tuple[int, Operation, Delta]]:
        """Yield (record number, operation, delta) of what records changed in a region, oldest first."""
        found = [
            entry
            for index in self.labels.grid.index_of(region)
            for entry in self._by_place.get(Place(time, *index), ())
            if entry[0] > after and intersection(entry[2].region, region) is not None
        ]
        return iter(sorted(found, key=lambda entry: entry[0]))

    def runs(self) -> list[tuple[int, Operation]]:
        """Return the records of segmentation runs: (number, operation), oldest first."""
        return [
            (record.number, operation)
            for record in self.records
            for operation in record.operations
            if operation.run is not None
        ]

    def person_edited(
        self, region: Region, time: int = 0, *, forget: bool = True
    ) -> NDArray[np.bool_]:
        """Return which voxels of a region (z, y, x) were last edited by a person; see `person_edited_mask`.

        With `forget` off, also those that a run with `--overwrite-edits` was free to replace.
        """
        mask = np.zeros(region_shape(region), bool)
        after = self._forgotten(region, time) if forget else 0
        done: set[str] = set()
        for _, operation, delta in self.changes(region, time, after=after):
            chain = f"{operation.chain}@{delta.origin}"
            if operation.run is None and self.is_done(operation) and chain not in done:
                done.add(chain)
                mark(mask, region, delta)
        return mask

    def person_values(
        self, region: Region, time: int = 0
    ) -> tuple[NDArray[np.bool_], NDArray[np.integer]]:
        """Return the mask of `person_edited`, and what people put there: ids (z, y, x), 0 outside of the mask.

        By the journal alone, so also where a record is not in its chunk yet.
        """
        mask = self.person_edited(region, time)
        values = np.zeros(mask.shape, self.labels.dtype)
        if mask.any():
            for _, operation, delta in self.changes(region, time, self._forgotten(region, time)):
                part = intersection(delta.region, region)
                if operation.run is None and part is not None:
                    change = delta.change()
                    whole = np.zeros(delta.shape, values.dtype)
                    whole[change.mask] = change.new
                    own = slices(part, delta.origin)
                    inside = slices(part, region_origin(region))
                    np.copyto(values[inside], whole[own], where=change.mask[own])
            values[~mask] = 0
        return mask, values

    def _forgotten(self, region: Region, time: int) -> int:
        """Number of the last run that was free to replace the edits of a region; 0 for none."""
        return max((n for n, op in self.runs() if _overwrites(op, region, time)), default=0)


def mark(mask: np.ndarray, region: Region, delta: Delta) -> None:
    """Set the voxels of a delta in a mask of a region."""
    part = intersection(delta.region, region)
    if part is None:
        return
    inside = slices(part, region_origin(region))
    own = slices(part, delta.origin)
    mask[inside] |= delta.change().mask[own]


def _overwrites(operation: Operation, region: Region, time: int) -> bool:
    run = operation.run or {}
    if not run.get("overwrite_edits") or run.get("time", 0) != time:
        return False
    where = run.get("region")
    if where is None:
        return True
    z, y, x = ((int(low), int(high)) for low, high in where)
    return intersection((z, y, x), region) is not None
