"""What of one's edits is not saved, over all label images of some volumes, in one line for a sign. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from napari_plugin.editing import LabelEditing

Kind = Literal["saved", "saving", "kept", "offline", "conflict"]
"""In growing need of a person: all is stored; it is on its way; an earlier session's edits lie in a local copy; the
store does not take them; somebody else's edit is in the way."""
_KINDS: tuple[Kind, ...] = ("saved", "saving", "kept", "offline", "conflict")


@dataclass(frozen=True)
class Standing:
    """How one label image stands, or several.

    Parameters
    ----------
    kind
        What kind of trouble there is, or none.
    text
        One line for people.
    unsaved
        How many edits would be lost now.
    """

    kind: Kind = "saved"
    text: str = "✓ saved"
    unsaved: int = 0

    @property
    def alarming(self) -> bool:
        """Whether a person must do something."""
        return self.kind in ("kept", "offline", "conflict")


def standing_of(editing: LabelEditing) -> Standing:
    """Return how a label image stands; never waits."""
    state, name = editing.state, editing.name
    if state.conflicts:
        people = ", ".join(sorted({clash.annotator for clash in state.conflicts}))
        number = len({clash.operation.uuid for clash in state.conflicts})
        text = f"⚠ {name}: {_edits(number)} in conflict with {people}"
        return Standing("conflict", text, state.unsaved)
    if state.error:
        what = f"{_edits(state.unsaved)} not saved" if state.unsaved else "the store is away"
        return Standing("offline", f"⚠ {name}: {what}", state.unsaved)
    if state.copies:
        number = sum(copy.operations for copy in state.copies)
        return Standing("kept", f"⚠ {name}: {_edits(number)} kept on this machine", state.unsaved)
    if editing.busy:
        what = f"{_edits(state.unsaved)} to be saved" if state.unsaved else "saving"
        return Standing("saving", f"{name}: {what}", state.unsaved)
    return Standing()


def worst(editings: Iterable[LabelEditing]) -> Standing:
    """Return how the label image in the greatest need stands; further ones that need a person are counted."""
    found = sorted(map(standing_of, editings), key=lambda one: _KINDS.index(one.kind), reverse=True)
    if not found:
        return Standing()
    first, unsaved = found[0], sum(one.unsaved for one in found)
    more = sum(one.alarming for one in found[1:])
    return Standing(first.kind, first.text + (f" (and {more} more)" if more else ""), unsaved)


def _edits(number: int) -> str:
    return "1 edit" if number == 1 else f"{number} edits"
