"""Class numbers against truth: IoU per class, confusion, and what 0 means."""

from __future__ import annotations

import numpy as np
import pytest

from volseg.errors import InputError
from volseg.evaluation import evaluate_semantic

TRUTH = np.array([[[0, 1, 1, 2], [0, 1, 2, 2]]])
FOUND = np.array([[[1, 1, 2, 2], [0, 1, 2, 3]]])


def test_scores_of_counted_voxels() -> None:
    report = evaluate_semantic(FOUND, TRUTH)
    assert [(one.number, one.iou) for one in report.classes] == [(1, 2 / 4), (2, 2 / 4), (3, 0.0)]
    assert report.mean_iou == pytest.approx(1 / 3)
    assert report.numbers == (0, 1, 2, 3)
    assert report.confusion == ((1, 1, 0, 0), (0, 2, 1, 0), (0, 0, 2, 1), (0, 0, 0, 0))
    assert report.accuracy == 5 / 8 and report.ignored == 0


def test_blocks_add_up_and_dice_is_as_scikit_learn_says() -> None:
    from sklearn.metrics import f1_score, jaccard_score

    rng = np.random.default_rng(0)
    truth, found = rng.integers(1, 5, (2, 6, 30, 40))
    report = evaluate_semantic(found, truth, block_voxels=500)
    wanted = jaccard_score(truth.ravel(), found.ravel(), average=None)
    np.testing.assert_allclose([one.iou for one in report.classes], wanted)
    dice = f1_score(truth.ravel(), found.ravel(), average=None)
    np.testing.assert_allclose([one.dice for one in report.classes], dice)


def test_partial_truth_leaves_out_what_nobody_labelled() -> None:
    report = evaluate_semantic(FOUND, TRUTH, partial=True)
    assert report.ignored == 2 and [one.iou for one in report.classes] == [2 / 3, 2 / 4, 0.0]
    flipped = np.where(TRUTH == 0, (FOUND + 1) % 4, FOUND)
    again = evaluate_semantic(flipped, TRUTH, partial=True)
    assert again.confusion == report.confusion


def test_ids_of_objects_and_other_grids_are_refused() -> None:
    with pytest.raises(InputError, match="ids of objects"):
        evaluate_semantic(np.arange(600).reshape(1, 20, 30), np.zeros((1, 20, 30), int))
    with pytest.raises(InputError, match="one grid"):
        evaluate_semantic(np.zeros((1, 2, 3), int), np.zeros((1, 2, 4), int))
