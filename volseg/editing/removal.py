"""Which objects people took away, and what became of them, as the journal has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from volseg.editing.deltas import id_counts
from volseg.editing.record import Operation
from volseg.editing.timeline import Timeline

Fates = dict[int, int | None]
"""Id of an object without voxels to the one that it is part of now, None where it is gone."""


class Removals:
    """Asks the operations of a journal, newest first, what took the last voxel of objects.

    What was undone counts as never done. A propagation is nobody's decision: what it leaves empty is not removed.

    Parameters
    ----------
    timeline
        Of one editor; called under its lock, except where it reads older records.
    ids
        Objects that have no voxels.
    time
        At this time point.
    """

    def __init__(self, timeline: Timeline, ids: Iterable[int], time: int) -> None:
        self.fates: Fates = {}
        self._timeline = timeline
        self._open = set(ids)
        self._time = time
        self._seen: set[str] = set()

    @property
    def settled(self) -> bool:
        """Whether every object's fate is known, or nothing more can be learned."""
        return not self._open or self._timeline.complete

    def look(self) -> None:
        """Take in what is in memory of the journal."""
        for link in self._timeline.links():
            operation = link.operation
            if operation.chain in self._seen:
                continue
            self._seen.add(operation.chain)
            if not self._open:
                return
            if operation.done and operation.run is None:
                self._take(operation)

    def _take(self, operation: Operation) -> None:
        touched = self._open & self._changed(operation).keys()
        self._open -= touched
        if operation.of != "propagate":
            self.fates |= {label: became(operation, label) for label in touched}

    def _changed(self, operation: Operation) -> Mapping[int, int]:
        if operation.counts:
            return operation.counts
        return id_counts([delta for delta in operation.deltas if delta.time == self._time])


def became(operation: Operation, label: int) -> int | None:
    """Return what an object that an operation took away is part of since; None where it is gone."""
    named = list(operation.details.get("ids", ()))
    if operation.of == "merge" and label in named[1:]:
        return int(named[0])
    if operation.of == "relabel" and named[:1] == [label]:
        return int(named[1])
    return None


def last_of(fates: Mapping[int, int | None], label: int) -> int | None:
    """Return what an object is part of in the end; itself where it was not taken away, None where it is gone."""
    found: int | None = label
    passed: set[int] = set()
    while found is not None and found in fates and found not in passed:
        passed.add(found)
        found = fates[found]
    return found
