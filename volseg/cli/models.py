"""`volseg models`: which models there are, their cards, and fetching their weights."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from volseg.cli.bars import Bars
from volseg.cli.console import Console

Name = Annotated[str, typer.Argument(metavar="NAME", help="Model name, checkpoint path or URL.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    room = typer.Typer(no_args_is_help=True, help="List, show and fetch models.")
    room.command("list")(_list)
    room.command("show")(_show)
    room.command("fetch")(_fetch)
    app.add_typer(room, name="models")


def _list() -> None:
    """List the models that volseg knows."""
    from volseg.models.registry import list_models

    table = Table("name", "input", "embedding", "licence", "weights", box=None)
    for spec in list_models():
        where = spec.url or "in the package"
        shape = ", ".join("×".join(map(str, shape)) for _, shape in spec.arrays)
        table.add_row(spec.name, f"{spec.img_size}²", shape, spec.licence, where)
    Console().print(table)


def _show(name: Name) -> None:
    """Print a model's card."""
    from volseg.models.registry import model_card

    typer.echo(model_card(name))


def _fetch(name: Name) -> None:
    """Fetch a model's weights, resuming a broken download, and check their SHA-256."""
    from volseg.models.registry import fetch

    with Bars() as bars:
        path = fetch(name, progress=bars)
    typer.echo(str(path))
