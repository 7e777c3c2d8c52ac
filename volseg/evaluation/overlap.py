"""Overlap metrics computed from contingency counts: Dice, IoU, AP, PQ, AJI, adapted Rand error,
variation of information.

Pure functions of `Contingency`; nothing here reads a volume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.evaluation.contingency import Contingency

AP_THRESHOLDS: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True)
class Overlaps:
    """Pairs of objects that share voxels, with their IoU and Dice.

    Attributes
    ----------
    truth, predicted : ndarray of uint64, shape (n,)
        Ids of the overlapping pairs.
    intersection, union : ndarray of int64, shape (n,)
        Voxels that both, or at least one of the two, hold.
    truth_sizes, predicted_sizes : dict of int to int
        Voxels per object, including objects without any overlap.
    """

    truth: NDArray[np.uint64]
    predicted: NDArray[np.uint64]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    truth_sizes: dict[int, int]
    predicted_sizes: dict[int, int]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair."""
        return self.intersection / self.union

    @property
    def dice(self) -> NDArray[np.float64]:
        """Dice coefficient of each pair."""
        return 2 * self.intersection / (self.union + self.intersection)


def overlaps(counts: Contingency) -> Overlaps:
    """List the overlapping pairs of objects."""
    both = counts.foreground()
    truth_sizes, predicted_sizes = counts.truth_sizes(), counts.predicted_sizes()
    size_t = np.array([truth_sizes[int(i)] for i in both.truth], np.int64)
    size_p = np.array([predicted_sizes[int(i)] for i in both.predicted], np.int64)
    union = size_t + size_p - both.counts
    return Overlaps(both.truth, both.predicted, both.counts, union, truth_sizes, predicted_sizes)


def check_match(how: str) -> None:
    """Raise InputError for a way of pairing that is none."""
    if how not in ("overlap", "id"):
        raise InputError(f"match={how!r}: expected 'overlap' or 'id'")


def match_objects(pairs: Overlaps, how: str = "overlap") -> dict[int, int]:
    """Assign to each truth object at most one predicted object, and the reverse.

    Parameters
    ----------
    pairs : Overlaps
    how : {"overlap", "id"}
        "overlap": the one-to-one assignment with the greatest sum of Dice (so the result does not
        depend on ids); "id": objects of one id belong together (prompted segmentation keeps ids).

    Returns
    -------
    dict of int to int
        Truth id → predicted id, for pairs that share at least one voxel ("id": that both exist).
    """
    check_match(how)
    if how == "id":
        return {i: i for i in pairs.truth_sizes if i in pairs.predicted_sizes}
    if pairs.truth.size == 0:
        return {}
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, row = np.unique(pairs.truth, return_inverse=True)
    columns, column = np.unique(pairs.predicted, return_inverse=True)
    # One private stand-in per truth object makes a full matching exist; it costs 2, a real pair 2 -
    # Dice.
    alone = np.arange(rows.size)
    weights = np.concatenate([2.0 - pairs.dice, np.full(rows.size, 2.0)])
    graph = coo_array(
        (weights, (np.concatenate([row, alone]), np.concatenate([column, columns.size + alone]))),
        shape=(rows.size, columns.size + rows.size),
    )
    left, right = min_weight_full_bipartite_matching(graph.tocsr())
    real = right < columns.size
    return {int(rows[i]): int(columns[j]) for i, j in zip(left[real], right[real], strict=True)}


def dice_and_iou(counts: Contingency) -> tuple[float, float]:
    """Dice and IoU of all objects together against background (1.0 where both are empty)."""
    inside = int(counts.foreground().counts.sum())
    truth = int(counts.counts[counts.truth != 0].sum())
    predicted = int(counts.counts[counts.predicted != 0].sum())
    union = truth + predicted - inside
    if union == 0:
        return 1.0, 1.0
    return 2 * inside / (truth + predicted), inside / union


