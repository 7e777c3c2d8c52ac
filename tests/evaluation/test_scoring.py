"""`evaluate`: reports as a value, as JSON and text; classes, spacing, refusals, the plain baseline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.filters import threshold_otsu

from volseg.errors import InputError
from volseg.evaluation import evaluate, otsu_component, otsu_dice, otsu_threshold


def two_cubes() -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((8, 20, 20), np.uint16)
    truth[2:6, 2:8, 2:8], truth[2:6, 12:18, 12:18] = 3, 9
    found = np.zeros_like(truth)
    found[2:6, 2:8, 5:11], found[2:6, 12:18, 12:18] = 40, 41
    return truth, found


def test_a_report_of_two_objects() -> None:
    truth, found = two_cubes()
    report = evaluate(found, truth, spacing_um=(2, 1, 1), classes={3: "nucleus", 9: "cell"})
    assert report.mean_dice == pytest.approx(0.75)
    assert [(row.id, row.predicted, row.dice) for row in report.objects] == [
        (3, 40, 0.5),
        (9, 41, 1.0),
    ]
    assert report.objects[0].bbox == ((2, 6), (2, 8), (2, 11))
    assert report.objects[0].hausdorff95_um == pytest.approx(3.0)
    assert report.classes["nucleus"]["mean_dice"] == 0.5
    assert report.classes["cell"]["recall"] == 1.0
    assert "worst objects: 3 (0.500)" in report.to_text()


def test_json_has_no_nan_and_the_mean() -> None:
    truth, _ = two_cubes()
    report = evaluate(np.zeros_like(truth), truth, spacing_um=(1, 1, 1))
    facts = json.loads(
        report.to_json(), parse_constant=lambda text: pytest.fail(f"JSON holds {text}")
    )
    assert facts["mean_dice"] == 0.0
    assert facts["objects"][0]["predicted"] is None
    assert facts["overall"]["hausdorff95_um"] is None


def test_no_truth_object_means_no_mean() -> None:
    assert evaluate(np.ones((2, 3, 3), int), np.zeros((2, 3, 3), int)).mean_dice is None


def test_2d_labels_are_one_slice() -> None:
    labels = np.arange(12).reshape(3, 4)
    assert evaluate(labels, labels).mean_dice == 1.0


def test_match_by_id_does_not_look_for_a_better_one() -> None:
    truth, found = two_cubes()
    assert evaluate(found, truth, match="id").mean_dice == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["dise"]}, "unknown metric 'dise'"),
        ({"metrics": ["boundary"]}, "spacing_um"),
        ({"match": "luck"}, "match='luck'"),
    ],
)
def test_wrong_use_is_told(options: dict, message: str) -> None:
    truth, found = two_cubes()
    with pytest.raises(InputError, match=message):
        evaluate(found, truth, **options)


def test_different_shapes_are_told() -> None:
    with pytest.raises(InputError, match=r"\(2, 3, 3\).*\(2, 3, 4\)"):
        evaluate(np.zeros((2, 3, 3), int), np.zeros((2, 3, 4), int))


def test_otsu_agrees_with_scikit_image() -> None:
    rng = np.random.default_rng(1)
    image = np.concatenate([rng.normal(40, 9, 4000), rng.normal(120, 20, 1500)])
    image = np.clip(image, 0, 255).astype(np.uint8)
    assert abs(otsu_threshold(image) - threshold_otsu(image)) <= 1


def test_component_under_a_point() -> None:
    image = np.zeros((3, 10, 10), np.uint8)
    image[:, 1:4, 1:4], image[:, 6:9, 6:9] = 200, 220
    inside, outside = otsu_component(image, [(1, 2, 2), (1, 5, 5)])
    assert inside.sum() == 27
    assert not outside.any()
    truth = (image == 200).astype(int) + 2 * (image == 220)
    assert otsu_dice(image, truth, {1: (1, 2, 2), 2: (0, 0, 0)}) == {1: 1.0, 2: 0.0}
    with pytest.raises(InputError, match="outside"):
        otsu_component(image, [(3, 0, 0)])


def test_the_baseline_on_real_nuclei(shared_data: Path) -> None:
    """Touching nuclei run together: the figure that segmentation is to be better than."""
    folder = shared_data / "nuclei_ovule_1136"
    raw, truth = tifffile.imread(folder / "raw.tif"), tifffile.imread(folder / "labels.tif")
    points = {}
    for one in np.unique(truth[truth != 0]):
        zs = np.flatnonzero((truth == one).any((1, 2)))
        z = zs[len(zs) // 2]
        where = np.argwhere(truth[z] == one)
        y, x = where[np.argmin(((where - where.mean(0)) ** 2).sum(1))]
        points[int(one)] = (z, y, x)
    dice = otsu_dice(raw, truth, points)
    assert 0.1 < np.mean(list(dice.values())) < 0.3
