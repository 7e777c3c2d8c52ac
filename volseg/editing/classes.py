"""What operations do to the classes of objects: changes as records keep them, and who gave a class before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from volseg.images.objects import MODEL, ObjectRow

Changes = dict[int, tuple[str | None, str | None]]
"""Old and new class by id; None for no class."""


def class_changes(
    wanted: Mapping[int, str | None],
    known: Mapping[int, str | None],
    rows: Mapping[int, ObjectRow],
) -> Changes:
    """Return what changes when a person gives classes.

    Parameters
    ----------
    wanted
        Classes that a person gives, by id.
    known
        Classes as they are, unsaved changes included.
    rows
        The object table's, by id. A class that a model gave changes even into itself: it becomes a person's.
    """
    return {
        label: (known.get(label), class_)
        for label, class_ in wanted.items()
        if known.get(label) != class_
        or (label in rows and (rows[label].class_by or "").startswith(MODEL))
    }


def given_by(
    labels: Iterable[int], rows: Mapping[int, ObjectRow]
) -> dict[str, list[str | float | None]]:
    """Return who gave the classes of objects, and how sure a model was, as a record keeps it for its undo."""
    return {
        str(label): [rows[label].class_by, rows[label].class_confidence]
        for label in labels
        if label in rows
    }


def renamed_classes(
    names: Mapping[int, int], kind: str, classes: Mapping[int, str | None]
) -> Changes:
    """Return what a renaming does to classes: gone with a deleted or merged object, taken along by a relabelled one."""
    changes: Changes = {}
    for old, new in names.items():
        class_ = classes.get(old)
        if class_ is not None:
            changes[old] = (class_, None)
            if kind == "relabel":
                changes[new] = (None, class_)
    return changes
