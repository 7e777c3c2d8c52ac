"""Overlap metrics: closed forms, reference implementations, and what must never matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import adapted_rand_error
from skimage.metrics import variation_of_information as reference_vi

from volseg.errors import InputError
from volseg.evaluation import evaluate
from volseg.evaluation.contingency import Contingency
from volseg.evaluation.overlap import (
    adapted_rand,
    aggregated_jaccard,
    detect,
    dice_and_iou,
    match_objects,
    mean_average_precision,
    overlaps,
    variation_of_information,
)

label_pairs = st.integers(1, 5).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.uint32, (3, 7, 8), elements=st.integers(0, n)),
        hnp.arrays(np.uint32, (3, 7, 8), elements=st.integers(0, n)),
    )
)


def row(*runs: tuple[int, int]) -> np.ndarray:
    """One line of labels from (id, length) runs."""
    return np.concatenate([np.full(n, i, np.uint32) for i, n in runs])


def test_counts_of_a_small_case() -> None:
    counts = Contingency.of(row((0, 2), (1, 4), (2, 4)), row((0, 3), (1, 3), (0, 1), (5, 3)))
    assert list(zip(counts.truth, counts.predicted, counts.counts, strict=True)) == [
        (0, 0, 2),
        (1, 0, 1),
        (1, 1, 3),
        (2, 0, 1),
        (2, 5, 3),
    ]


def test_dice_and_iou_of_a_shifted_object() -> None:
    counts = Contingency.of(row((1, 10), (0, 5)), row((0, 5), (1, 10)))
    assert dice_and_iou(counts) == (0.5, 5 / 15)


def test_detection_scores_in_closed_form() -> None:
    # Object 1: IoU 8/10, object 2: IoU 4/10 (missed), one invented object.
    truth = row((1, 9), (0, 1), (2, 7), (0, 3), (0, 5))
    found = row((0, 1), (1, 9), (0, 3), (2, 7), (0, 2), (3, 3))
    pairs = overlaps(Contingency.of(truth, found))
    half = detect(pairs, 0.5)
    assert (half.true_positives, half.false_positives, half.false_negatives) == (1, 2, 1)
    assert half.precision == pytest.approx(1 / 3)
    assert half.recall == pytest.approx(1 / 2)
    assert half.f1 == pytest.approx(2 / 5)
    assert half.average_precision == pytest.approx(1 / 4)
    assert half.panoptic_quality == pytest.approx(0.8 / 2.5)
    # 0.5 … 0.75 find it, 0.8 and above don't (the IoU must be greater).
    assert mean_average_precision(pairs) == pytest.approx(6 / 10 * 1 / 4)


def test_aggregated_jaccard_in_closed_form() -> None:
    truth = row((1, 10), (2, 10), (3, 10))
    found = row((1, 8), (7, 12), (0, 10))
    # 1 takes 1 (8/10), 2 takes 7 (10/12), 3 finds nothing (10 more in the union).
    assert aggregated_jaccard(overlaps(Contingency.of(truth, found))) == pytest.approx(18 / 32)


def test_information_of_a_split_and_of_a_merge() -> None:
    whole, halves = row((1, 8)), row((1, 4), (2, 4))
    split = variation_of_information(Contingency.of(whole, halves))
    merge = variation_of_information(Contingency.of(halves, whole))
    assert (split.split, split.merge) == (1.0, 0.0)
    assert (merge.split, merge.merge) == (0.0, 1.0)


def test_nothing_anywhere_is_perfect() -> None:
    counts = Contingency.of(np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int))
    pairs = overlaps(counts)
    assert dice_and_iou(counts) == (1.0, 1.0)
    assert detect(pairs).f1 == detect(pairs).panoptic_quality == aggregated_jaccard(pairs) == 1.0
    assert adapted_rand(counts).error == variation_of_information(counts).total == 0.0


def test_invented_objects_cost_precision() -> None:
    half = detect(overlaps(Contingency.of(row((0, 9)), row((4, 9)))))
    assert (half.precision, half.recall, half.f1) == (0.0, 0.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(label_pairs)
def test_rand_and_information_agree_with_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, found = pair
    counts = Contingency.of(truth, found)
    split, merge = reference_vi(truth, found)
    ours = variation_of_information(counts, truth_background=True)
    assert ours.split == pytest.approx(split, abs=1e-9)
    assert ours.merge == pytest.approx(merge, abs=1e-9)
    inside = truth != 0
    if inside.sum() < 2:
        return
    with np.errstate(all="ignore"):
        error, recall, precision = adapted_rand_error(truth, found)
    ours_rand = adapted_rand(counts)
    ours_and_theirs = (
        (ours_rand.error, error),
        (ours_rand.precision, precision),
        (ours_rand.recall, recall),
    )
    for ours_value, theirs in ours_and_theirs:
        if not math.isnan(theirs):  # 0 / 0 there: a side without a pair of voxels
            assert ours_value == pytest.approx(theirs, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(label_pairs, st.permutations(range(1, 6)))
def test_names_of_objects_never_matter(
    pair: tuple[np.ndarray, np.ndarray], order: list[int]
) -> None:
    truth, found = pair
    renamed = np.array([0, *order], np.uint32)[found] * np.uint32(1000)
    first, second = evaluate(found, truth), evaluate(renamed, truth)
    assert second.overall == pytest.approx(first.overall)
    # With ties the partner may be another one, but the sum of Dice is the greatest either way.
    assert second.mean_dice == pytest.approx(first.mean_dice)


@settings(max_examples=40, deadline=None)
@given(label_pairs, st.integers(1, 200))
def test_blockwise_equals_whole(pair: tuple[np.ndarray, np.ndarray], voxels: int) -> None:
    truth, found = pair
    options = {"spacing_um": (2.0, 1.0, 0.5)}
    assert evaluate(found, truth, block_voxels=voxels, **options) == evaluate(
        found, truth, **options
    )


def test_matching_takes_the_best_sum_not_the_first() -> None:
    # Greedily 1 would take 7 (Dice .67) and leave 2 with nothing.
    truth = row((1, 6), (2, 6))
    found = row((8, 2), (7, 4), (7, 4), (0, 2))
    pairs = overlaps(Contingency.of(truth, found))
    assert match_objects(pairs) == {1: 8, 2: 7}
    assert match_objects(pairs, "id") == {}


@pytest.mark.parametrize("labels", [np.zeros(3, float), np.array([-1, 2, 3]), np.zeros(3, complex)])
def test_what_is_no_label_is_refused(labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="ids"):
        Contingency.of(labels, np.zeros(3, int))
