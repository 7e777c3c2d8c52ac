"""How weights came about: seed, data, code and every sitting of a training, as ``training.json``."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import torch

from volseg.training.checkpoints import CHECKPOINT

RECORD = "training.json"


def code_version() -> dict[str, str]:
    """Return the SHA-256 over the sources that decide the weights and, in a checkout, the commit."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted([*package.glob("training/**/*.py"), *package.glob("sam/nano/*.py")]):
        digest.update(f"{path.parent.name}/{path.name}\0".encode())
        digest.update(path.read_bytes())
    version = {"sources_sha256": digest.hexdigest()}
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=package, capture_output=True, text=True, check=False
    )
    if found.returncode == 0:
        version["commit"] = found.stdout.strip()
    return version


def record_sitting(path: Path, record: dict[str, Any], step: int) -> None:
    """Write ``training.json`` at the start of a sitting, keeping what earlier ones recorded.

    Parameters
    ----------
    path : Path
        The file; created where it is missing.
    record : dict
        What holds from now on: seed, data, recipe, schedule. Put beside the code's version.
    step : int
        Where this sitting starts.
    """
    sittings = json.loads(path.read_text()).get("sittings", []) if path.exists() else []
    kept = [sitting for sitting in sittings if sitting["from_step"] < step]
    kept.append({"from_step": step, "code": code_version(), **record})
    write_record(path, {**record, "sittings": kept})


def finished_record(run: Path) -> dict[str, Any]:
    """Return how the weights of a training came about: ``training.json``, how long it was, and its curve.

    Parameters
    ----------
    run : Path
        The folder that training wrote: a checkpoint and ``training.json``.
    """
    content = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)
    return json.loads((run / RECORD).read_text()) | {
        "steps": content["step"],
        "hours": round(content["elapsed"] / 3600, 3),
        "torch": torch.__version__,
        "curve": content["curve"],
    }


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON."""
    path.write_text(json.dumps(record, indent=1) + "\n")
