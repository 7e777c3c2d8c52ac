"""Scores of the dense model are those of a perfect one where its maps are perfect, and settings are chosen by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from volseg.predict.dense_objects import WatershedSettings
from volseg.predict.dense_truth import Blemishes, TruthDenseModel
from volseg.training import synthetic
from volseg.training.dense_validate import (
    choose_settings,
    iou,
    msa,
    pictures,
    score_pictures,
    timing,
)
from volseg.training.split import read_split


class NoEncoder:
    """Embeddings of zeros, for models that look at places alone."""

    def encode(self, images: np.ndarray) -> np.ndarray:
        return np.zeros(len(images), [("image", "<f2", (128, 32, 32))])


def nuclei() -> np.ndarray:
    """Labels (y, x) of procedural nuclei of about 30 pixels."""
    labels, _ = synthetic.scatter_blobs(default_rng(4), (200, 256), 15.0, 60)
    return labels


def test_the_score_of_separate_objects() -> None:
    truth = np.zeros((40, 40), np.int32)
    truth[5:15, 5:15], truth[20:30, 20:30] = 1, 2
    assert msa(truth, truth) == 1
    assert msa(np.zeros_like(truth), truth) == 0
    assert msa(np.zeros_like(truth), np.zeros_like(truth)) == 1
    half = np.where(truth == 1, 1, 0).astype(np.int32)
    assert msa(half, truth) == pytest.approx(0.5)
    shifted = np.roll(truth, 1, 0)  # IoU 9 / 11: seven of ten thresholds
    assert msa(shifted, truth) == pytest.approx(0.7)
    assert iou(truth > 0, half > 0) == 0.5
    assert iou(truth > 9, truth > 9) == 1


def test_good_maps_score_well_and_bad_ones_do_not() -> None:
    labels = nuclei()
    shown = [(np.zeros(labels.shape, np.uint8), labels)]
    scores = []
    for noise in (0.02, 0.6):
        model = TruthDenseModel.of_array(labels[None], Blemishes(blur=0.5, noise=noise))
        scores.append(score_pictures(model, NoEncoder(), shown, WatershedSettings()))
    assert scores[0]["pictures"] == 1
    assert scores[0]["foreground IoU"] > 0.9
    assert scores[0]["mSA"] > 0.6 > scores[1]["mSA"] + 0.2
    assert scores[0]["AP at .5"] > scores[0]["mSA"]


def test_the_best_settings_are_chosen() -> None:
    labels = nuclei()
    model = TruthDenseModel.of_array(labels[None], Blemishes(blur=0.5, noise=0.02))
    shown = [(np.zeros(labels.shape, np.uint8), labels)]
    good, bad = WatershedSettings(), WatershedSettings(prominence=0.9)
    chosen, score = choose_settings(model, NoEncoder(), shown, [bad, good])
    assert chosen == good
    assert score > 0.5


def test_pictures_keep_to_their_half(shared_data: Path) -> None:
    split = read_split(shared_data)
    assert split.half("nuclei_dsb2018", "no such picture") in ("train", "validate")
    pixels, labels = next(pictures(shared_data, "validate"))
    assert pixels.shape[:2] == labels.shape
    assert pixels.dtype == np.uint8
    trains = [labels.tobytes() for _, labels in pictures(shared_data, "train", 40)]
    validates = [labels.tobytes() for _, labels in pictures(shared_data, "validate", 10)]
    assert trains
    assert validates
    assert not set(trains) & set(validates)


def test_time_is_measured_for_a_tile_and_its_next_slice() -> None:
    from volseg.models.nano.dense import NanoDenseModel, Parent
    from volseg.models.nano.dense_network import DenseNetwork

    found = timing(NanoDenseModel(DenseNetwork(), "s", Parent("nano@1", "p")), repeats=2)
    assert 0 < found["tile ms"] < 2000
    assert found["next slice ms"] > 0
