"""Processes of this machine, on every system: whether one runs, starting one by itself, ending it whole."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Any


def runs(pid: int) -> bool:
    """Tell whether a process of this number runs on this machine, whoever owns it."""
    if os.name == "nt":  # there, signal 0 would be a Ctrl-C
        import psutil

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def apart() -> dict[str, Any]:
    """Return the options of `subprocess.Popen` with which a Ctrl-C in the terminal does not reach the process."""
    if os.name == "nt":
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"start_new_session": True}


def interrupt(process: subprocess.Popen[Any], number: int) -> None:
    """Hand a signal on to a process that was started `apart`; one that has ended is no error."""
    if os.name == "nt":
        number = getattr(signal, "CTRL_BREAK_EVENT", number)
    with suppress(ProcessLookupError):
        process.send_signal(number)


def kill_with_children(process: subprocess.Popen[Any]) -> None:
    """End a process that was started `apart`, and all that it started, at once."""
    if os.name != "nt":
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return
    import psutil

    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
