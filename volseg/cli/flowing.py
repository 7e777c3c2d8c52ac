"""Flows as programs of their own: started, their progress drawn, their end turned back into results and errors.

The library does not import Prefect; `--flow` and the demonstration go this way.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import typer

from volseg.cli.prefect_home import VARIABLE, notice, prefect_home
from volseg.errors import (
    FAILED_BLOCKS,
    INTERRUPTED,
    WRONG_INPUT,
    BlocksFailedError,
    InputError,
    InterruptedRunError,
    VolsegError,
)
from volseg.processes import apart, interrupt
from volseg.progress import Progress

_ERRORS: dict[int, type[VolsegError]] = {
    FAILED_BLOCKS: BlocksFailedError,
    WRONG_INPUT: InputError,
    INTERRUPTED: InterruptedRunError,
}


def flows_are_here() -> bool:
    """Tell whether Prefect is installed, which the flows need."""
    return find_spec("prefect") is not None


def run_flow(name: str, arguments: list[str], progress: Progress) -> dict[str, Any]:
    """Run `python -m flows.NAME` to its end.

    Parameters
    ----------
    name
        Module in `flows`.
    arguments
        Its command line.
    progress
        Told what the flow tells.

    Returns
    -------
    dict
        The flow's result.

    Raises
    ------
    BlocksFailedError, InputError, InterruptedRunError, VolsegError
        As the flow ended, with its message.
    """
    if not flows_are_here():
        raise InputError(
            "a flow needs Prefect, which is not installed: pip install 'volseg[flows]'"
        )
    command = [sys.executable, "-m", f"flows.{name}", *arguments, "--progress", "jsonl"]
    result: dict[str, Any] | None = None
    with tempfile.TemporaryFile("w+") as messages, prefect_home() as places:
        environment = dict(os.environ)
        if places is not None:
            environment[VARIABLE] = places[1]
            typer.echo(f"volseg: {notice(*places)}", err=True)
        # in a session of its own, so that each Ctrl-C reaches it once, from here
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            env=environment,
            **apart(),
        )
        with process, _interrupts_go_to(process):
            assert process.stdout is not None
            for line in process.stdout:
                told = _read(line)
                if "stage" in told:
                    progress(told["stage"], told["done"], told["total"], told["message"])
                result = told.get("result", result)
        messages.seek(0)
        said = messages.read()
    if process.returncode != 0 or result is None:
        raise _ended(process.returncode, said)
    return result


@contextmanager
def _interrupts_go_to(process: subprocess.Popen[str]) -> Iterator[None]:
    """Hand Ctrl-C and SIGTERM to the flow: the first drains what is in flight, a second ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def forward(number: int, frame: object) -> None:
        interrupt(process, number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _ended(status: int, text: str) -> VolsegError:
    """What a flow's end means: its own last words, which alone can mean that blocks failed."""
    lines = [line for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("volseg: ")]
    if said:
        return _ERRORS.get(status, VolsegError)(said[-1].removeprefix("volseg: "))
    last = f": {lines[-1]}" if lines else ""
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return VolsegError(f"the flow {how}{last}")
