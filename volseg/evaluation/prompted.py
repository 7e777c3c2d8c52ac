"""The plain baseline for a label image that volseg made: Otsu's component under each of its stored prompts' points."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from volseg.errors import InputError
from volseg.evaluation.baseline import otsu_dice
from volseg.evaluation.sources import open_source

if TYPE_CHECKING:
    from volseg.prompts import PromptSet
    from volseg.volume.image import Volume
    from volseg.volume.labels import Labels

LARGEST_VOXELS = 2**28
"""The baseline works in memory; beyond this it is left out, as None."""


@dataclass(frozen=True)
class Baseline:
    """Dice of Otsu's components with the truth objects that a prompt's point lies in."""

    mean_dice: float
    objects: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return {
            "mean_dice": self.mean_dice,
            "objects": {str(one): dice for one, dice in self.objects.items()},
        }


def otsu_baseline(
    volume: Volume, labels: Labels, truth: Any, *, level: int = 0, time: int = 0
) -> Baseline | None:
    """Score Otsu's component under the first positive point of each prompted object.

    Parameters
    ----------
    volume, labels
        The image, and a label image of it that was made from point prompts.
    truth
        As `volseg.evaluate` takes it, on the grid of the labels' level.
    level, time
        Of the labels.

    Returns
    -------
    Baseline or None
        None where there are no stored point prompts, level 0 is not asked for, or the volume is
        larger than `LARGEST_VOXELS`.
    """
    shape = volume.shape
    if level != 0 or shape[0] * shape[1] * shape[2] > LARGEST_VOXELS:
        return None
    whole = ((0, shape[0]), (0, shape[1]), (0, shape[2]))
    source = open_source(truth, level=level, time=time)
    if source.shape != shape:
        return None
    true_ids = source.read(whole)
    points = {}
    for z, y, x in _first_points(labels, time):
        true_id = int(true_ids[round(z), round(y), round(x)])
        if true_id and true_id not in points:
            points[true_id] = (z, y, x)
    if not points:
        return None
    channel = labels.channel if isinstance(labels.channel, int) else 0
    image = volume.read(whole, level=0, time=time, channel=channel)
    dice = otsu_dice(image, true_ids, points)
    return Baseline(sum(dice.values()) / len(dice), dice)


def stored_prompts(labels: Labels) -> PromptSet:
    """Return the prompts that a label image was made from, as stored with it.

    Raises
    ------
    InputError
        If none are stored.
    """
    from volseg.prompts import PromptSet

    layers: dict[str, Any] = {}
    objects: dict[int, Any] = {}
    for document in _documents(labels):
        layers |= {layer["name"]: layer for layer in document["layers"]}
        objects |= {one["id"]: one for one in document["objects"]}
    if not objects:
        raise InputError(
            f"{labels.location} has no stored prompts; give a prompts file (--prompts)"
        )
    found = {"layers": list(layers.values()), "objects": list(objects.values())}
    return PromptSet.model_validate({"format": "volseg-prompts", "version": 1, **found})


def _documents(labels: Labels) -> Iterator[dict[str, Any]]:
    for name in sorted(labels.store.list_names_or_none("volseg/prompts") or ()):
        yield json.loads(labels.store.get(f"volseg/prompts/{name}"))


def _first_points(labels: Labels, time: int) -> list[tuple[float, float, float]]:
    """First positive point (z, y, x) of each object whose prompts are stored with the labels."""
    found = []
    for document in _documents(labels):
        for one in document["objects"]:
            points = [
                (float(prompt["z"]), float(y), float(x))
                for prompt in one["prompts"]
                if prompt.get("t", 0) == time
                for y, x, positive in prompt.get("points", [])
                if positive
            ]
            found += points[:1]
    return found
