"""`volseg edit`: whole objects deleted, merged and given classes without a window, and the last edit taken back."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.options import LabelName, LabelsAt, Url, parse_ids
from volseg.errors import InputError

if TYPE_CHECKING:
    from volseg.editing import Editor

SHOWN_IDS = 8


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("edit")(_edit)


def _edit(
    url: Url,
    name: LabelName,
    delete: Annotated[
        list[str] | None, typer.Option(metavar="ID,…", help="Delete objects.")
    ] = None,
    merge: Annotated[
        list[str] | None, typer.Option(metavar="ID,ID,…", help="Make one object: the first's id.")
    ] = None,
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class", metavar="ID=CLASS", help="As 6=nucleus or 7,8=debris; 6= for none."
        ),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back the last edit, whoever's it is.")
    ] = False,
    annotator: Annotated[
        str | None, typer.Option(help="Who edits; else the account's name.")
    ] = None,
    labels_at: LabelsAt = None,
) -> None:
    """Delete, merge and name objects, or take the last edit back; all or nothing, and in the history."""
    from volseg.images.image import open_volume
    from volseg.images.labels import open_labels
    from volseg.pipelines.objects.annotating import list_objects, read_classes

    gone = [one for text in delete or () for one in parse_ids(text, "--delete") or ()]
    merged = [_merged(text) for text in merge or ()]
    classes = read_classes(class_) if class_ else {}
    if undo == bool(gone or merged or classes):
        raise InputError("give --delete, --merge or --class, or --undo by itself")
    _check_apart(gone, merged)
    labels = open_labels(open_volume(url, labels_at, writable=True), name)
    list_objects(labels, [*gone, *classes, *(one for ids in merged for one in ids)])
    with labels.edit(annotator or getpass.getuser(), flush_after=None) as editor:
        try:
            done = _take_back(editor) if undo else _change(editor, gone, merged, classes)
        except BaseException:
            editor.discard()
            raise
        editor.flush()
    labels.objects.publish()
    for line in done:
        typer.echo(f"{labels.location}: {line}")


def _merged(text: str) -> list[int]:
    ids = list(dict.fromkeys(parse_ids(text, "--merge") or ()))
    if len(ids) < 2:
        raise InputError(f"--merge {text!r}: expected two ids or more, such as 4,5")
    return ids


def _check_apart(gone: list[int], merged: list[list[int]]) -> None:
    """Refuse an object that is to become two things."""
    listed = [*gone, *(one for ids in merged for one in ids)]
    twice = sorted({one for one in listed if listed.count(one) > 1})
    if twice:
        raise InputError(f"object {twice[0]} is deleted or merged twice; name each once")


def _change(
    editor: Editor, gone: list[int], merged: list[list[int]], classes: dict[int, str | None]
) -> list[str]:
    done = []
    with Bars() as bars:
        if classes:
            editor.set_classes(classes)
            done.append(f"{_listed(list(classes))} given a class")
        for ids in merged:
            kept = editor.merge(ids, progress=bars)
            done.append(f"{_listed(ids)} merged into {kept}")
        if gone:
            editor.delete_all(gone, progress=bars)
            done.append(f"{_listed(gone)} deleted")
    return done


def _take_back(editor: Editor) -> list[str]:
    undone = editor.undo()
    if undone is None:
        raise InputError("there is no edit to take back; 'volseg history' lists the edits")
    return ["the last edit was taken back; 'volseg history' shows which"]


def _listed(ids: list[int]) -> str:
    shown = ", ".join(map(str, ids[:SHOWN_IDS]))
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return f"object{'' if len(ids) == 1 else 's'} {shown}{more}"
