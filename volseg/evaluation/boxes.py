"""Truth that has boxes only: scored as boxes, slice by slice, and never as Dice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.evaluation.extents import Extents
from volseg.evaluation.overlap import AP_THRESHOLDS
from volseg.evaluation.report import BoxScore, Report
from volseg.evaluation.sources import LabelSource, open_source

Box2D = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxTruth:
    """A true box: (y0, x0, y1, x1) in voxels, half-open, on slice z."""

    z: int
    box: Box2D


def boxes_of_prompts(prompts: Any, time: int = 0) -> list[BoxTruth]:
    """The boxes of a prompt set at a time point.

    Raises
    ------
    InputError
        If it has none.
    """
    found = [
        BoxTruth(prompt.z, prompt.box)
        for one in prompts.objects
        for prompt in one.prompts
        if prompt.box is not None and prompt.t == time
    ]
    if not found:
        raise InputError("the prompts hold no boxes to evaluate against")
    return found


def evaluate_boxes(
    labels: Any,
    truth: Iterable[BoxTruth],
    *,
    slices: Sequence[int] | None = None,
    level: int = 0,
    time: int = 0,
    name: str = "boxes",
) -> Report:
    """Compare the bounding boxes of objects, slice by slice, with true boxes.

    Parameters
    ----------
    labels : Labels, array, path or URL
    truth : iterable of BoxTruth
    slices : sequence of int, optional
        Slices that were looked at for truth, also those without a box; default: those with one.
        Objects elsewhere are not counted against the labels.
    level, time : int
        Of a label image.

    Returns
    -------
    Report
        `truth_kind` is "boxes"; `mean_dice` is None, since boxes say nothing about voxels. Overall:
        mean_box_iou over true boxes, and precision, recall, F1, AP by box IoU after the one-to-one
        assignment of greatest total IoU.
    """
    source = open_source(labels, level=level, time=time)
    known = list(truth)
    wanted = sorted(set(slices) if slices is not None else {box.z for box in known})
    if any(not 0 <= z < source.shape[0] for z in wanted):
        raise InputError(f"boxes on slices {wanted}, but {source.name} has {source.shape[0]}")
    rows: list[BoxScore] = []
    unmatched = 0
    for z in wanted:
        expected = [box.box for box in known if box.z == z]
        found = _boxes_of_slice(source, z)
        pairs = _assign(expected, [box for _, box in found])
        unmatched += len(found) - len(pairs)
        for at, box in enumerate(expected):
            other, iou = pairs.get(at, (None, 0.0))
            one = None if other is None else found[other][0]
            rows.append(BoxScore(z=z, box=box, predicted=one, iou=iou))
    return Report(
        labels=source.name,
        truth=name,
        match="overlap",
        truth_kind="boxes",
        mean_dice=None,
        mean_iou=None,
        overall=_overall(rows, unmatched),
        boxes=tuple(rows),
    )


def box_iou(first: Box2D, second: Box2D) -> float:
    """Intersection over union of two boxes (y0, x0, y1, x1)."""
    height = min(first[2], second[2]) - max(first[0], second[0])
    width = min(first[3], second[3]) - max(first[1], second[1])
    both = max(0.0, height) * max(0.0, width)
    union = _area(first) + _area(second) - both
    return both / union if union else 0.0


def _overall(rows: list[BoxScore], unmatched: int) -> dict[str, float | int | None]:
    ious = np.array([row.iou for row in rows])
    predicted = unmatched + sum(row.predicted is not None for row in rows)
    precisions = [_scores(ious, predicted, t) for t in AP_THRESHOLDS]
    half = precisions[0]
    return {
        "truth_boxes": len(rows),
        "predicted_boxes": predicted,
        "mean_box_iou": float(ious.mean()) if len(rows) else None,
        "box_precision": half[0],
        "box_recall": half[1],
        "box_f1": half[2],
        "box_ap50": half[3],
        "box_mean_ap": float(np.mean([scores[3] for scores in precisions])),
    }


def _scores(
    ious: NDArray[np.float64], predicted: int, threshold: float
) -> tuple[float, float, float, float]:
    """Precision, recall, F1, TP / (TP + FP + FN); 1 where there is nothing to find or to say."""
    hits = int((ious > threshold).sum())
    total = predicted + len(ious)
    if total == 0:
        return 1.0, 1.0, 1.0, 1.0
    precision = hits / predicted if predicted else 0.0
    recall = hits / len(ious) if len(ious) else 0.0
    return precision, recall, 2 * hits / total, hits / (total - hits)


def _boxes_of_slice(source: LabelSource, z: int) -> list[tuple[int, Box2D]]:
    extents = Extents()
    step = max(1, 2**24 // max(1, source.shape[2]))
    for y in range(0, source.shape[1], step):
        end = min(y + step, source.shape[1])
        extents.add(source.read(((z, z + 1), (y, end), (0, source.shape[2]))), (z, y, 0))
    return [
        (one, (float(y0), float(x0), float(y1), float(x1)))
        for one, (_, (y0, y1), (x0, x1)) in sorted(extents.boxes.items())
    ]


def _assign(expected: list[Box2D], found: list[Box2D]) -> dict[int, tuple[int, float]]:
    """True box → (predicted box, IoU) of the best one-to-one assignment, overlapping pairs only."""
    if not expected or not found:
        return {}
    from scipy.optimize import linear_sum_assignment

    table = np.array([[box_iou(a, b) for b in found] for a in expected])
    rows, columns = linear_sum_assignment(-table)
    return {
        int(r): (int(c), float(table[r, c]))
        for r, c in zip(rows, columns, strict=True)
        if table[r, c] > 0
    }


def _area(box: Box2D) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
