"""Environment of a flow that runs without a server: quiet, offline, patient. Set before `prefect` is imported.

Values that are set already stay; with `PREFECT_API_URL` a real server is used and its logging is left alone.
"""

from __future__ import annotations

import os

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
