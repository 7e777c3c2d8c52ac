"""Making a ``nano``, and reading and writing its weights.

Each version lies in a folder of its own beside this file: weights as float16, ``weights.json`` with their SHA-256 and
the encoder they are for, ``training.json`` on how they came about, and the model card.
"""

from __future__ import annotations

from pathlib import Path

import torch
from segment_anything.modeling import Sam

from volseg.errors import ModelUnavailableError
from volseg.models.nano.architecture import (
    CHANNELS,
    EMBEDDING_SIZE,
    IMAGE_SIZE,
    assemble,
    encoder_of,
)
from volseg.models.nano.versions import RECORD, read_record, version_folder
from volseg.models.nano.weights import read_weights, write_weights

OBJECT_SIZE = 48  # MODEL_CARD.md of version 1: objects of 32 to 64 px fare best


def build(encoder: str = "pyramid") -> Sam:
    """Return ``nano`` with random weights: ``segment_anything.modeling.Sam``, float32, training
    mode, on the CPU.

    Parameters
    ----------
    encoder : str
        ``pyramid``, which version 1 has; see ``architecture.ENCODERS``.
    """
    return assemble(encoder)


def load(
    device: str | torch.device = "cpu", folder: Path | None = None, *, version: int | None = None
) -> Sam:
    """Return a trained ``nano``.

    Parameters
    ----------
    device : str or torch.device
        Where it shall live.
    folder : Path, optional
        Where the weights and ``weights.json`` lie, as `save` writes them; a version of the package by default.
    version : int, optional
        Which of those that ship; the newest by default.

    Returns
    -------
    segment_anything.modeling.Sam
        float32, evaluation mode, without gradients.

    Raises
    ------
    ModelUnavailableError
        The weights are missing, or are not those whose SHA-256 ``weights.json`` records.
    UnknownModelError
        There is no such version.
    """
    record = read_record(folder or version_folder(version))
    try:
        weights = read_weights(record.path, record.sha256, RECORD)
    except FileNotFoundError as error:
        raise ModelUnavailableError(
            f"nano's weights: {error.filename} is missing; install the package again, "
            "or train with 'python -m volseg.training.nano'"
        ) from error
    sam = build(record.encoder)
    sam.load_state_dict(weights)
    return sam.to(device).eval().requires_grad_(False)


def save(sam: Sam, folder: Path, *, object_size: int = OBJECT_SIZE) -> str:
    """Write the weights as float16 ``nano.pt`` with ``weights.json``, as `load` reads them.

    Parameters
    ----------
    sam : Sam
        Made by `build`.
    folder : Path
        Exists; files of these names are replaced.
    object_size : int
        Diameter in input pixels of the objects that it segments best, for ``--zoom auto``.

    Returns
    -------
    str
        SHA-256 of ``nano.pt``.
    """
    facts = {
        "encoder": encoder_of(sam),
        "img_size": IMAGE_SIZE,
        "embedding": [CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE],
        "object_size": object_size,
    }
    return write_weights(sam, folder / "nano.pt", folder / RECORD, facts)
