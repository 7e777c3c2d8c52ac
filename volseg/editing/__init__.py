"""Editing label images in place: a journal that alone decides, a chunk cache, conditional puts, undo and history."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volseg.editing.conflict import EditConflictError
    from volseg.editing.editor import Editor
    from volseg.editing.history import HistoryEntry, LabelsAt, history, labels_at
    from volseg.editing.opening import open_editor
    from volseg.editing.runs import JournalIndex, append_run_record, person_edited_mask

__all__ = [
    "EditConflictError",
    "Editor",
    "HistoryEntry",
    "JournalIndex",
    "LabelsAt",
    "append_run_record",
    "history",
    "labels_at",
    "open_editor",
    "person_edited_mask",
]

_WHERE = {
    "EditConflictError": "conflict",
    "Editor": "editor",
    "HistoryEntry": "history",
    "JournalIndex": "runs",
    "LabelsAt": "history",
    "append_run_record": "runs",
    "history": "history",
    "labels_at": "history",
    "open_editor": "opening",
    "person_edited_mask": "runs",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
