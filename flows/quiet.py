"""Environment of a flow that runs without a server: quiet, offline, patient, with a home that can be written. Set
before `prefect` is imported.

Values that are set already stay; with `PREFECT_API_URL` a real server is used and its logging is left alone.
"""

from __future__ import annotations

import atexit
import logging
import os
from contextlib import ExitStack

from volseg.cli.prefect_home import VARIABLE, notice, prefect_home

_ALWAYS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
}
_WITHOUT_SERVER = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


def be_quiet() -> None:
    """Set what is not set yet."""
    wanted = _ALWAYS if os.environ.get("PREFECT_API_URL") else _ALWAYS | _WITHOUT_SERVER
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    until_exit = ExitStack()
    if (places := until_exit.enter_context(prefect_home())) is not None:
        atexit.register(until_exit.close)
        os.environ[VARIABLE] = places[1]
        logging.getLogger("volseg").warning("volseg: %s", notice(*places))
