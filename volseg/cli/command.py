"""Running a command to its end: exit statuses, and what becomes of errors."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import typer

from volseg.cli.streams import abandon, prepare_streams
from volseg.errors import INTERRUPTED, PIPE_CLOSED, WRONG_INPUT, exit_status, explain, in_one_line

USAGE_ERROR: Any = typer.BadParameter.__base__  # of wrong options and missing arguments too
_LOG = logging.getLogger(__name__)


def run_app(
    app: typer.Typer,
    program: str,
    arguments: list[str] | None = None,
    defaults: Callable[[Any], dict[str, Any]] = lambda command: {},
) -> int:
    """Run one command to its end and return its exit status; whatever goes wrong is told in one line.

    Parameters
    ----------
    app
        The command.
    program
        Its name, as it was called.
    arguments
        Without the program's name; those of the process if not given.
    defaults
        Tells the options' defaults that are not the declared ones, of a command.
    """
    prepare_streams()
    try:
        status = _run_command(
            app, program, sys.argv[1:] if arguments is None else arguments, defaults
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # whoever read, as `head`, has gone; rich exits then
        abandon(sys.stdout)
        return PIPE_CLOSED
    except KeyboardInterrupt as error:
        return _tell(error, INTERRUPTED)
    except Exception as error:
        told = explain(error)
        if told is not error:
            _LOG.info("where it happened", exc_info=error)
        return _tell(told, exit_status(told))
    return status


def _run_command(
    app: typer.Typer,
    program: str,
    arguments: list[str],
    defaults: Callable[[Any], dict[str, Any]],
) -> int:
    """Run a command without typer's own ways of ending, which differ from ours."""
    command = typer.main.get_command(app)
    known = defaults(command)
    try:
        with command.make_context(program, list(arguments), default_map=known) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except USAGE_ERROR as error:
        return _tell_usage(error, program)
    return 0


def _tell_usage(error: Any, program: str) -> int:
    """Tell wrong use in one line; a command that needs a sub-command shows its help."""
    if error.ctx is None or type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return WRONG_INPUT
    path = error.ctx.command_path
    said = error.format_message().rstrip(".")
    where = path.removeprefix(program).strip()
    return _tell(f"{where}: {said}; see {path} --help".removeprefix(": "), WRONG_INPUT)


def _tell(error: object, status: int) -> int:
    """Say in one line what went wrong, as far as anybody can be told; what can't be printed is given up."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        abandon(sys.stdout)
    try:
        typer.echo(in_one_line(error), err=True)
    except OSError:
        abandon(sys.stderr)
    return status
