"""The commands put together, and what becomes of errors."""

from __future__ import annotations

import errno
import logging
import os
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
    segmenting,
    volumes,
    worker,
)
from volseg.errors import WRONG_INPUT, VolsegError, exit_status, in_one_line


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
    rooms = (demo, volumes, segmenting, results, evaluating, edits, models, runs, worker, cloud)
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


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process if not given.
    """
    sys.exit(_status_of(arguments))


def _status_of(arguments: list[str] | None) -> int:
    try:
        make_app()(arguments, prog_name="volseg")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else WRONG_INPUT
    except (VolsegError, KeyboardInterrupt) as error:
        return _tell(error, exit_status(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
            place = f": {error.filename}" if error.filename else ""
            return _tell(
                f"{error.strerror}{place}; free space or choose another place", WRONG_INPUT
            )
        raise
    return 0


def _tell(error: object, status: int) -> int:
    typer.echo(in_one_line(error), err=True)
    return status
