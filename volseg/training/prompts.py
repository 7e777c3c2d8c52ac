"""Simulated prompts: clicks, boxes, earlier masks and clicks on background, with the mask that each
should give.

All coordinates here are x, y in pixels of a 256 x 256 tile with 0 in the corner's pixel centre, as
``SamPredictor`` has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from volseg.training.augment import SIZE, Tile
from volseg.training.pictures import Labels

Mask = NDArray[np.bool_]
MASK_SIDE = 128
SMALLEST = 30
KINDS = ("point", "points", "box", "box+point", "mask+points", "corrective")
SHARES = (0.32, 0.08, 0.32, 0.06, 0.10, 0.12)
LEVEL_SHARES = (0.3, 0.5, 0.2)
"""How often a prompt means a part, a whole or a group, where a tile has all of them."""
WHOLE = 1


@dataclass(frozen=True)
class PromptGroup:
    """Prompts of one kind on one tile.

    Attributes
    ----------
    kind : str
        One of ``KINDS``. "corrective" starts as a point and gets clicks where the model errs.
    points : ndarray of float32 or None
        (n, k, 2) x, y.
    point_labels : ndarray of int64 or None
        (n, k): 1 inside, 0 outside, -1 padding.
    boxes : ndarray of float32 or None
        (n, 4) x0, y0, x1, y1.
    masks : ndarray of float32 or None
        (n, 128, 128) logits of an earlier mask.
    targets : ndarray of float32
        (n, 128, 128) the part of each mask pixel that the object covers; zero for a prompt on
        background.
    levels : ndarray of float32 or None
        (n, 3, 128, 128): the part, the whole and the group under a single click, each like a
        target, zero where there is none. The target is one of them: the whole where there is one.
        None where prompts have one right answer: all other kinds, and tiles without levels.
    """

    kind: str
    points: NDArray[np.float32] | None
    point_labels: NDArray[np.int64] | None
    boxes: NDArray[np.float32] | None
    masks: NDArray[np.float32] | None
    targets: NDArray[np.float32]
    levels: NDArray[np.float32] | None = None


def component(rng: Generator, labels: Labels, identity: int) -> Mask:
    """Return one connected component (y, x) of an object, larger ones more often."""
    mask = labels == identity
    y0, x0, y1, x1 = bounds(mask)
    parts, count = ndimage.label(mask[y0:y1, x0:x1])
    if count > 1:
        sizes = np.bincount(parts.ravel())[1:].astype(float) ** 2
        mask[y0:y1, x0:x1] = parts == 1 + rng.choice(count, p=sizes / sizes.sum())
    return mask


def bounds(mask: Mask) -> tuple[int, int, int, int]:
    """Return y0, x0, y1, x1 of a mask, half-open."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def inner_points(rng: Generator, mask: Mask, count: int, *, central: bool) -> NDArray[np.float32]:
    """Choose points inside a mask, away from its edge.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    mask : ndarray of bool
        (y, x), not empty.
    count : int
        How many.
    central : bool
        Whether the first one is the point farthest from the edge.

    Returns
    -------
    ndarray of float32
        (count, 2) x, y.
    """
    y0, x0, y1, x1 = bounds(mask)
    depth = ndimage.distance_transform_edt(np.pad(mask[y0:y1, x0:x1], 1))[1:-1, 1:-1]
    inside = np.argwhere(depth >= rng.uniform(0.2, 0.5) * depth.max())
    chosen = inside[rng.integers(len(inside), size=count)]
    if central:
        chosen[0] = np.unravel_index(depth.argmax(), depth.shape)
    return (chosen[:, ::-1] + np.array([x0, y0])).astype(np.float32)


