"""Labels against truth, block by block: one pass that counts, then the metrics, then surfaces where
asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import InputError
from volseg.evaluation import overlap
from volseg.evaluation.boundary import SurfaceDistance, distance_between, surface_points
from volseg.evaluation.boxes import BoxTruth, boxes_of_prompts, evaluate_boxes
from volseg.evaluation.contingency import Contingency
from volseg.evaluation.extents import Extents
from volseg.evaluation.report import ObjectScore, Report
from volseg.evaluation.sources import LabelSource, blocks, open_source
from volseg.geometry import Region, enclosing
from volseg.progress import Progress, silent

FAMILIES = ("overlap", "detection", "aji", "arand", "vi", "boundary")


def metric_names() -> tuple[str, ...]:
    """Families of metrics that `evaluate` takes in `metrics`."""
    return FAMILIES


def evaluate(
    labels: Any,
    truth: Any,
    *,
    metrics: Iterable[str] | None = None,
    spacing_um: tuple[float, float, float] | None = None,
    match: str = "overlap",
    classes: Mapping[int, str] | None = None,
    objects: Iterable[int] | None = None,
    level: int = 0,
    time: int = 0,
    block_voxels: int = 2**24,
    progress: Progress = silent,
) -> Report:
    """Score labels against truth.

    Parameters
    ----------
    labels, truth : Labels, array (z, y, x) or (y, x), path or URL
        On one grid; ids from 1, 0 being background. See `volseg.evaluation.sources.open_source`.
        Truth may also be a prompt set with boxes, or a CSV table of boxes of one image: then only
        boxes are scored.
    metrics : iterable of str, optional
        Families to compute, out of "overlap" (always on), "detection" (precision, recall, F1, AP,
        PQ), "aji", "arand", "vi", "boundary". Default: all; "boundary" where a voxel size is known.
    spacing_um : (z, y, x), optional
        Voxel size in micrometres; default: that of the labels, else of truth.
    match : {"overlap", "id"}
        How objects are paired; see `volseg.evaluation.overlap.match_objects`.
    classes : mapping of truth id to class, optional
        Default: what truth's object table says.
    objects : iterable of truth ids, optional
        Score these alone, as those that were prompted; the others count as background. Default: all.
    level, time : int
        Of label images.
    block_voxels : int
        About how many voxels are read at once.
    progress : Progress

    Raises
    ------
    InputError
        If shapes differ, a metric is unknown, or boundary distances were asked for without a voxel
        size.
    """
    overlap.check_match(match)
    if (true_boxes := _boxes(truth, time)) is not None:
        return evaluate_boxes(labels, true_boxes, level=level, time=time)
    ours, theirs = (
        open_source(labels, level=level, time=time),
        open_source(truth, level=level, time=time),
    )
    if ours.shape != theirs.shape:
        raise InputError(
            f"{ours.name} has shape {ours.shape} and truth {theirs.name} {theirs.shape} (z, y, x): "
            "both must lie on one grid (choose --level, or give truth of the same extent)"
        )
    spacing = spacing_um or ours.spacing_um or theirs.spacing_um
    wanted = _families(metrics, spacing)
    counts, boxes, predicted_boxes = _count(ours, theirs, block_voxels, progress)
    left_out = 0
    if objects is not None:
        known = len(counts.truth_sizes())
        counts = counts.of_truth_ids(objects)
        left_out = known - len(counts.truth_sizes())
    pairs = overlap.overlaps(counts)
    partner = overlap.match_objects(pairs, match)
    kinds = dict(classes) if classes is not None else theirs.classes()
    rows = _rows(pairs, partner, boxes, predicted_boxes, kinds)
    if "boundary" in wanted and spacing is not None:
        rows = [
            _with_surface(row, ours, theirs, spacing, progress, at, len(rows))
            for at, row in enumerate(rows, 1)
        ]
    return Report(
        labels=ours.name,
        truth=theirs.name,
        match=match,
        truth_kind="masks",
        mean_dice=_mean([row.dice for row in rows]),
        mean_iou=_mean([row.iou for row in rows]),
        overall=_overall(counts, pairs, rows, wanted),
        classes=_per_class(counts, rows),
        objects=tuple(rows),
        spacing_um=spacing,
        left_out=left_out,
    )


def _boxes(truth: Any, time: int) -> list[BoxTruth] | None:
    """Truth as boxes, where it is a prompt set or a CSV table."""
    if hasattr(truth, "objects") and hasattr(truth, "layers"):
        return boxes_of_prompts(truth, time)
    if not isinstance(truth, str | Path) or not str(truth).lower().endswith(".csv"):
        return None
    from volseg.importing.boxes import boxes_from_csv

    images = boxes_from_csv(truth)
    if len(images) != 1:
        raise InputError(
            f"{truth}: holds boxes of {len(images)} images; expected those of one "
            "(volseg.importing.boxes reads the table, volseg.evaluation.boxes scores a part)"
        )
    found = next(iter(images.values()))
    return [BoxTruth(box.z, box.box) for box in found if box.t == time]


def _families(
    metrics: Iterable[str] | None, spacing: tuple[float, float, float] | None
) -> frozenset[str]:
    if metrics is None:
        return frozenset(FAMILIES if spacing else set(FAMILIES) - {"boundary"})
    wanted = frozenset(metrics)
    if unknown := sorted(wanted - set(FAMILIES)):
        raise InputError(f"unknown metric {unknown[0]!r}; known are {', '.join(FAMILIES)}")
    if "boundary" in wanted and spacing is None:
        raise InputError("boundary distances are in micrometres: give spacing_um (z, y, x)")
    return wanted


def _count(
    ours: LabelSource, theirs: LabelSource, voxels: int, progress: Progress
) -> tuple[Contingency, dict[int, Region], dict[int, Region]]:
    """Count id pairs and find bounding boxes in one pass."""
    parts, truth_boxes, our_boxes = [], Extents(), Extents()
    todo = list(blocks(ours, theirs, voxels))
    for done, region in enumerate(todo, 1):
        truth, found = theirs.read(region), ours.read(region)
        parts.append(Contingency.of(truth, found))
        origin = (region[0][0], region[1][0], region[2][0])
        truth_boxes.add(truth, origin)
        our_boxes.add(found, origin)
        if len(parts) == 64:
            parts = [Contingency.sum(parts)]
        progress("evaluate", done, len(todo))
    return Contingency.sum(parts), truth_boxes.boxes, our_boxes.boxes


def _rows(
    pairs: overlap.Overlaps,
    partner: Mapping[int, int],
    boxes: Mapping[int, Region],
    predicted_boxes: Mapping[int, Region],
    kinds: Mapping[int, str],
) -> list[ObjectScore]:
    at = {
        (int(t), int(p)): n
        for n, (t, p) in enumerate(zip(pairs.truth, pairs.predicted, strict=True))
    }
    dice, iou = pairs.dice, pairs.iou
    rows = []
    for truth_id, size in sorted(pairs.truth_sizes.items()):
        other = partner.get(truth_id)
        where = at.get((truth_id, other)) if other is not None else None
        box = (
            boxes[truth_id]
            if other is None
            else enclosing((boxes[truth_id], predicted_boxes[other]))
        )
        rows.append(
            ObjectScore(
                id=truth_id,
                predicted=other,
                class_=kinds.get(truth_id),
                truth_voxels=size,
                predicted_voxels=0 if other is None else pairs.predicted_sizes[other],
                dice=0.0 if where is None else float(dice[where]),
                iou=0.0 if where is None else float(iou[where]),
                bbox=box,
            )
        )
    return rows


def _with_surface(
    row: ObjectScore,
    ours: LabelSource,
    theirs: LabelSource,
    spacing: tuple[float, float, float],
    progress: Progress,
    done: int,
    total: int,
) -> ObjectScore:
    from dataclasses import replace

    progress("surfaces", done, total)
    if row.predicted is None:
        return row
    distance = _distance(row, ours, theirs, spacing)
    return replace(row, hausdorff95_um=distance.hausdorff95_um, assd_um=distance.assd_um)


def _distance(
    row: ObjectScore, ours: LabelSource, theirs: LabelSource, spacing: tuple[float, float, float]
) -> SurfaceDistance:
    return distance_between(
        surface_points(lambda region: theirs.read(region) == row.id, row.bbox, theirs.shape),
        surface_points(lambda region: ours.read(region) == row.predicted, row.bbox, ours.shape),
        spacing,
    )


def _overall(
    counts: Contingency, pairs: overlap.Overlaps, rows: list[ObjectScore], wanted: frozenset[str]
) -> dict[str, float | int | None]:
    dice, iou = overlap.dice_and_iou(counts)
    scores: dict[str, float | int | None] = {
        "truth_objects": len(pairs.truth_sizes),
        "predicted_objects": len(pairs.predicted_sizes),
        "dice": dice,
        "iou": iou,
    }
    if "detection" in wanted:
        half = overlap.detect(pairs, 0.5)
        scores |= {
            "precision": half.precision,
            "recall": half.recall,
            "f1": half.f1,
            "ap50": half.average_precision,
            "ap75": overlap.detect(pairs, 0.75).average_precision,
            "mean_ap": overlap.mean_average_precision(pairs),
            "pq": half.panoptic_quality,
        }
    if "aji" in wanted:
        scores["aji"] = overlap.aggregated_jaccard(pairs)
    if "arand" in wanted:
        rand = overlap.adapted_rand(counts)
        scores |= {
            "arand": rand.error,
            "rand_precision": rand.precision,
            "rand_recall": rand.recall,
        }
    if "vi" in wanted:
        information = overlap.variation_of_information(counts)
        scores |= {
            "vi": information.total,
            "vi_split": information.split,
            "vi_merge": information.merge,
        }
    if "boundary" in wanted:
        scores |= _mean_surface(rows)
    return scores


def _per_class(
    counts: Contingency, rows: list[ObjectScore]
) -> dict[str, dict[str, float | int | None]]:
    """Scores of each class; predicted objects have no class of their own, so only truth's side is
    counted."""
    result: dict[str, dict[str, float | int | None]] = {}
    for kind in sorted({row.class_ for row in rows if row.class_ is not None}):
        members = [row for row in rows if row.class_ == kind]
        part = overlap.overlaps(counts.of_truth_ids(row.id for row in members))
        result[kind] = {
            "truth_objects": len(members),
            "mean_dice": _mean([row.dice for row in members]),
            "mean_iou": _mean([row.iou for row in members]),
            "recall": overlap.detect(part, 0.5).recall,
            **_mean_surface(members),
        }
    return result


def _mean_surface(rows: list[ObjectScore]) -> dict[str, float | int | None]:
    return {
        "hausdorff95_um": _mean(
            [row.hausdorff95_um for row in rows if row.hausdorff95_um is not None]
        ),
        "assd_um": _mean([row.assd_um for row in rows if row.assd_um is not None]),
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
