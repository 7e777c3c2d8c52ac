"""Flows started as programs: `python -m flows.NAME`. Exit statuses and messages as those of the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from volseg.errors import INTERRUPTED, InputError, exit_status, explain, in_one_line


def make_parser(program: str, text: str) -> argparse.ArgumentParser:
    """A parser with the options that every flow has."""
    parser = argparse.ArgumentParser(prog=f"python -m flows.{program}", description=text)
    parser.add_argument(
        "--progress",
        choices=["none", "jsonl"],
        default="none",
        help="jsonl: one JSON object per update on standard output",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON line")
    return parser


def whole_number(minimum: int) -> Callable[[str], int]:
    """An argument type: a whole number of at least `minimum`."""

    def parse(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{value} is less than {minimum}")
        return value

    return parse


def channels(text: str) -> int | list[int]:
    """An argument type: one channel, or up to three separated by commas."""
    parts = [int(part) for part in text.split(",")]
    return parts[0] if len(parts) == 1 else parts


def zoom(text: str) -> float | str:
    """An argument type: auto, or a number."""
    return text if text == "auto" else float(text)


def start(run: Callable[..., dict[str, Any]], arguments: argparse.Namespace) -> int:
    """Run a flow with parsed arguments and return the exit status.

    With ``--json`` or ``--progress jsonl`` the last line on standard output is the result as JSON.
    """
    from flows.telling import LINES

    values = vars(arguments).copy()
    lines, as_json = values.pop("progress") == "jsonl", values.pop("json")
    token = LINES.set(sys.stdout if lines else None)
    try:
        check_server()
        result = run(**values)
    except KeyboardInterrupt as error:
        print(in_one_line(error), file=sys.stderr, flush=True)
        return INTERRUPTED
    except Exception as error:
        told = explain(error)
        print(in_one_line(told), file=sys.stderr, flush=True)
        return exit_status(told)
    finally:
        LINES.reset(token)
    if lines or as_json:
        print(json.dumps({"result": result}), flush=True)
    else:
        print(result.get("text", ""), flush=True)
    return 0


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
