"""Where Prefect keeps its settings and database: its home, or a place for once where that can't be written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PREFECT_HOME"


@contextmanager
def prefect_home(environment: Mapping[str, str] = os.environ) -> Iterator[tuple[str, str] | None]:
    """Find out whether Prefect's home can be written; else make a temporary one for the `with` block.

    Without one, Prefect's own server dies as soon as it starts, and its client waits for it for minutes.

    Yields
    ------
    tuple or None
        The usual home and the temporary one; None where the usual one is good.
    """
    usual = environment.get(VARIABLE) or os.path.join("~", ".prefect")
    if _is_writable(Path(os.path.expanduser(usual))):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="volseg-prefect-", ignore_cleanup_errors=True) as made:
        yield usual, made


def _is_writable(folder: Path) -> bool:
    if not folder.is_absolute():  # no home is known
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def notice(usual: str, made: str) -> str:
    """Return the line that says where Prefect keeps its database this time."""
    return (
        f"{usual} can't be written, so Prefect keeps its database in {made} until this ends; "
        f"set {VARIABLE} to a folder to keep it"
    )
