"""One corrective click on the worst object of the demonstration: where a person would click, and what it changes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volseg.demo.report import Correction

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.pipelines.segmentation import Plan
    from volseg.propagation import Track

MARGIN = 24
LEAST = 128
"""Voxels around the object in the pictures, and their least side."""
TRIES = 8
"""Objects that are tried, from the worst on."""


@dataclass(frozen=True)
class Click:
    """Where a person would click: slice and place in voxels, and whether it is on the object."""

    z: int
    y: int
    x: int
    positive: bool


def correct_worst(
    volume: Volume,
    plan: Plan,
    tracks: dict[int, Track],
    truth: NDArray[np.generic],
    dice: dict[int, float],
) -> Correction | None:
    """Correct one of the worst objects by one click on its worst slice, and follow it anew.

    As a person would, who takes a click back that did not help: the first object, from the worst on, that a click makes
    better; the worst where none of `TRIES` does.

    Parameters
    ----------
    volume, plan, tracks
        Of the finished run.
    truth : ndarray, (z, y, x)
        True ids.
    dice
        3D Dice per object.

    Returns
    -------
    Correction or None
        None where no object has a track.
    """
    from volseg.pipelines.segmentation.predictors import open_predictor

    predictor = open_predictor(plan, volume)
    first = None
    for number in sorted(tracks, key=lambda i: dice[i])[:TRIES]:
        found, gain = _correct(volume, plan, predictor, tracks[number], number, truth == number)
        if gain > 0.01:
            return found
        first = first or found
    return first


def _correct(
    volume: Volume,
    plan: Plan,
    predictor: Any,
    old: Track,
    number: int,
    true: NDArray[np.bool_],
) -> tuple[Correction, float]:
    """One object's correction, and what it adds to its Dice."""
    from volseg.pipelines.segmentation.worker_context import prompts_of
    from volseg.propagation import repropagate

    click = _where_to_click(true, old)
    corrected = _corrected_mask(predictor, old, click, plan)
    new, recomputed = repropagate(
        predictor,
        old,
        plan.settings,
        corrected={click.z: corrected},
        object_id=number,
        prompts=prompts_of(plan).prompts,
    )
    before, after = _dice(old, true), _dice(new, true)
    masks = [_mask(old, click.z), _mask(new, click.z)]
    window = _around(masks[0] | masks[1] | true[click.z])
    kind = "on the object" if click.positive else "beside it"
    correction = Correction(
        text=(
            f"Object {number} is among the worst. One click {kind} on slice {click.z} (the ring) took its "
            f"Dice from {before:.2f} to {after:.2f}; {len(recomputed)} of the track's {len(old)} slices "
            "were looked at anew, the others stayed as they were. White: the truth's outline."
        ),
        before=_picture(volume, click, masks[0], true[click.z], window, ring=True),
        after=_picture(volume, click, masks[1], true[click.z], window, ring=False),
    )
    return correction, after - before


def _where_to_click(true: NDArray[np.bool_], track: Track) -> Click:
    """Deep inside the largest error of the slice with most errors, also beyond the object's ends.

    Where the mask lies beside the object altogether, a person clicks on the object.
    """
    errors = {z: int((_mask(track, z) ^ true[z]).sum()) for z in range(len(true))}
    z = max(errors, key=lambda at: errors[at])
    mask = _mask(track, z)
    missed, extra = true[z] & ~mask, mask & ~true[z]
    beside = bool(missed.any() and not (true[z] & mask).any())
    positive = beside or bool(missed.sum() >= extra.sum())
    depth = ndimage.distance_transform_edt(np.pad(missed if positive else extra, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return Click(z, int(y), int(x), positive)


def _corrected_mask(predictor: Any, track: Track, click: Click, plan: Plan) -> NDArray[np.bool_]:
    """The slice's mask with the click: a point inside the mask as it is, and the click."""
    from volseg.propagation import SlicePrompt, seed_masks

    points, labels = [(float(click.y), float(click.x))], [int(click.positive)]
    inside = _mask(track, click.z).copy()
    if not click.positive and inside.any():  # the part farthest from what was wrong
        rows, columns = np.indices(inside.shape)
        away = np.hypot(rows - click.y, columns - click.x) * inside
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int((away * (depth >= 0.5 * depth.max())).argmax()), inside.shape)
        points.append((float(y), float(x)))
        labels.append(1)
    prompt = SlicePrompt(points=np.array(points), point_labels=np.array(labels))
    seeds = seed_masks(predictor, {1: {click.z: prompt}}, plan.settings)[1]
    if click.z not in seeds:
        return np.zeros(inside.shape, bool)
    found: NDArray[np.bool_] = np.zeros(inside.shape, bool)
    window = seeds[click.z][0]
    y0, x0 = window.origin
    height, width = window.mask.shape
    found[y0 : y0 + height, x0 : x0 + width] = window.mask
    return found


def _mask(track: Track, z: int) -> NDArray[np.bool_]:
    return track.mask(z) if z in track else np.zeros(track.shape[1:], bool)


def _dice(track: Track, true: NDArray[np.bool_]) -> float:
    both = sum(int((_mask(track, z) & true[z]).sum()) for z in track.slices)
    return 2 * both / (track.voxels + int(true.sum()))


def _around(mask: NDArray[np.bool_]) -> tuple[tuple[int, int], tuple[int, int]]:
    """A window (y, x) around what is set, of at least `LEAST` voxels a side, inside the slice."""
    window = []
    for axis, length in enumerate(mask.shape):
        at = np.flatnonzero(mask.any(1 - axis))
        size = min(length, max(LEAST, int(at[-1] - at[0]) + 1 + 2 * MARGIN))
        start = min(max(0, int(at[-1] + at[0] + 1 - size) // 2), length - size)
        window.append((start, start + size))
    return window[0], window[1]


def _picture(
    volume: Volume,
    click: Click,
    mask: NDArray[np.bool_],
    true: NDArray[np.bool_],
    window: tuple[tuple[int, int], tuple[int, int]],
    *,
    ring: bool,
) -> bytes:
    """The slice around the object as PNG: the mask in colour, the truth's outline, the click."""
    from PIL import Image, ImageDraw

    height, width = true.shape
    (y0, y1), (x0, x1) = window
    region = ((click.z, click.z + 1), (y0, y1), (x0, x1))
    plane = volume.read(region)[0].astype(np.float64)
    whole = volume.read(((click.z, click.z + 1), (0, height), (0, width)))
    low, high = np.percentile(whole, (0.5, 99.9))
    grey = np.clip((plane - low) / max(high - low, 1e-9), 0, 1)
    rgb = np.stack([grey] * 3, -1) * 255
    inside, outline = mask[y0:y1, x0:x1], true[y0:y1, x0:x1]
    outline = outline & ~ndimage.binary_erosion(outline)
    rgb[inside] = 0.5 * rgb[inside] + 0.5 * np.array([11, 180, 170])
    rgb[outline] = 255
    scale = max(1, 480 // max(rgb.shape[:2]))
    image = Image.fromarray(rgb.astype(np.uint8)).resize(
        (rgb.shape[1] * scale, rgb.shape[0] * scale), Image.Resampling.NEAREST
    )
    if ring:
        y, x = (click.y - y0 + 0.5) * scale, (click.x - x0 + 0.5) * scale
        colour = (90, 220, 90) if click.positive else (255, 90, 90)
        ImageDraw.Draw(image).ellipse((x - 9, y - 9, x + 9, y + 9), outline=colour, width=3)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
