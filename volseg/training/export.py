"""Put a trained ``nano`` into the package as its next version: ``python -m volseg.training.export RUN``.

Weights as float16, their record, and ``training.json``: how they came about. ``volseg.training.validate --json`` then
measures them, and ``volseg.training.card`` makes the model card.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from volseg.errors import InputError
from volseg.models import nano
from volseg.models.nano import versions
from volseg.training.checkpoints import CHECKPOINT, from_checkpoint
from volseg.training.provenance import RECORD, finished_record, write_record


def export(run: Path, folder: Path) -> dict[str, Any]:
    """Write ``nano.pt``, ``weights.json`` and ``training.json``.

    Parameters
    ----------
    run : Path
        The folder that training wrote: ``checkpoint.pt`` and ``training.json``.
    folder : Path
        Where the weights go; made where it is missing.

    Returns
    -------
    dict
        What ``training.json`` says now.

    Raises
    ------
    NotThereError
        The run has no checkpoint.
    InputError
        The folder holds a version of the package, and those never change.
    """
    if folder.parent == versions.PACKAGE and (folder / versions.RECORD).exists():
        raise InputError(f"{folder} holds a version that ships; versions never change")
    sam = from_checkpoint(run / CHECKPOINT)
    record = finished_record(run)
    folder.mkdir(parents=True, exist_ok=True)
    record["weights_sha256"] = nano.save(sam, folder)
    write_record(folder / RECORD, record)
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    """Export from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volseg.training.export", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder given to training as --out")
    parser.add_argument("--to", type=Path, help="a folder; by default the next version's own")
    options = parser.parse_args(arguments)
    following = versions.PACKAGE / f"v{versions.newest_version() + 1}"
    folder = options.to or following
    record = export(options.run, folder)
    print(
        f"{folder}: step {record['steps']}, {record['hours']} h, SHA-256 {record['weights_sha256']}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
