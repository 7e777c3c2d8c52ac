"""From a person's prompt on a slice to the object's mask there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from volseg.geometry import Box
from volseg.propagation.context import Context
from volseg.propagation.predictor import Candidates, SlicePredictor, SlicePrompt
from volseg.propagation.settings import DEFAULTS, Settings
from volseg.propagation.window import EMPTY, MaskWindow

SeedMasks = dict[int, dict[int, tuple[MaskWindow, float]]]
"""{object id: {z: (mask, confidence)}}"""


def is_seed(prompt: SlicePrompt) -> bool:
    """Whether the prompt says where the object is (negative points alone only steer)."""
    marked = bool((np.asarray(prompt.point_labels) == 1).any())
    return marked or prompt.box is not None or prompt.mask_logits is not None


def seed_masks(
    predictor: SlicePredictor,
    prompts: Mapping[int, Mapping[int, SlicePrompt]],
    settings: Settings | None = None,
    *,
    context: Context | None = None,
) -> SeedMasks:
    """The masks on the prompted slices.

    A mask without points is taken as it is. Otherwise the model is asked, all objects of a slice
    in one call, and of its candidates the one is taken that agrees best with the marks: every
    positive point in, every negative one and the other objects' positive ones out, within the
    box, and then by the model's own score.

    Parameters
    ----------
    predictor : SlicePredictor
    prompts : {object id: {z: SlicePrompt}}
        Prompts that hold only negative points give no seed.
    settings : Settings, optional
    context : Context, optional
        That of the whole job, made of prompts only; else `prompts` are all that there are.

    Returns
    -------
    {object id: {z: (MaskWindow, confidence)}}
        Masks may be empty where the model found nothing under the marks.
    """
    settings, context = settings or DEFAULTS, context or Context(prompts)
    out: SeedMasks = {i: {} for i in sorted(prompts)}
    by_slice: dict[int, list[int]] = {}
    for i in out:
        for z, prompt in prompts[i].items():
            if is_seed(prompt):
                by_slice.setdefault(z, []).append(i)
    for z in sorted(by_slice):
        asked = []
        for i in by_slice[z]:
            prompt = prompts[i][z]
            if prompt.mask_logits is not None and not len(prompt.points) and prompt.box is None:
                mask = MaskWindow.crop(np.asarray(prompt.mask_logits) > 0, prompt.mask_origin)
                out[i][z] = mask.clipped(predictor.shape[1:]), 1.0
            else:
                asked.append(i)
        if not asked:
            continue
        answers = predictor.predict(z, [prompts[i][z] for i in asked])
        for i, answer in zip(asked, answers, strict=True):
            out[i][z] = _best(i, z, prompts[i][z], answer, predictor, context)
    return out


def _best(
    object_id: int,
    z: int,
    prompt: SlicePrompt,
    answer: Candidates,
    predictor: SlicePredictor,
    context: Context,
) -> tuple[MaskWindow, float]:
    """The candidate that the marks speak for, and how sure it is."""
    height, width = predictor.shape[1:]
    whole: Box = (0, 0, height, width)
    others = [(y, x) for _, y, x in context.others_points(object_id, z, whole, 0)]
    best: tuple[float, MaskWindow, float] = (-np.inf, EMPTY, 0.0)
    for mask, score in zip(answer.masks, answer.scores, strict=True):
        window = MaskWindow.crop(np.asarray(mask), answer.origin).clipped((height, width))
        if not window.area:
            continue
        share = agreement_with_marks(window, prompt, others)
        size = 0.5 if window.area > 0.5 * height * width else 0.0
        total = 2.0 * share + float(score) - size
        if total > best[0]:
            best = total, window, min(1.0, max(0.0, float(score) * share))
    return best[1], best[2]


def agreement_with_marks(
    mask: MaskWindow, prompt: SlicePrompt, others: Sequence[tuple[float, float]]
) -> float:
    """Share of the marks that the mask respects, 0..1.

    Parameters
    ----------
    mask : MaskWindow
        Not empty.
    prompt : SlicePrompt
        The object's own marks.
    others : sequence of (y, x)
        Other objects' positive points on the slice.
    """
    points = np.asarray(prompt.points, dtype=np.float64).reshape(-1, 2)
    wanted = np.asarray(prompt.point_labels).reshape(-1) == 1
    right = [mask.contains(y, x) == bool(w) for (y, x), w in zip(points, wanted, strict=True)]
    parts = [float(np.mean(right))] if right else []
    if prompt.box is not None:
        y0, x0, y1, x1 = prompt.box
        dy, dx = 0.1 * (y1 - y0), 0.1 * (x1 - x0)
        box = (int(y0 - dy), int(x0 - dx), int(np.ceil(y1 + dy)), int(np.ceil(x1 + dx)))
        ours = np.count_nonzero(mask.on(box))
        parts.append(float(ours) / mask.area)
    share = float(np.mean(parts)) if parts else 1.0
    swallowed = sum(mask.contains(y, x) for y, x in others)
    return share / (1 + swallowed)
