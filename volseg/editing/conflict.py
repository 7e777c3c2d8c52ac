"""What is raised where somebody else's record is in the way of an edit."""

from __future__ import annotations

from collections.abc import Sequence

from volseg.editing.state import Clash
from volseg.errors import ConflictError, UnsavedEditsError

_SHOWN = 5


class EditConflictError(ConflictError):
    """Another record touches the same voxels; nothing was written.

    Parameters
    ----------
    message
        For people.
    clashes
        Where, how many voxels, who.
    """

    def __init__(self, message: str, clashes: Sequence[Clash] = ()) -> None:
        super().__init__(message)
        self.clashes = list(clashes)

    @property
    def annotators(self) -> list[str]:
        """Who is in the way."""
        return sorted({clash.annotator for clash in self.clashes})


class UnsavedConflictError(EditConflictError, UnsavedEditsError):
    """The editor was closed while another record was in the way; the message names the local copy."""


def conflict_message(where: str, clashes: Sequence[Clash]) -> str:
    """Return what people are told about clashes."""
    shown = "; ".join(str(clash) for clash in clashes[:_SHOWN])
    more = f"; and {len(clashes) - _SHOWN} more places" if len(clashes) > _SHOWN else ""
    operations = len({clash.operation.uuid for clash in clashes})
    return (
        f"{where}: {operations} of your edits {'is' if operations == 1 else 'are'} in conflict: "
        f"{shown}{more}. They were not written. Choose: editor.resolve('theirs') drops your edits that are in "
        "conflict, editor.resolve('mine') puts yours on top, editor.discard() drops all unsaved edits"
    )
