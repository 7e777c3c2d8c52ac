"""A report for whoever maintains volseg: versions, settings without secrets, open volumes, last log lines. No Qt."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from napari_plugin.messages import without_secrets

PACKAGES = (
    "volseg", "napari", "npe2", "numpy", "zarr", "obstore", "dask", "distributed", "torch",
    "segment-anything", "prefect", "PySide6", "PyQt6", "PyQt5", "vispy", "pydantic",
)  # fmt: skip
SETTINGS = ("AWS_", "VOLSEG_", "PREFECT_", "NAPARI_", "QT_", "OMP_NUM_THREADS")
SHOWN = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE",
    "PREFECT_API_URL", "NAPARI_ASYNC", "QT_QPA_PLATFORM", "QT_API", "OMP_NUM_THREADS",
)  # fmt: skip
"""Settings whose values are told; of all others only that they are set."""
KEPT_LINES = 200


class LastLines(logging.Handler):
    """Keeps the last lines of volseg's and the plugin's logs in memory.

    Parameters
    ----------
    count
        How many.
    """

    def __init__(self, count: int = KEPT_LINES) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=count)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        try:
            self.lines.append(without_secrets(self.format(record)))
        except Exception:
            self.handleError(record)

    def listen(self) -> LastLines:
        """Listen to volseg's logs, once."""
        for name in ("volseg", "napari_plugin"):
            logger = logging.getLogger(name)
            if self not in logger.handlers:
                logger.addHandler(self)
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.INFO)
        return self


def compose_report(
    said: str = "", opened: Iterable[str] = (), log: Iterable[str] = (), details: str = ""
) -> str:
    """Compose the report.

    Parameters
    ----------
    said
        What the person writes.
    opened
        Volumes and label images that are open, one line each.
    log
        Lines of `LastLines`.
    details
        Of an error's notice.
    """
    parts = {
        "What happened": said or "(please write here what you did and what you expected)",
        "Versions": "\n".join(versions()),
        "Settings": "\n".join(settings()) or "none",
        "Open": "\n".join(opened) or "nothing",
        "Details": details,
        "Last log lines": "\n".join(log) or "none",
    }
    when = datetime.now(UTC).isoformat(timespec="seconds")
    text = [f"volseg report, {when}"]
    text += [f"## {title}\n{content}" for title, content in parts.items() if content]
    return _without_home(without_secrets("\n\n".join(text))) + "\n"


def versions() -> list[str]:
    """Versions of what matters, the machine's included."""
    found = [f"Python {sys.version.split()[0]} on {platform.platform()}, {os.cpu_count()} cores"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def settings() -> list[str]:
    """Environment variables that matter: values of harmless ones, of others only that they are set."""
    return [
        f"{name}={value}" if name in SHOWN else f"{name} is set"
        for name, value in sorted(os.environ.items())
        if name.startswith(SETTINGS)
    ]


def _without_home(text: str) -> str:
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def save_report(text: str, path: str | Path) -> Path:
    """Write a report into a file."""
    target = Path(path)
    target.write_text(text, "utf-8")
    return target
