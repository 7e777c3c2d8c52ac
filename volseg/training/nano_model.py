"""The model that trains: ``nano`` with a dense head, started from random weights, shipped ones, a checkpoint, or
ImageNet's.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import nn

from volseg.errors import InputError
from volseg.models import nano
from volseg.models.nano.architecture import CHANNELS, encoder_of
from volseg.models.nano.lite_encoder import LiteEncoder
from volseg.models.nano.versions import newest_version, parse_name, read_record, version_folder
from volseg.training import imagenet, losses
from volseg.training.checkpoints import CHECKPOINT, from_checkpoint
from volseg.training.loop import Schedule, State, decaying_matrices
from volseg.training.nano_recipes import Recipe

Parents = list[dict[str, str]]
TRUNKS = ("imagenet", "random")


class TrainedNano(nn.Module):
    """``nano`` together with the dense head that only training needs."""

    def __init__(self, encoder: str = "pyramid") -> None:
        super().__init__()
        self.sam: Sam = nano.build(encoder)
        self.dense = losses.DenseHead(CHANNELS)


def start(schedule: Schedule, recipe: Recipe, device: str) -> tuple[State, Parents]:
    """Make the model that a recipe starts from, its average and its optimiser.

    Returns
    -------
    State
        Of step 0.
    list of dict
        Whose weights it started from, for the record: names and, where known, SHA-256.

    Raises
    ------
    InputError, UnknownModelError, NotThereError, ModelUnavailableError
        What it shall start from can't be had.
    """
    model, parents = _model(recipe)
    model = model.to(device).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(
        _groups(model, schedule, recipe), lr=schedule.rate, betas=(0.9, 0.98)
    )
    return State(model, average, optimiser, about={"encoder": encoder_of(model.sam)}), parents


def _groups(model: TrainedNano, schedule: Schedule, recipe: Recipe) -> list[dict[str, Any]]:
    """Split parameters by decay (matrices alone) and rate (the trunk learns more slowly)."""
    encoder = model.sam.image_encoder
    trunk = (
        {id(p) for p in encoder.trunk.parameters()} if isinstance(encoder, LiteEncoder) else set()
    )
    groups = []
    for slow in (False, True):
        chosen = [p for p in model.parameters() if (id(p) in trunk) == slow]
        factor = recipe.trunk_rate if slow else 1.0
        groups += decaying_matrices(chosen, schedule.weight_decay, rate_factor=factor)
    return groups


def _model(recipe: Recipe) -> tuple[TrainedNano, Parents]:
    if recipe.trunk not in TRUNKS:
        raise InputError(f"the trunk is {recipe.trunk!r}; expected imagenet or random")
    parents: Parents = []
    had, encoder_name = None, "pyramid"
    if recipe.start != "random":
        had, parent = _started_from(recipe.start)
        encoder_name = encoder_of(had)
        parents.append(parent)
    torch.manual_seed(recipe.seed)  # what had to be read has drawn numbers, too
    model = TrainedNano(recipe.encoder or encoder_name)
    if had is not None:
        take_over(model.sam, had)
    trunk_known = had is not None and isinstance(had.image_encoder, LiteEncoder)
    encoder = model.sam.image_encoder
    if isinstance(encoder, LiteEncoder) and recipe.trunk == "imagenet" and not trunk_known:
        imagenet.fill_trunk(encoder.trunk, imagenet.read_weights())
        parents.append({"name": imagenet.ORIGIN})
    return model, parents


def _started_from(name: str) -> tuple[Sam, dict[str, str]]:
    if name == "nano" or name.startswith("nano@"):
        version = parse_name(name) or newest_version()
        sha256 = read_record(version_folder(version)).sha256
        return nano.load(version=version), {"name": f"nano@{version}", "sha256": sha256}
    path = Path(name)
    path = path / CHECKPOINT if path.is_dir() else path
    return from_checkpoint(path), {"name": f"checkpoint {path.parent.name}"}


@torch.no_grad()
def take_over(sam: Sam, other: Sam) -> None:
    """Copy another ``nano``'s weights: all of them, or, where its image encoder is of another kind, those behind it.

    The last normalisation of the encoders is the same, and is taken in either case: the decoder is used to its scale.
    """
    weights = other.state_dict()
    if encoder_of(sam) != encoder_of(other):
        kept = ("prompt_encoder.", "mask_decoder.", "image_encoder.norm.")
        weights = {name: value for name, value in weights.items() if name.startswith(kept)}
    mine = sam.state_dict()
    if any(mine[name].shape != value.shape for name, value in weights.items()):
        raise InputError("the weights to start from are of other sizes")
    sam.load_state_dict(weights, strict=False)
