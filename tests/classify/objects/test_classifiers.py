"""Classifiers of objects: one interface, the same bytes twice, read back alike, and honest about how sure they are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from volseg.classify.objects import logistic, network, trees
from volseg.classify.objects.classifier import Family
from volseg.classify.objects.families import find_family
from volseg.classify.objects.folds import region_folds
from volseg.classify.objects.training import (
    Learned,
    Samples,
    calibration_error,
    learn,
    tempered,
)
from volseg.errors import InputError

NAMES = ("a", "b", "c")


def some_features(count: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that two of twenty features tell apart, one of them with gaps, one constant."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, count)
    values = rng.normal(size=(count, 20))
    values[:, 3] += 3.0 * classes
    values[:, 7] += 2.0 * (classes == 1)
    values[::5, 7] = np.nan
    values[:, 9] = 4.0
    return values.astype(np.float32), classes.astype(np.int64)


def some_patches(depth: int = 1, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    classes = np.arange(count) % 2
    patches = rng.normal(size=(count, 2, depth, 16, 16)).astype(np.float32)
    patches[classes == 1, 0, :, 6:10, 6:10] += 3
    patches[:, 1] = 1
    return patches, classes.astype(np.int64)


@pytest.mark.parametrize("family", [logistic.FAMILY, trees.FAMILY], ids=lambda one: one.name)
def test_features_with_gaps_tell_classes_apart(family: Family) -> None:
    values, classes = some_features()
    more, truth = some_features(seed=1)
    first = family.fit(values, classes, 3, {})
    again = family.load(family.fit(values, classes, 3, {}).files())
    assert first.files() == again.files()
    found = first.probabilities(more)
    np.testing.assert_array_equal(again.probabilities(more), found)
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found.argmax(1) == truth).mean() > 0.8


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("loss", ["cross-entropy", "binary", "squared"])
def test_a_network_learns_what_patches_show(depth: int, loss: str) -> None:
    patches, classes = some_patches(depth)
    settings = {"epochs": 12, "width": 4, "loss": loss, "seed": 3}
    first = network.fit(patches[:28], classes[:28], 2, settings)
    assert first.files() == network.fit(patches[:28], classes[:28], 2, settings).files()
    again = network.load(first.files())
    np.testing.assert_array_equal(
        again.probabilities(patches[28:]), first.probabilities(patches[28:])
    )
    assert (first.probabilities(patches[28:]).argmax(1) == classes[28:]).mean() >= 0.9


def test_a_network_of_another_architecture_and_optimiser() -> None:
    patches, classes = some_patches(count=8)
    given = {"architecture": "resnet18", "epochs": 1, "optimiser": "sgd", "augment": False}
    found = network.fit(patches, classes, 2, given).probabilities(patches)
    np.testing.assert_allclose(found.sum(1), 1)
    with pytest.raises(InputError, match="one slice"):
        network.fit(some_patches(4, 8)[0], classes, 2, given)
    with pytest.raises(InputError, match="--epochs"):
        network.fit(patches, classes, 2, {"epochs": 0})


def test_objects_are_parted_by_region_and_no_part_lacks_a_class() -> None:
    rng = np.random.default_rng(0)
    places, images = rng.random((60, 3)) * 100, np.zeros(60, np.int64)
    classes = rng.integers(0, 2, 60)
    folds, how = region_folds(images, places, classes)
    assert how == "region" and sorted(np.bincount(folds)) == [12] * 5
    for fold in range(5):  # neighbours are mostly in one part
        mine = places[folds == fold]
        assert np.ptp(mine, axis=0).prod() < 0.5 * np.ptp(places, axis=0).prod()
    far = (places[:, 0] > np.sort(places[:, 0])[-6]).astype(np.int64)
    folds, how = region_folds(images, places, far)
    for fold in np.unique(folds):
        assert set(far[folds != fold]) == {0, 1}
    folds, how = region_folds(np.arange(60) % 6, places, classes)
    assert how == "image"


def test_probabilities_are_calibrated_on_what_was_held_out() -> None:
    values, classes = some_features(300)
    values = values + np.random.default_rng(2).normal(size=values.shape).astype(np.float32)
    places = np.random.default_rng(3).random((300, 3))
    samples = Samples(values, classes, NAMES, np.zeros(300, np.int64), places)
    found = learn(samples)
    assert found.validation is not None and found.validation.calibration_error < 0.1
    assert found.files() == learn(samples).files()
    again = Learned.load(found.files())
    more, _ = some_features(300, seed=4)
    np.testing.assert_array_equal(again.probabilities(more), found.probabilities(more))
    sure = np.array([[0.999, 0.001]] * 50 + [[0.001, 0.999]] * 50)
    wrong = np.array([0] * 70 + [1] * 30)
    assert calibration_error(tempered(sure, 8.0), wrong) < calibration_error(sure, wrong)


def test_a_class_of_one_label_is_learned_but_not_validated() -> None:
    values, classes = some_features(12)
    classes[:] = 0
    classes[0] = 1
    samples = Samples(values, classes, NAMES[:2], classes * 0, np.zeros((12, 3)))
    assert learn(samples).validation is None
    with pytest.raises(InputError, match="at least two"):
        Samples(values, classes * 0, NAMES[:1], classes * 0, np.zeros((12, 3))).check()


def test_a_package_brings_its_own_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bright_package.py").write_text(
        "from volseg.classify.objects import logistic\n"
        "from volseg.classify.objects.classifier import Family\n"
        "BRIGHT = Family('bright', 'features', logistic.fit, logistic.load)\n"
    )
    info = tmp_path / "bright_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bright-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[volseg.classifiers]\nbright = bright_package:BRIGHT\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert find_family("bright").inputs == "features"
    monkeypatch.undo()
    with pytest.raises(InputError, match="bright"):
        find_family("bright")
