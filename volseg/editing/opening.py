"""The door: open a label image for editing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from volseg.editing.editor import Editor

if TYPE_CHECKING:
    from volseg.volume.labels import Labels


def open_editor(labels: Labels, annotator: str, **options: Any) -> Editor:
    """Open a label image for editing; what a former editor left half-way is brought to its end first.

    Parameters
    ----------
    labels
        The label image.
    annotator
        Who edits; stands in every record.
    **options
        `time` (index, default 0), `cache_bytes` (bound of the memory for decoded chunks, default 512 MiB),
        `flush_after` (seconds without edits after which a background thread stores them, default 2; None: only
        `flush` and `close` do), `local_folder` (where edits are copied to that can't be stored at the end), `on_change`
        (called with the times and boxes of voxels that look different now, own edits and those of others alike; from
        any thread, so it must return at once).

    Raises
    ------
    InputError
        If the labels are read only, or the annotator has no name.
    StorageError
        If the store fails past its retries.
    """
    return Editor(labels, annotator, **options)
