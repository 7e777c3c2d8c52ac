"""Flows started as programs: `python -m flows.NAME`. Options, exit statuses and messages are the command line's."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from volseg.cli.command import run_app
from volseg.cli.options import AsJson
from volseg.errors import InputError
from volseg.options import with_parameters

Progress = Annotated[
    Literal["none", "jsonl"],
    typer.Option("--progress", help="jsonl: one JSON object per update on standard output."),
]


def start(
    program: str, run: Callable[..., dict[str, Any]], arguments: list[str] | None = None
) -> int:
    """Run a flow as a program and return the exit status.

    With ``--json`` or ``--progress jsonl`` the last line on standard output is the result as JSON.

    Parameters
    ----------
    program
        Name of its module in `flows`.
    run
        Runs it; its parameters are annotated for typer.
    arguments
        Without the program's name; those of the process if not given.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(_telling(run))
    return run_app(app, f"python -m flows.{program}", arguments)


def _telling(run: Callable[..., dict[str, Any]]) -> Callable[..., None]:
    """The same with options for what is printed, which prints it."""

    @functools.wraps(run)
    def call(*positional: Any, progress: str = "none", as_json: bool = False, **given: Any) -> None:
        from flows.telling import LINES

        lines = progress == "jsonl"
        token = LINES.set(sys.stdout if lines else None)
        try:
            check_server()
            result = run(*positional, **given)
        finally:
            LINES.reset(token)
        if lines or as_json:
            print(json.dumps({"result": result}), flush=True)
        else:
            print(result.get("text", ""), flush=True)

    def added(name: str, annotation: Any, default: Any) -> inspect.Parameter:
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )

    own = inspect.signature(run, eval_str=True)
    more = [added("progress", Progress, "none"), added("as_json", AsJson, False)]
    return with_parameters(call, [*own.parameters.values(), *more], None)


def check_server() -> None:
    """Find out in seconds whether the Prefect server that the settings name is one; without one Prefect starts its own.

    Raises
    ------
    InputError
        If nobody answers at `PREFECT_API_URL`, or somebody else does.
    """
    from prefect.client.base import ServerType
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    url = PREFECT_API_URL.value()
    if not url:
        return
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True) as client,
        ):
            if client.server_type == ServerType.CLOUD:
                failed = client.api_healthcheck()
                if failed is not None:
                    raise failed
            else:
                client.api_version()
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"PREFECT_API_URL is {url}, where no Prefect server answers ({type(error).__name__}: {said}). Start "
            "it (`prefect server start`), correct the address, which ends with /api, or unset the variable"
        ) from error
