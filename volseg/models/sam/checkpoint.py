"""Checkpoints of the official format, also as trainers wrap them. No code of a file is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from segment_anything.build_sam import sam_model_registry
from segment_anything.modeling import Sam

from volseg.errors import ModelUnavailableError

_KIND_OF_WIDTH = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}


def load_checkpoint(path: Path, kind: str) -> tuple[Sam, str]:
    """Load a checkpoint.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        ``vit_b``, ``vit_l``, ``vit_h``, or ``vit``: as the file tells.

    Returns
    -------
    (Sam, str)
        The model and its kind.

    Raises
    ------
    ModelUnavailableError
        It is not readable, or of another format.
    """
    state = read_state(path)
    if kind == "vit":
        kind = _kind_of(state, path)
    sam = sam_model_registry[kind]()
    _fill(sam, state, path)
    return sam, kind


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint, also where it wraps them as trainers do."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever it likes
        raise ModelUnavailableError(f"{path} is not a readable checkpoint: {error}") from error
    for key in ("model_state", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict):
        raise ModelUnavailableError(f"{path} holds no state dict")
    for prefix in ("module.", "sam."):
        state = {str(key).removeprefix(prefix): value for key, value in state.items()}
    return state


def _kind_of(state: dict[str, torch.Tensor], path: Path) -> str:
    embed = state.get("image_encoder.pos_embed")
    width = int(embed.shape[-1]) if isinstance(embed, torch.Tensor) else 0
    if width not in _KIND_OF_WIDTH:
        raise ModelUnavailableError(
            f"{path} is not a SAM checkpoint of the official format: its image encoder's width is "
            f"{width or 'not there'}, but 768 (vit_b), 1024 (vit_l) or 1280 (vit_h) was expected"
        )
    return _KIND_OF_WIDTH[width]


def _fill(sam: Sam, state: dict[str, torch.Tensor], path: Path) -> None:
    try:
        missing, _ = sam.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelUnavailableError(f"{path} does not fit the model: {error}") from error
    if missing:
        raise ModelUnavailableError(
            f"{path} lacks {len(missing)} of the model's parameters, {missing[0]} among them"
        )
