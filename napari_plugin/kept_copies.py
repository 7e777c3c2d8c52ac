"""The edits of earlier sessions that lie on this machine since they could not be stored: offered, taken up, forgotten.

Everything here runs on the label image's own thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from volseg.editing.unsaved import LocalCopy, local_copies

if TYPE_CHECKING:
    from volseg.editing import Editor


class KeptCopies:
    """The local copies of one label image's edits."""

    def __init__(self) -> None:
        self._found: tuple[LocalCopy, ...] = ()
        self._taken: dict[LocalCopy, frozenset[str]] = {}  # and which of its operations are pending

    @property
    def waiting(self) -> tuple[LocalCopy, ...]:
        """Those that nobody has decided about."""
        return tuple(copy for copy in self._found if copy not in self._taken)

    def look(self, editor: Editor) -> None:
        """Look for copies."""
        self._found = tuple(local_copies(editor.labels, editor.local_folder))

    def take_up(self, editor: Editor, copy: LocalCopy) -> None:
        """Have a copy's edits pending.

        Raises
        ------
        EditConflictError
            Somebody's later edit is in the way; they are pending all the same.
        """
        before = _pending(editor)
        try:
            editor.restore(copy.path)
        finally:
            self._taken[copy] = frozenset(_pending(editor) - before)

    def forget_stored(self, editor: Editor) -> None:
        """Delete the copies that were taken up and of which nothing is pending any more."""
        for copy, held in list(self._taken.items()):
            if not held & _pending(editor):
                self.forget(copy)

    def forget(self, copy: LocalCopy) -> None:
        """Delete a copy."""
        copy.path.unlink(missing_ok=True)
        self._found = tuple(one for one in self._found if one != copy)
        self._taken.pop(copy, None)


def _pending(editor: Editor) -> set[str]:
    return {operation.uuid for operation in editor.pending.operations}
