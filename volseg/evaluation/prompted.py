"""Which truth objects a label image was prompted for, and the plain baseline: Otsu's component under each prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import InputError
from volseg.evaluation.baseline import otsu_dice
from volseg.evaluation.sources import LabelSource, open_source
from volseg.geometry import whole_region

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.prompts import PromptSet

Place = tuple[float, float, float]

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


@dataclass(frozen=True)
class Prompted:
    """The truth objects that a label image was prompted for.

    Attributes
    ----------
    points
        A place (z, y, x) in each, in voxels of truth, by truth id: that of the first prompt.
    beside
        Ids of prompted objects whose prompts lie on the truth's background.
    """

    points: dict[int, Place]
    beside: tuple[int, ...]


def prompted_objects(
    labels: Labels, truth: Any, *, level: int = 0, time: int = 0
) -> Prompted | None:
    """Find the truth objects in which the prompts lie that are stored with a label image.

    Parameters
    ----------
    labels, truth, level, time
        As `otsu_baseline`.

    Returns
    -------
    Prompted or None
        None where no prompts are stored.
    """
    documents = list(_documents(labels))
    if not documents:
        return None
    source = open_source(truth, level=level, time=time)
    scale = [n / whole for n, whole in zip(source.shape, labels.shape[-3:], strict=True)]
    points: dict[int, Place] = {}
    beside, seen = [], set()
    for one in (one for document in documents for one in document["objects"]):
        places = [_scaled(place, scale, source.shape) for place in _places(one, time)]
        if not places or one["id"] in seen:
            continue
        seen.add(one["id"])
        found = {id_: place for place in reversed(places) if (id_ := _id_at(source, place))}
        if not found:
            beside.append(int(one["id"]))
        else:
            id_, place = list(found.items())[-1]
            points.setdefault(id_, place)
    return Prompted(points, tuple(sorted(beside)))


def _id_at(source: LabelSource, place: Place) -> int:
    z, y, x = (round(v) for v in place)
    return int(source.read(((z, z + 1), (y, y + 1), (x, x + 1)))[0, 0, 0])


def _scaled(place: Place, scale: Sequence[float], shape: Sequence[int]) -> Place:
    """A place in voxels of level 0 in those of truth, inside of it."""
    z, y, x = (
        min(max((v + 0.5) * s - 0.5, 0.0), n - 1.0)
        for v, s, n in zip(place, scale, shape, strict=True)
    )
    return z, y, x


def _places(one: Mapping[str, Any], time: int) -> list[Place]:
    """Places (z, y, x) inside a prompted object: points, scribbles and middles of masks and boxes, in that order."""
    found: list[Place] = []
    for prompt in one["prompts"]:
        if prompt.get("t", 0) != time:
            continue
        z = float(prompt["z"])
        found += [
            (z, float(y), float(x)) for y, x, positive in prompt.get("points", []) if positive
        ]
        for scribble in prompt.get("scribbles", []):
            if scribble.get("label", 1):
                found += [(z, float(y), float(x)) for y, x in scribble["path"]]
        if (mask := prompt.get("mask")) is not None:
            found += [(z, *_middle(mask))]
        if (box := prompt.get("box")) is not None:
            y0, x0, y1, x1 = box
            found.append((z, (y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2))
    return found


def _middle(mask: Mapping[str, Any]) -> tuple[float, float]:
    """The middle voxel (y, x), in row order, of an uncompressed run-length mask."""
    counts = np.asarray(mask["counts"], np.int64)
    ends = np.cumsum(counts)
    inside = np.cumsum(counts[1::2])
    k = int(np.searchsorted(inside, (inside[-1] + 1) // 2)) if inside.size else 0
    before = int(inside[k - 1]) if k else 0
    at = int(ends[2 * k]) + int((inside[-1] + 1) // 2) - before - 1 if inside.size else 0
    return divmod(float(at), float(mask["size"][1]))


def otsu_baseline(
    volume: Volume, labels: Labels, truth: Any, *, level: int = 0, time: int = 0
) -> Baseline | None:
    """Score Otsu's component under the first prompt of each truth object that was prompted.

    Parameters
    ----------
    volume, labels
        The image, and a label image of it that was made from prompts.
    truth
        As `volseg.evaluate` takes it, on the grid of the labels' level.
    level, time
        Of the labels.

    Returns
    -------
    Baseline or None
        None where there are no stored prompts, level 0 is not asked for, or the volume is larger
        than `LARGEST_VOXELS`.
    """
    shape = volume.shape
    if level != 0 or shape[0] * shape[1] * shape[2] > LARGEST_VOXELS:
        return None
    source = open_source(truth, level=level, time=time)
    prompted = prompted_objects(labels, truth, level=level, time=time)
    if source.shape != shape or prompted is None or not prompted.points:
        return None
    whole = whole_region(shape)
    channel = labels.channel if isinstance(labels.channel, int) else 0
    image = volume.read(whole, level=0, time=time, channel=channel)
    dice = otsu_dice(image, source.read(whole), prompted.points)
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
