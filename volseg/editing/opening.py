"""The door: open a label image for editing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from volseg.editing.editor import Editor
from volseg.editing.options import EditorOptions

if TYPE_CHECKING:
    from volseg.images.labels import Labels


def open_editor(labels: Labels, annotator: str, **options: Unpack[EditorOptions]) -> Editor:
    """Open a label image for editing; what a former editor left half-way is brought to its end first.

    Parameters
    ----------
    labels
        The label image.
    annotator
        Who edits; stands in every record.
    **options
        See `EditorOptions`.

    Raises
    ------
    InputError
        If the labels are read only, or the annotator has no name.
    StorageError
        If the store fails past its retries.
    """
    return Editor(labels, annotator, **options)
