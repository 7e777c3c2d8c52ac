"""``nano``: the small Segment Anything Model that ships with volseg. ``build`` makes one, ``load``
the trained one.

The weights lie beside this file as float16; ``weights.json`` records their SHA-256,
``training.json`` how they came about.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import torch
from segment_anything.modeling import Sam

from volseg.errors import ModelUnavailableError
from volseg.sam.nano.architecture import assemble

__all__ = ["build", "load", "save"]


def build() -> Sam:
    """Return ``nano`` with random weights: ``segment_anything.modeling.Sam``, float32, training
    mode, on the CPU.
    """
    return assemble()


def load(device: str | torch.device = "cpu", folder: Path | None = None) -> Sam:
    """Return the trained ``nano``.

    Parameters
    ----------
    device : str or torch.device
        Where it shall live.
    folder : Path, optional
        Where ``nano.pt`` and ``weights.json`` lie; the package's own by default.

    Returns
    -------
    segment_anything.modeling.Sam
        float32, evaluation mode, without gradients.

    Raises
    ------
    ModelUnavailableError
        The weights are missing, or are not those whose SHA-256 ``weights.json`` records.
    """
    folder = folder or Path(__file__).parent
    try:
        record = json.loads((folder / "weights.json").read_text())
        content = (folder / record["file"]).read_bytes()
    except FileNotFoundError as error:
        raise ModelUnavailableError(
            f"nano's weights: {error.filename} is missing; install the package again, "
            "or train with 'python -m volseg.training.nano'"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != record["sha256"]:
        raise ModelUnavailableError(
            f"{folder / record['file']} has SHA-256 {digest}, but weights.json records "
            f"{record['sha256']}: the file is damaged; install the package again"
        )
    weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    sam = build()
    sam.load_state_dict({name: value.float() for name, value in weights.items()})
    return sam.to(device).eval().requires_grad_(False)


def save(sam: Sam, folder: Path) -> str:
    """Write the weights as float16 ``nano.pt`` with ``weights.json``, as `load` reads them.

    Parameters
    ----------
    sam : Sam
        Made by `build`.
    folder : Path
        Exists; files of these names are replaced.

    Returns
    -------
    str
        SHA-256 of ``nano.pt``.
    """
    weights = {
        name: value.detach().to("cpu", torch.float16).contiguous()
        for name, value in sam.state_dict().items()
    }
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    (folder / "nano.pt").write_bytes(content)
    record = {
        "file": "nano.pt",
        "sha256": digest,
        "bytes": len(content),
        "dtype": "float16",
        "parameters": sum(value.numel() for value in sam.parameters()),
    }
    (folder / "weights.json").write_text(json.dumps(record, indent=2) + "\n")
    return digest
