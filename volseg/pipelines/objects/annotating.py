"""What people say of objects: classes given by id, or in a table such as `volseg export` writes."""

from __future__ import annotations

import csv
import getpass
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from volseg.errors import InputError
from volseg.images.objects import MODEL
from volseg.images.table_text import unescaped

if TYPE_CHECKING:
    from volseg.images.labels import Labels


def read_classes(given: Sequence[str], table: str | None = None) -> dict[int, str | None]:
    """Read classes by id: ``6=nucleus``, ``7,8=debris``, ``6=`` for none; and a CSV file with columns id and class.

    Of a table that `volseg export` wrote, the classes that a model gave are left out: they are nobody's word.

    Raises
    ------
    InputError
        If a text is of another form, the file lacks a column, or nothing is given.
    """
    found = {} if table is None else _read_table(table)
    for text in given:
        ids, told, name = text.partition("=")
        if not told or not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", ids):
            raise InputError(f"{text!r}: expected ID=CLASS, such as 6=nucleus or 7,8=debris")
        found |= {int(one): name.strip() or None for one in ids.split(",")}
    if not found:
        raise InputError("nothing to label: give ID=CLASS, or --csv FILE with columns id and class")
    if 0 in found:
        raise InputError("object 0 is the background; ids are whole numbers above 0")
    return found


def _read_table(file: str) -> dict[int, str | None]:
    from volseg.storage.files import read_text

    rows = csv.DictReader(io.StringIO(read_text(file).removeprefix("\ufeff")))
    names = rows.fieldnames or ()
    if not {"id", "class"} <= set(names):
        raise InputError(
            f"{file}: expected columns id and class, but it has {', '.join(names) or 'none'}"
        )
    found: dict[int, str | None] = {}
    for number, row in enumerate(rows, 2):
        text, name = (row["id"] or "").strip(), unescaped(row["class"] or "").strip()
        if not text.isdigit() or int(text) == 0:
            raise InputError(f"{file}, line {number}: id {text!r}; expected a whole number above 0")
        if name and not unescaped(row.get("class_by") or "").startswith(MODEL):
            found[int(text)] = name
    return found


def list_objects(labels: Labels, ids: Iterable[int]) -> None:
    """Make the table of objects from the voxels where it lacks one of some ids, as that of another writer does."""
    known = {row.id for row in labels.objects.rows()}
    if set(ids) - known:
        from volseg.images.scan import scan_objects

        labels.objects.update(scan_objects(labels))


def give_classes(
    labels: Labels, classes: Mapping[int, str | None], annotator: str | None = None
) -> int:
    """Give classes as one edit, and return of how many objects it speaks.

    Raises
    ------
    InputError
        If there is no object of one of the ids.
    ConflictError
        If somebody else gave one of them a class in the meantime.
    """
    list_objects(labels, classes)
    with labels.edit(annotator=annotator or getpass.getuser()) as editor:
        editor.set_classes(classes)
    labels.objects.publish()
    return len(classes)
