"""From a prompts file to what propagation takes: the prompts of one layer and time point, on the grid of one level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.propagation.predictor import SlicePrompt

if TYPE_CHECKING:
    from volseg.prompts import Prompt, PromptedObject, PromptSet

SlicePrompts = dict[int, dict[int, SlicePrompt]]
Factors = tuple[float, float, float]
_INSIDE, _OUTSIDE = 8.0, -8.0  # logits of a painted mask


@dataclass(frozen=True)
class JobPrompts:
    """Prompts by object id and slice of the job's level; stop marks by object id."""

    prompts: SlicePrompts
    ends: dict[int, frozenset[int]]


def objects_of(prompts: PromptSet, layer: str, time: int) -> list[PromptedObject]:
    """The objects of a layer that have a prompt at a time point, by id."""
    chosen = [
        one
        for one in prompts.objects
        if prompts.layer_of(one).name == layer and any(p.t == time for p in one.prompts)
    ]
    return sorted(chosen, key=lambda one: one.id)


def choose_layer(prompts: PromptSet, labels: str | None) -> str:
    """The layer that becomes the label image `labels`.

    Raises
    ------
    InputError
        There are several layers, and `labels` names none of them.
    """
    names = [layer.name for layer in prompts.layers]
    if len(names) == 1:
        return names[0]
    if labels in names:
        return str(labels)
    raise InputError(
        f"the prompts have {len(names)} layers ({', '.join(names)}), each a label image of its own; "
        "name the one to make"
    )


def slice_prompts(
    objects: Sequence[PromptedObject], time: int, factors: Factors, shape: tuple[int, int, int]
) -> JobPrompts:
    """Prompts on the grid of a level.

    Parameters
    ----------
    objects
        Of one layer.
    time
        Time point; prompts of others are left out.
    factors
        Voxels of level 0 per voxel of the level, z, y, x.
    shape
        Of the level, z, y, x.

    Notes
    -----
    Voxel centres are whole numbers, so a coordinate c becomes (c + 0.5) / f - 0.5. Where several
    slices of level 0 fall into one slice of the level, their prompts are joined, a later box or mask
    winning.
    """
    prompts: SlicePrompts = {}
    ends: dict[int, frozenset[int]] = {}
    for one in objects:
        found: dict[int, SlicePrompt] = {}
        stops: set[int] = set()
        for z, prompt in one.by_slice(time).items():
            at = min(int(z / factors[0]), shape[0] - 1)
            if prompt.ends:
                stops.add(at)
            converted = _convert(prompt, factors, shape[1:])
            if converted is not None:
                found[at] = converted if at not in found else _join(found[at], converted)
        prompts[one.id] = found
        ends[one.id] = frozenset(stops - set(found))
    return JobPrompts(prompts, {i: of for i, of in ends.items() if of})


def _convert(prompt: Prompt, factors: Factors, shape_yx: tuple[int, ...]) -> SlicePrompt | None:
    points, labels = prompt.point_arrays()
    if not len(points) and prompt.box is None and prompt.mask is None:
        return None
    scale = np.asarray(factors[1:], dtype=np.float64)
    limit = np.asarray(shape_yx, dtype=np.float64) - 0.5
    points = np.clip((points + 0.5) / scale - 0.5, -0.5, np.nextafter(limit, 0))
    box = None
    if prompt.box is not None:
        y0, x0, y1, x1 = prompt.box
        box = (y0 / scale[0], x0 / scale[1], y1 / scale[0], x1 / scale[1])
    logits, origin = None, (0, 0)
    if prompt.mask is not None:
        logits, origin = _mask_logits(prompt.mask.decode(), factors[1:], shape_yx)
    return SlicePrompt(points, labels, box, logits, origin)


def _mask_logits(
    mask: NDArray[np.bool_], factors: Sequence[float], shape_yx: Sequence[int]
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """A painted mask on the level's grid (nearest voxel), cropped to its box, as logits."""
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * f).astype(int), m - 1)
        for n, f, m in zip(shape_yx, factors, mask.shape, strict=True)
    )
    level = mask[np.ix_(rows, columns)]
    if not level.any():  # a mask thinner than the level's voxels: keep the voxels that it touches
        ys, xs = np.nonzero(mask)
        level[
            np.minimum((ys / factors[0]).astype(int), shape_yx[0] - 1),
            np.minimum((xs / factors[1]).astype(int), shape_yx[1] - 1),
        ] = True
    ys, xs = np.nonzero(level)
    y0, x0 = int(ys.min()), int(xs.min())
    window = level[y0 : ys.max() + 1, x0 : xs.max() + 1]
    return np.where(window, _INSIDE, _OUTSIDE).astype(np.float32), (y0, x0)


def _join(first: SlicePrompt, second: SlicePrompt) -> SlicePrompt:
    masked = second if second.mask_logits is not None else first
    return SlicePrompt(
        np.concatenate([first.points, second.points]),
        np.concatenate([first.point_labels, second.point_labels]),
        second.box or first.box,
        masked.mask_logits,
        masked.mask_origin,
    )


def place_of(prompts: dict[int, SlicePrompt]) -> tuple[int, float, float]:
    """First slice and mean place y, x of an object's positive marks, for grouping."""
    z, prompt = min(prompts.items())
    if prompt.box is not None:
        y0, x0, y1, x1 = prompt.box
        return z, (y0 + y1) / 2, (x0 + x1) / 2
    if prompt.mask_logits is not None:
        h, w = prompt.mask_logits.shape
        return z, prompt.mask_origin[0] + h / 2, prompt.mask_origin[1] + w / 2
    inside = np.asarray(prompt.points)[np.asarray(prompt.point_labels) == 1]
    y, x = (inside if len(inside) else np.asarray(prompt.points)).mean(axis=0)
    return z, float(y), float(x)
