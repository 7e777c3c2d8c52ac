"""What can be chosen when a label image is opened for editing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from volseg.editing.engine import Changed


class EngineOptions(TypedDict, total=False):
    """Choices that hold for the whole label image; `Engine` has the defaults.

    Parameters
    ----------
    cache_bytes
        Bound of the memory for decoded chunks, by default 512 MiB.
    flush_after
        Seconds without edits after which a background thread stores them, by default 2; None: only `flush` and `close`
        do.
    local_folder
        Where edits are copied to that can't be stored at the end.
    step
        Called with the name of each step of opening, flushing and closing; for tests that stop there.
    on_change
        Called with the times and regions of voxels that look different now, own edits and those of others alike; from
        any thread, so it must return at once.
    """

    cache_bytes: int
    flush_after: float | None
    local_folder: Path | None
    step: Callable[[str], None]
    on_change: Callable[[Changed], None]


class EditorOptions(EngineOptions, total=False):
    """Choices of an editor.

    Parameters
    ----------
    time
        Time index that indexing and tools work on, by default 0.
    """

    time: int
