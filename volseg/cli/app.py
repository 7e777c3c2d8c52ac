"""The commands put together."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from volseg import __version__
from volseg.cli import (
    automatic,
    cloud,
    demo,
    doctor,
    editing,
    edits,
    evaluating,
    finetuning,
    models,
    objects,
    pixels,
    results,
    runs,
    scale,
    segmenting,
    trash,
    volumes,
    worker,
)
from volseg.cli.command import run_app
from volseg.cli.config import defaults

ANYWHERE = ("-v", "--verbose", "-q", "--quiet")


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
        doctor,
        volumes,
        segmenting,
        automatic,
        pixels,
        results,
        evaluating,
        finetuning,
        editing,
        edits,
        models,
        objects,
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
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no warnings; errors alone.")
    ] = False,
) -> None:
    """Segment OME-Zarr volumes larger than one machine with Segment Anything."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def run(arguments: list[str] | None = None) -> int:
    """Run one command of volseg and return its exit status; `run_app` tells how."""
    given = sys.argv[1:] if arguments is None else arguments
    return run_app(make_app(), "volseg", _of_all_first(given), defaults)


def _of_all_first(arguments: list[str]) -> list[str]:
    """Put the options of all commands in front, where they may stand anywhere before ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    first = [a for a in arguments[:end] if a in ANYWHERE]
    return first + [a for a in arguments[:end] if a not in ANYWHERE] + arguments[end:]