def outer_points(rng: Generator, labels: Labels, mask: Mask, count: int) -> NDArray[np.float32]:
    """Choose points outside a mask but near it, in a neighbouring object where there is one: (n, 2)
    x, y, n <= count.
    """
    y0, x0, y1, x1 = bounds(mask)
    reach = 6 + max(y1 - y0, x1 - x0) // 2
    top, left = max(y0 - reach, 0), max(x0 - reach, 0)
    window = (slice(top, y1 + reach), slice(left, x1 + reach))
    free = ~ndimage.binary_dilation(mask[window], iterations=2)
    others = free & (labels[window] > 0)
    where = np.argwhere(others if others.any() and rng.random() < 0.7 else free)
    if not len(where):
        return np.zeros((0, 2), np.float32)
    chosen = where[rng.integers(len(where), size=count)]
    return (chosen[:, ::-1] + np.array([left, top])).astype(np.float32)


def jittered_box(rng: Generator, mask: Mask) -> NDArray[np.float32]:
    """Return the mask's box with every side moved by up to 15 % of the extent: (4,) x0, y0, x1,
    y1.
    """
    y0, x0, y1, x1 = bounds(mask)
    moves = rng.uniform(-1, 1, 4) * rng.choice([0.0, 0.05, 0.1, 0.15])
    extent = np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    return np.clip(np.array([x0, y0, x1, y1]) + moves * extent, 0, SIZE).astype(np.float32)


