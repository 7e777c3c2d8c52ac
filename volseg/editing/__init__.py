"""Editing label images in place: a journal that alone decides, a chunk cache, conditional puts, undo and history."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volseg.editing.conflict import EditConflictError
    from volseg.editing.editor import Editor
    from volseg.editing.index import JournalIndex
    from volseg.editing.opening import open_editor
    from volseg.editing.past import HistoryEntry, LabelsAt, history, labels_at, labels_now
    from volseg.editing.runs import RunWriter, append_run_record, person_edited_mask

__all__ = [
    "EditConflictError",
    "Editor",
    "HistoryEntry",
    "JournalIndex",
    "LabelsAt",
    "RunWriter",
    "append_run_record",
    "history",
    "labels_at",
    "labels_now",
    "open_editor",
    "person_edited_mask",
]

_WHERE = {
    "EditConflictError": "conflict",
    "Editor": "editor",
    "HistoryEntry": "past",
    "JournalIndex": "index",
    "LabelsAt": "past",
    "RunWriter": "runs",
    "append_run_record": "runs",
    "history": "past",
    "labels_at": "past",
    "labels_now": "past",
    "open_editor": "opening",
    "person_edited_mask": "runs",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
