"""Flows as programs of their own: started, their progress drawn, their end turned back into results and errors.

The library does not import Prefect; `--flow` and the demonstration go this way.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

from volseg.errors import BlocksFailedError, InputError, InterruptedRunError, VolsegError
from volseg.progress import Progress

_ERRORS: dict[int, type[VolsegError]] = {
    1: BlocksFailedError,
    2: InputError,
    130: InterruptedRunError,
}


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
    command = [sys.executable, "-m", f"flows.{name}", *arguments, "--progress", "jsonl"]
    result: dict[str, Any] | None = None
    with tempfile.TemporaryFile("w+") as messages:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages, text=True
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    told = _read(line)
                    if "stage" in told:
                        progress(told["stage"], told["done"], told["total"], told["message"])
                    result = told.get("result", result)
            except KeyboardInterrupt:  # the flow got the signal too: it drains what is in flight
                process.wait()
                raise
        messages.seek(0)
        said = messages.read()
    if process.returncode != 0 or result is None:
        raise _ERRORS.get(process.returncode, VolsegError)(_last_line(said, process.returncode))
    return result


def _read(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _last_line(text: str, status: int) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("volseg: ")]
    if said:
        return said[-1].removeprefix("volseg: ")
    return lines[-1] if lines else f"the flow ended with status {status}"