def earlier_mask(rng: Generator, target: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a target (128, 128) into logits as of the neighbouring slice's mask: moved, grown or
    shrunk, hard or soft.
    """
    mask = target > 0.5
    if not mask.any():
        mask = target > 0
    size = np.sqrt(mask.sum())
    move = np.rint(rng.normal(0, 0.08, 2) * size).astype(int)
    signed = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    signed = ndimage.shift(signed, move, order=0, mode="nearest") + rng.normal(0, 0.07) * size
    strength = rng.uniform(4, 12)
    if rng.random() < 0.5:
        return np.where(signed > 0, strength, -strength).astype(np.float32)
    return np.clip(signed * rng.uniform(0.5, 2.0), -strength, strength).astype(np.float32)


def shrink(mask: Mask) -> NDArray[np.float32]:
    """Average a mask (256, 256) to (128, 128)."""
    bits = mask.view(np.uint8)
    sums = bits[::2, ::2] + bits[1::2, ::2] + bits[::2, 1::2] + bits[1::2, 1::2]
    return sums.astype(np.float32) * np.float32(0.25)


def simulate(rng: Generator, tile: Tile, count: int, kind: str | None = None) -> PromptGroup | None:
    """Simulate prompts of one kind on a tile.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    tile : Tile
        The image's labels decide.
    count : int
        How many prompts.
    kind : str, optional
        One of ``KINDS``; drawn by their shares where not given.

    Returns
    -------
    PromptGroup or None
        None where no object has 30 pixels.
    """
    planes = tile.labels[None] if tile.levels is None else tile.levels
    chosen = _objects(rng, planes, count)
    if not chosen:
        return None
    kind = kind or str(rng.choice(KINDS, p=SHARES))
    width = int(rng.integers(2, 7)) if kind in ("points", "mask+points") else 1
    points = np.zeros((count, width, 2), np.float32)
    signs = np.full((count, width), -1, np.int64)
    boxes = np.zeros((count, 4), np.float32)
    targets = np.zeros((count, MASK_SIDE, MASK_SIDE), np.float32)
    masks = np.zeros_like(targets)
    levels = None
    if kind == "point" and tile.levels is not None:
        levels = np.zeros((count, len(planes), MASK_SIDE, MASK_SIDE), np.float32)
    nowhere = _nowhere(rng, tile, kind)
    for row, (level, identity) in enumerate(chosen):
        if len(nowhere) and rng.random() < 0.15:
            points[row, 0] = nowhere[rng.integers(len(nowhere))][::-1]
            signs[row, 0] = 1
            continue
        mask = component(rng, planes[level], identity)
        targets[row] = shrink(mask)
        boxes[row] = jittered_box(rng, mask)
        if kind != "box":
            _click(rng, planes[level], mask, points[row], signs[row])
        if levels is not None:
            levels[row] = answers(planes, points[row, 0])
            if levels[row, WHOLE].any():
                targets[row] = levels[row, WHOLE]
        if kind == "mask+points":
            masks[row] = earlier_mask(rng, targets[row])
    with_points = kind != "box"
    return PromptGroup(
        kind,
        points if with_points else None,
        signs if with_points else None,
        boxes if kind in ("box", "box+point") else None,
        masks if kind == "mask+points" else None,
        targets,
        levels,
    )


def _objects(rng: Generator, planes: Labels, count: int) -> list[tuple[int, int]]:
    """Choose so many objects of at least 30 pixels, each as plane and number, with few repeated;
    none where no plane (k, y, x) has one.
    """
    present = []
    for plane in planes:
        sizes = np.bincount(plane.ravel())
        sizes[0] = 0
        present.append(rng.permutation(np.flatnonzero(sizes >= SMALLEST)))
    shares = np.ones(1) if len(planes) == 1 else np.array(LEVEL_SHARES)
    shares = shares * [len(numbers) > 0 for numbers in present]
    if not shares.any():
        return []
    levels = rng.choice(len(planes), count, p=shares / shares.sum())
    return [
        (
            int(level),
            int(present[level][np.count_nonzero(levels[:row] == level) % len(present[level])]),
        )
        for row, level in enumerate(levels)
    ]


def _nowhere(rng: Generator, tile: Tile, kind: str) -> NDArray[np.intp]:
    """List the places y, x (n, 2) where a click means nothing; none for prompts that always mean an
    object, and in one tile of five.
    """
    offered = kind in ("point", "corrective") and rng.random() < 0.8
    if not (offered and tile.background):
        return np.zeros((0, 2), np.intp)
    empty = tile.labels == 0
    if tile.levels is not None:
        empty &= ~tile.levels.any(0)
    if empty.any():
        empty = ndimage.binary_erosion(empty, iterations=3, border_value=1)
    return np.argwhere(empty)


def answers(planes: Labels, point: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the connected objects of every plane (k, 256, 256) under a point x, y, as targets (k,
    128, 128).
    """
    x, y = int(point[0]), int(point[1])
    found = np.zeros((len(planes), MASK_SIDE, MASK_SIDE), np.float32)
    for target, plane in zip(found, planes, strict=True):
        if plane[y, x]:
            mask = plane == plane[y, x]
            y0, x0, y1, x1 = bounds(mask)
            parts, _ = ndimage.label(mask[y0:y1, x0:x1])
            mask[y0:y1, x0:x1] = parts == parts[y - y0, x - x0]
            target[:] = shrink(mask)
    return found


def _click(
    rng: Generator,
    labels: Labels,
    mask: Mask,
    points: NDArray[np.float32],
    signs: NDArray[np.int64],
) -> None:
    """Fill one prompt's places (k, 2) and labels (k,) with points inside and, where there is room,
    outside.
    """
    room = len(points)
    inside = int(rng.integers(1, room + 1))
    points[:inside] = inner_points(rng, mask, inside, central=rng.random() < 0.5)
    signs[:inside] = 1
    if room > inside and rng.random() < 0.7:
        outside = outer_points(rng, labels, mask, int(rng.integers(1, room - inside + 1)))
        points[inside : inside + len(outside)] = outside
        signs[inside : inside + len(outside)] = 0


def correction(
    rng: Generator, predicted: Mask, target: Mask, *, depth_scale: float = SIZE / MASK_SIDE
) -> tuple[NDArray[np.float32], int]:
    """Click where the model errs most, as in SAM's interactive training.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    predicted, target : ndarray of bool
        Masks (y, x) at mask resolution.
    depth_scale : float
        Pixels of the tile per mask pixel.

    Returns
    -------
    point : ndarray of float32
        (2,) x, y in pixels of the tile.
    label : int
        1 where the target was missed, 0 where too much was marked; 1 on the target where all is
        right.
    """
    errors = predicted ^ target
    if not errors.any():
        errors = target if target.any() else np.ones_like(target)
    parts, count = ndimage.label(errors)
    if count > 1:
        errors = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    point = inner_points(rng, errors, 1, central=rng.random() < 0.5)[0]
    label = int(target[int(point[1]), int(point[0])])
    return (point + 0.5) * depth_scale - 0.5, label
