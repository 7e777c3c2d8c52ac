"""The commands put together."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from volseg import __version__
from volseg.cli import (
    cloud,
    demo,
    edits,
    evaluating,
    models,
    results,
    runs,
    scale,
    segmenting,
    trash,
    volumes,
    worker,
)
from volseg.cli.command import run_app


def make_app() -> typer.Typer:
    """Return the `volseg` command with all its sub-commands."""
    app = typer.Typer(
        name="volseg",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options_of_all)
    rooms = (
        demo,
        volumes,
        segmenting,
        results,
        evaluating,
        edits,
        models,
        runs,
        scale,
        trash,
        worker,
        cloud,
    )
    for room in rooms:
        room.add_to(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"volseg {__version__}")
        raise typer.Exit


def _options_of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
) -> None:
    """Segment OME-Zarr volumes larger than one machine with Segment Anything."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def run(arguments: list[str] | None = None) -> int:
    """Run one command of volseg and return its exit status; `run_app` tells how."""
    return run_app(make_app(), "volseg", arguments)
