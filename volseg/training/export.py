"""Put a trained ``nano`` into the package: ``python -m volseg.training.export RUN``.

Weights as float16, their SHA-256, and ``training.json``: how they came about.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from volseg.sam import nano
from volseg.training.validate import from_checkpoint


def export(run: Path, folder: Path) -> dict[str, Any]:
    """Write ``nano.pt``, ``weights.json`` and ``training.json``.

    Parameters
    ----------
    run : Path
        The folder that training wrote: ``checkpoint.pt`` and ``training.json``.
    folder : Path
        Where the weights go.

    Returns
    -------
    dict
        What ``training.json`` says now.

    Raises
    ------
    NotThereError
        The run has no checkpoint.
    """
    sam = from_checkpoint(run / "checkpoint.pt")
    content = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    record: dict[str, Any] = json.loads((run / "training.json").read_text())
    record |= {
        "weights_sha256": nano.save(sam, folder),
        "steps": content["step"],
        "hours": round(content["elapsed"] / 3600, 3),
        "torch": torch.__version__,
        "curve": content["curve"],
    }
    text = json.dumps(record, indent=1)
    (folder / "training.json").write_text(text + "\n")
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    """Export from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volseg.training.export", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder given to training as --out")
    parser.add_argument("--to", type=Path, default=Path(nano.__file__).parent)
    options = parser.parse_args(arguments)
    record = export(options.run, options.to)
    print(f"step {record['steps']}, {record['hours']} h, SHA-256 {record['weights_sha256']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
