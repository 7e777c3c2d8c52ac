"""`volseg trash`: what was replaced, brought back or deleted for good."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli.options import AsJson
from volseg.errors import InputError

if TYPE_CHECKING:
    from volseg.images.targets.trash import Kept

Place = Annotated[
    str, typer.Argument(metavar="URL", help="A volume, or the folder or prefix that it lies in.")
]
Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="Which, as the list says.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    room = typer.Typer(no_args_is_help=True, help="What --overwrite replaced.")
    room.command("list")(_list)
    room.command("restore")(_restore)
    room.command("empty")(_empty)
    app.add_typer(room, name="trash")


def _list(url: Place, as_json: AsJson = False) -> None:
    """List what was replaced: volumes, label images and exports, with dates, sizes and whose edits."""
    from volseg.images.targets.trash import list_trash

    there = list_trash(url)
    if as_json:
        typer.echo(json.dumps([_facts(kept) for kept in there]))
        return
    for kept in there:  # no table: it would cut ids that are to be copied
        when = f"{kept.replaced:%Y-%m-%d %H:%M} UTC"
        work = ", ".join(str(one) for one in kept.labels)
        more = f"; label images: {work}" if work else ""
        typer.echo(f"{kept.id}  {kept.kind} {kept.url}, {_size(kept.size)}, replaced {when}{more}")


def _restore(
    url: Place,
    id: Id = None,  # noqa: A002
    to: Annotated[str | None, typer.Option(metavar="NAME", help="Another name beside it.")] = None,
) -> None:
    """Put one thing back where it was; never over anything."""
    from volseg.images.targets.trash import restore

    typer.echo(f"{restore(url, id, to=to)}")


def _empty(
    url: Place,
    id: Id = None,  # noqa: A002
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete what was replaced for good: one thing, or everything."""
    from volseg.images.targets.trash import empty_trash, list_trash

    there = [kept for kept in list_trash(url) if id in (None, kept.id)]
    if not yes:
        listed = ", ".join(f"{kept.url} ({_size(kept.size)})" for kept in there) or "nothing"
        typer.echo(f"this deletes for good: {listed}", err=True)
        if not sys.stdin.isatty():
            raise InputError("nothing was deleted: nobody to ask; pass --yes")
        if not typer.confirm("Go on?", err=True):
            raise typer.Exit(1)
    deleted = empty_trash(url, id)
    typer.echo(f"deleted {len(deleted)}, {_size(sum(kept.size for kept in deleted))}")


def _facts(kept: Kept) -> dict[str, object]:
    return {
        "id": kept.id,
        "url": str(kept.url),
        "kind": kept.kind,
        "replaced": kept.replaced.isoformat(timespec="seconds"),
        "bytes": kept.size,
        "labels": [
            {"name": one.name, "edits": one.edits, "annotators": list(one.annotators)}
            for one in kept.labels
        ],
    }


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
