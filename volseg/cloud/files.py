"""Where the files of `deploy/` lie: beside the package, or below the environment when installed."""

from __future__ import annotations

import sys
from pathlib import Path

from volseg.errors import NotThereError


def deploy_file(name: str) -> Path:
    """Return the path of a file of `deploy/`.

    Raises
    ------
    NotThereError
        If it is in none of the places.
    """
    beside = Path(__file__).resolve().parents[2] / "deploy" / name
    installed = Path(sys.prefix) / "share" / "volseg" / "deploy" / name
    for path in (beside, installed):
        if path.is_file():
            return path
    raise NotThereError(f"deploy/{name} is neither at {beside} nor at {installed}")
