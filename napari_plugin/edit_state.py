"""How far the edits of a label image are: a value, and its text for people. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass

from volseg.editing.state import Clash
from volseg.editing.unsaved import LocalCopy


@dataclass(frozen=True)
class EditState:
    """How far the edits of a label image are.

    Parameters
    ----------
    unsaved
        Operations that are not durable yet, jobs in the queue included.
    synced
        Whether everything is durable and in all levels.
    conflicts
        Where records of others are in the way of unsaved edits.
    voxels
        How many voxels the unsaved operations change.
    error
        Why the last attempt to store failed, None if it did not; it is tried again.
    working
        What is being done right now, None if nothing.
    copies
        Edits of earlier sessions that could not be stored then and lie on this machine.
    """

    unsaved: int = 0
    synced: bool = True
    conflicts: tuple[Clash, ...] = ()
    voxels: int = 0
    error: str | None = None
    working: str | None = None
    copies: tuple[LocalCopy, ...] = ()

    def __str__(self) -> str:
        if self.conflicts:
            people = ", ".join(sorted({clash.annotator for clash in self.conflicts}))
            operations = len({clash.operation.uuid for clash in self.conflicts})
            return f"conflict: {operations} of {self.unsaved} unsaved, with {people}"
        if self.unsaved:
            return f"{self.unsaved} unsaved" + (" (the store fails)" if self.error else "")
        if not self.synced:
            return "saved, being written to all levels"
        return "synced" if self.error is None else "saved, but the store is away"
