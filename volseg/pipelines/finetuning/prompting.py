"""Prompts simulated on views: clicks and boxes, with the mask that each should give.

They look at the object's own mask and at nothing else, so that what nobody labelled teaches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from volseg.models.model import PromptBatch
from volseg.pipelines.finetuning.views import View
from volseg.training.prompts import Mask, bounds, inner_points, outer_points

KINDS, SHARES = ("point", "points", "box"), (0.45, 0.2, 0.35)
JITTER = (0.0, 0.05, 0.1, 0.15)


def middle_points(views: Sequence[View], device: torch.device) -> PromptBatch:
    """Return one point per object: the place deepest inside."""
    rng = np.random.default_rng(0)
    points = [inner_points(rng, view.mask, 1, central=True) for view in views]
    return _batch(np.stack(points), np.ones((len(views), 1), np.int64), None, device)


def exact_boxes(views: Sequence[View], device: torch.device) -> PromptBatch:
    """Return the box of each object."""
    boxes = np.array([_box(view.mask) for view in views], np.float32)
    return _batch(None, np.zeros((len(views), 0), np.int64), boxes, device)


def simulated(rng: Generator, views: Sequence[View], device: torch.device) -> PromptBatch:
    """Return prompts of one kind, drawn: a click inside, three in- and outside, or a box that is somewhat off."""
    kind = str(rng.choice(KINDS, p=SHARES))
    masks = [view.mask for view in views]
    if kind == "box":
        moved = [_moved(rng, mask) for mask in masks]
        return _batch(None, np.zeros((len(views), 0), np.int64), np.stack(moved), device)
    central = bool(rng.random() < 0.5)
    if kind == "point":
        points = [inner_points(rng, mask, 1, central=central) for mask in masks]
        return _batch(np.stack(points), np.ones((len(views), 1), np.int64), None, device)
    inside = [inner_points(rng, mask, 3, central=central) for mask in masks]
    signs = np.ones((len(views), 3), np.int64)
    for row, mask in enumerate(masks):
        outside = outer_points(rng, np.zeros(mask.shape, np.int32), mask, 1)
        if len(outside):
            inside[row][2], signs[row, 2] = outside[0], 0
    return _batch(np.stack(inside), signs, None, device)


def _box(mask: Mask) -> tuple[float, float, float, float]:
    y0, x0, y1, x1 = bounds(mask)
    return float(x0), float(y0), float(x1), float(y1)


def _moved(rng: Generator, mask: Mask) -> NDArray[np.float32]:
    """A box (x0, y0, x1, y1) with every side moved by up to 15 % of the extent."""
    box = np.array(_box(mask))
    extent = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.uniform(-1, 1, 4) * rng.choice(JITTER) * extent
    return np.clip(moved, 0, len(mask)).astype(np.float32)


def _batch(
    points: NDArray[np.float32] | None,
    signs: NDArray[np.int64],
    boxes: NDArray[np.float32] | None,
    device: torch.device,
) -> PromptBatch:
    def on(array: NDArray[np.generic] | None) -> torch.Tensor | None:
        return None if array is None else torch.from_numpy(array).to(device)

    return PromptBatch(on(points), torch.from_numpy(signs).to(device), on(boxes), None)
