"""Where a training keeps its checkpoints, and the model that one holds."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import torch
from segment_anything.modeling import Sam

import volseg
from volseg.errors import InputError, NotThereError
from volseg.models import nano

CHECKPOINT = "checkpoint.pt"


def default_folder(name: str) -> Path:
    """Return the folder of a training of this name, among the user's data."""
    folder = platformdirs.user_data_path("volseg", appauthor=False)
    return folder / "training" / name.replace(" ", "-").replace("@", "-")


def refuse_checkout(folder: Path) -> None:
    """Refuse a folder inside the checkout that this package runs from.

    Raises
    ------
    InputError
        It lies there: checkpoints are large, and ``git add`` takes everything.
    """
    checkout = Path(volseg.__file__).resolve().parents[1]
    if (checkout / ".git").exists() and folder.resolve().is_relative_to(checkout):
        raise InputError(
            f"{folder} lies inside the checkout {checkout}, where checkpoints end up in commits; "
            "give another folder with --out, or --inside-tree"
        )


def trained(path: Path) -> tuple[int, float]:
    """Return the steps and seconds of training in a checkpoint."""
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return int(content["step"]), float(content["elapsed"])


def from_checkpoint(path: Path) -> Sam:
    """Read the averaged model out of a training checkpoint, in evaluation mode.

    Raises
    ------
    NotThereError
        There is none.
    """
    if not path.exists():
        raise NotThereError(f"no checkpoint at {path}")
    content = torch.load(path, map_location="cpu", weights_only=True)
    sam = nano.build(content.get("about", {}).get("encoder", "pyramid"))
    own = {k.removeprefix("sam."): v for k, v in content["average"].items() if k.startswith("sam.")}
    sam.load_state_dict(own)
    return sam.eval().requires_grad_(False)