@dataclass(frozen=True)
class Detection:
    """Objects found at one IoU threshold; a pair counts where its IoU is greater than the
    threshold."""

    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    sum_iou: float

    @property
    def precision(self) -> float:
        """Share of the predicted objects that are right (1.0 where nothing was predicted and
        nothing is there)."""
        return _share(
            self.true_positives, self.true_positives + self.false_positives, self.false_negatives
        )

    @property
    def recall(self) -> float:
        """Share of the truth objects that were found (1.0 where nothing is there and nothing was
        predicted)."""
        return _share(
            self.true_positives, self.true_positives + self.false_negatives, self.false_positives
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else 1.0

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN), the score of the 2018 Data Science Bowl (Caicedo et al. 2019)."""
        total = self.true_positives + self.false_positives + self.false_negatives
        return self.true_positives / total if total else 1.0

    @property
    def panoptic_quality(self) -> float:
        """Sum of IoU over TP + FP/2 + FN/2 (Kirillov et al. 2019)."""
        total = self.true_positives + (self.false_positives + self.false_negatives) / 2
        return self.sum_iou / total if total else 1.0


def detect(pairs: Overlaps, threshold: float = 0.5) -> Detection:
    """Count found, invented and missed objects at an IoU threshold.

    Parameters
    ----------
    threshold : float
        At least 0.5, so that at most one partner of each object passes and no assignment has to be
        chosen.
    """
    if threshold < 0.5:
        raise InputError(
            f"IoU threshold {threshold}: below 0.5 the pairing of objects is not unique"
        )
    iou = pairs.iou
    hit = iou > threshold
    found = int(hit.sum())
    return Detection(
        threshold,
        found,
        len(pairs.predicted_sizes) - found,
        len(pairs.truth_sizes) - found,
        float(iou[hit].sum()),
    )


def mean_average_precision(pairs: Overlaps, thresholds: Sequence[float] = AP_THRESHOLDS) -> float:
    """AP averaged over IoU thresholds 0.5, 0.55, … 0.95 (mSA)."""
    return float(np.mean([detect(pairs, t).average_precision for t in thresholds]))


def aggregated_jaccard(pairs: Overlaps) -> float:
    """Aggregated Jaccard index (Kumar et al. 2017): 1.0 where both are empty.

    Each truth object takes the predicted object of greatest IoU; unions add up; predicted objects
    that nobody took add their voxels to the union. Ties go to the larger overlap, then the lower
    id.
    """
    best: dict[int, int] = {}
    order = np.lexsort((pairs.predicted, -pairs.intersection, -pairs.iou, pairs.truth))
    for at in order:
        best.setdefault(int(pairs.truth[at]), int(at))
    inside, union, used = 0, 0, set()
    for truth, size in pairs.truth_sizes.items():
        at = best.get(truth)
        if at is None:
            union += size
            continue
        inside += int(pairs.intersection[at])
        union += int(pairs.union[at])
        used.add(int(pairs.predicted[at]))
    union += sum(size for i, size in pairs.predicted_sizes.items() if i not in used)
    return inside / union if union else 1.0


@dataclass(frozen=True)
class RandScores:
    """Adapted Rand error with its precision and recall (Arganda-Carreras et al. 2015)."""

    error: float
    precision: float
    recall: float


def adapted_rand(counts: Contingency) -> RandScores:
    """Adapted Rand error over the voxels of truth objects (as in the SNEMI3D and CREMI challenges).

    Voxels that are background in truth are left out, as `skimage.metrics.adapted_rand_error` does
    by default; predicted background inside a truth object counts as one more segment. 0 is perfect.
    """
    part = counts.without_truth_background()
    if part.voxels == 0:
        return RandScores(0.0, 1.0, 1.0)
    pairs = _sum_of_squares(part.counts) - part.voxels
    truth = _sum_of_squares(_grouped(part.truth, part.counts)) - part.voxels
    predicted = _sum_of_squares(_grouped(part.predicted, part.counts)) - part.voxels
    precision = pairs / predicted if predicted else 1.0
    recall = pairs / truth if truth else 1.0
    total = precision + recall
    return RandScores(1.0 - (2 * precision * recall / total if total else 0.0), precision, recall)


@dataclass(frozen=True)
class Information:
    """Variation of information in bits (Meilă 2007): `split` is H(predicted | truth), `merge`
    H(truth | predicted)."""

    split: float
    merge: float

    @property
    def total(self) -> float:
        """Split plus merge; 0 is perfect."""
        return self.split + self.merge


def variation_of_information(counts: Contingency, *, truth_background: bool = False) -> Information:
    """Variation of information, over the voxels of truth objects unless `truth_background`."""
    part = counts if truth_background else counts.without_truth_background()
    if part.voxels == 0:
        return Information(0.0, 0.0)
    joint = _entropy(part.counts)
    truth = _entropy(_grouped(part.truth, part.counts))
    predicted = _entropy(_grouped(part.predicted, part.counts))
    return Information(max(0.0, joint - truth), max(0.0, joint - predicted))


def _share(part: int, whole: int, other_errors: int) -> float:
    if whole:
        return part / whole
    return 0.0 if other_errors else 1.0


def _grouped(ids: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    values, where = np.unique(ids, return_inverse=True)
    total = np.zeros(values.size, np.int64)
    np.add.at(total, where, counts)
    return total


def _sum_of_squares(counts: NDArray[np.int64]) -> float:
    return math.fsum((counts.astype(np.float64) ** 2).tolist())


def _entropy(counts: NDArray[np.int64]) -> float:
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())
