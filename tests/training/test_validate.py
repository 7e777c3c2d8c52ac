"""Validation counts every object once, shows it whole, and measures through an unmodified predictor."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from volseg.errors import InputError, NotThereError
from volseg.geometry import evenly
from volseg.models import nano
from volseg.models.nano import versions
from volseg.training import nano as recipe
from volseg.training.cases import Case, CaseTile, kinds, otsu_component, otsu_sides, tiles
from volseg.training.checkpoints import from_checkpoint
from volseg.training.corrections import after_clicks, deepest_error, loose_box
from volseg.training.export import export
from volseg.training.loop import Schedule
from volseg.training.nano_recipes import recipe_named
from volseg.training.scores import Scores, by_size, iou, lowest_rank, mean_row, measure, table
from volseg.training.validate import main, validate, validate_folds


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Discs of one id each, one object in two parts, one too small to count."""
    y, x = np.mgrid[:height, :width]
    labels = np.zeros((height, width), np.int32)
    for index, (row, column) in enumerate([(40, 40), (40, 150), (150, 60)], start=1):
        labels[(y - row) ** 2 + (x - column) ** 2 < 15**2] = index
    labels[(y - 150) ** 2 + (x - 150) ** 2 < 12**2] = 1
    labels[5:7, 5:7] = 8
    return np.where(labels > 0, 180, 30).astype(np.uint8), labels


@pytest.mark.parametrize("size", [(200, 200), (400, 520)])
def test_each_component_is_one_case_and_whole(size: tuple[int, int]) -> None:
    pixels, labels = scene(*size)
    found = [
        (tile, case) for tile in tiles(pixels, labels, smallest=30, most=99) for case in tile.cases
    ]
    assert len(found) == 4
    assert sum(int(case.mask.sum()) for _, case in found) == int((labels > 0).sum()) - 4
    for tile, case in found:
        assert tile.image.shape[:2] == case.mask.shape
        assert max(case.mask.shape) <= 256
        x, y = case.point
        assert case.mask[int(y), int(x)]
        x0, y0, x1, y1 = (int(edge) for edge in case.box)
        assert case.mask[y0:y1, x0:x1].sum() == case.mask.sum()


def test_an_object_larger_than_a_tile_is_shown_on_the_whole_slice() -> None:
    labels = np.zeros((400, 500), np.int32)
    labels[20:380, 30:470] = 1
    (tile,) = tiles((labels * 100).astype(np.uint8), labels, smallest=30, most=9)
    assert tile.image.shape == (400, 500, 3)
    assert tile.cases[0].mask.sum() == labels.sum()


def test_background_places_lie_well_outside() -> None:
    pixels, labels = scene(200, 200)
    (tile,) = tiles(pixels, labels, smallest=30, most=99)
    assert len(tile.background) == 3
    for x, y in tile.background.astype(int):
        assert not labels[y - 4 : y + 5, x - 4 : x + 5].any()


def test_otsus_component_is_the_disc_or_the_background() -> None:
    pixels, labels = scene(200, 200)
    image = np.repeat(pixels[..., None], 3, -1)
    sides = otsu_sides(image)
    np.testing.assert_array_equal(otsu_component(sides, (150.0, 40.0)), labels == 2)
    np.testing.assert_array_equal(otsu_component(sides, (100.0, 100.0)), labels == 0)
    assert otsu_component(otsu_sides(np.full((9, 9, 3), 7, np.uint8)), (4.0, 4.0)).all()


def test_iou_counts_pixels() -> None:
    truth = np.zeros((8, 8), bool)
    truth[:4] = True
    masks = np.stack([truth, ~truth, np.ones_like(truth)])
    np.testing.assert_allclose(iou(masks, truth), [1, 0, 0.5])


def test_every_object_gets_every_score() -> None:
    torch.manual_seed(0)
    predictor = SamPredictor(nano.build().eval().requires_grad_(False))
    mask = np.zeros((90, 120), bool)
    mask[20:60, 30:80] = True
    image = np.repeat(np.where(mask, 200, 40).astype(np.uint8)[..., None], 3, -1)
    case = Case(mask, (55.0, 40.0), (30.0, 20.0, 80.0, 60.0))
    tile = CaseTile(image, [case, case], np.array([[5, 5]], np.float32))
    scores = measure(predictor, [tile])
    for name in ("pick", "best", "box", "otsu", "estimate"):
        assert len(getattr(scores, name)) == 2
    assert scores.pick[0] == pytest.approx(scores.pick[1], abs=1e-3)
    assert scores.best[0] >= scores.pick[0]
    assert scores.otsu == [1.0, 1.0]
    assert len(scores.background) == 1
    assert scores.diameter == pytest.approx([2 * (2000 / np.pi) ** 0.5 * 256 / 120] * 2)
    assert by_size([scores, scores])["64 to 128 px"]["objects"] == 4
    text = table({"squares": scores.row()})
    assert text.count("\n") == 2
    assert "| squares | 2 |" in text


def squares(count: int) -> CaseTile:
    """A tile of as many bright squares, each an object."""
    image = np.full((120, 160, 3), 30, np.uint8)
    cases = []
    for number in range(count):
        left = 10 + 36 * number
        mask = np.zeros((120, 160), bool)
        mask[40:70, left : left + 24] = True
        image[mask] = 200
        box = (float(left), 40.0, float(left + 24), 70.0)
        cases.append(Case(mask, (left + 12.0, 55.0), box))
    return CaseTile(image, cases, np.zeros((0, 2), np.float32))


def test_every_kind_counts_alike_in_the_mean() -> None:
    many, few, none = ({"objects": n, "pick": p, "box": math.nan} for n, p in
                       ((900, 0.9), (3, 0.5), (1, math.nan)))  # fmt: skip
    mean = mean_row([many, few, none])
    assert mean["objects"] == 904
    assert mean["pick"] == 0.7
    assert math.isnan(mean["box"])
    with pytest.raises(InputError, match="no kind"):
        mean_row([])


def test_only_kinds_of_fifty_objects_tell_the_lowest_rank() -> None:
    rising = list(np.linspace(0, 1, 60))
    good = Scores(pick=rising, estimate=rising)
    bad = Scores(pick=rising, estimate=rising[::-1])
    few = Scores(pick=rising[:20], estimate=rising[:20][::-1])
    constant = Scores(pick=rising, estimate=[0.5] * 60)
    found = lowest_rank({"good": good, "few": few, "constant": constant, "bad": bad})
    assert found == ("bad", pytest.approx(-1))
    assert lowest_rank({"few": few}) is None


def test_choosing_evenly_keeps_order_and_ends() -> None:
    assert evenly(range(5), 9) == [0, 1, 2, 3, 4]
    assert evenly(range(5), 1) == [2]
    assert evenly([], 3) == []
    chosen = evenly(range(100), 7)
    assert len(set(chosen)) == 7
    assert chosen == sorted(chosen)
    assert (chosen[0], chosen[-1]) == (0, 99)


def test_corrections_click_the_middle_of_the_largest_error() -> None:
    truth = np.zeros((60, 60), bool)
    truth[10:41, 10:41] = True
    predicted = np.zeros_like(truth)
    predicted[10:41, 32:41] = True
    predicted[50:53, 5:8] = True
    assert deepest_error(predicted, truth) == ((20.0, 20.0), 1)
    assert deepest_error(np.ones_like(truth), truth)[1] == 0
    assert deepest_error(truth, truth) == ((25.0, 25.0), 1)
    assert deepest_error(~truth, truth)[0] != (25.0, 25.0)


def test_boxes_get_looser_by_parts_of_the_extent_and_end_at_the_image() -> None:
    (case,) = squares(1).cases
    np.testing.assert_allclose(loose_box(case, 0), case.box)
    np.testing.assert_allclose(loose_box(case, 0.3), [2.8, 31, 41.2, 79])
    assert loose_box(case, 9.0).tolist() == [0, 0, 160, 120]


def test_clicks_are_placed_on_what_the_model_gets_wrong() -> None:
    torch.manual_seed(0)
    predictor = SamPredictor(nano.build().eval().requires_grad_(False))
    tile = squares(3)
    predictor.set_image(tile.image)
    overlaps = after_clicks(predictor, tile.cases)
    assert list(overlaps) == [1, 2, 3, 5, 9]
    assert all(one.shape == (3,) for one in overlaps.values())
    again = measure(predictor, [tile])
    np.testing.assert_allclose(overlaps[1], again.pick, atol=1e-3)


def test_the_kinds_are_the_sets_that_validate(shared_data: Path) -> None:
    found = kinds(shared_data)
    assert "plant_maize" not in found
    assert "nuclei_ovule_1135" not in found
    assert len(found) == 22
    first, again = (next(kinds(shared_data)["phase_bacteria"]) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    assert len(first.cases) == len(again.cases)
    assert set(kinds(shared_data, fold="photographs")) == {"photo_gravel", "photo_concrete"}
    with pytest.raises(InputError, match="photographs"):
        kinds(shared_data, fold="photos")


def test_folds_measure_trainings_on_what_they_left_out(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="FAMILY"):
        validate_folds(tmp_path, shared_data)
    data = tmp_path / "data"
    for name in ("phase_bacteria", "phase_usiigaci"):
        (data / name).mkdir(parents=True)
    for name in ("18", "16"):  # one that validates, one between
        for ending in (".tif", ".labels.tif"):
            file = shared_data / "phase_bacteria" / f"{name}{ending}"
            shutil.copy(file, data / "phase_bacteria" / file.name)
            shutil.copy(file, data / "phase_usiigaci" / f"37{ending}")
    shutil.copy(shared_data / "split.json", data / "split.json")
    folds = tmp_path / "folds"
    (folds / "phase").mkdir(parents=True)
    recipe.start(Schedule(steps=1), recipe_named("nano@1"), "cpu")[0].save(
        folds / "phase" / "checkpoint.pt"
    )
    rows = validate_folds(folds, data)
    assert list(rows) == [
        "phase: phase_usiigaci",
        "phase: phase_bacteria",
        "phase, mean",
        "mean over kinds left out, 1 of 5 folds",
    ]
    assert rows["phase: phase_bacteria"]["objects"] == 16


def test_validation_of_one_kind_prints_its_row_and_the_mean(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    line = ["--data", str(shared_data), "--only", "ct_aorta", "--clicks", "--json", str(file)]
    assert main(line) == 0
    text = capsys.readouterr().out
    assert "| ct_aorta | 4 |" in text
    assert "| mean over kinds | 4 |" in text
    assert "box 30% too loose" in text
    found = json.loads(file.read_text())
    assert found["lowest_spearman"] is None
    assert found["clicks"]["ct_aorta"]["loose_0"] == found["kinds"]["ct_aorta"]["box"]
    assert found["clicks"]["ct_aorta"]["clicks_1"] == found["kinds"]["ct_aorta"]["pick"]
    with pytest.raises(InputError, match="ct_aorta"):
        validate(nano.load(), shared_data, ["ct_aortas"])
    with pytest.raises(SystemExit):
        main(["--folds-only"])


def test_an_exported_run_is_what_was_averaged(tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "package"
    run.mkdir()
    with pytest.raises(NotThereError, match="checkpoint"):
        export(run, folder)
    state = recipe.start(Schedule(steps=1), recipe_named("nano@1"), "cpu")[0]
    state.curve.append({"step": 1, "loss": 2.0})
    state.save(run / "checkpoint.pt")
    (run / "training.json").write_text(json.dumps({"seed": 3, "sittings": []}))
    record = export(run, folder)
    assert record["seed"] == 3
    assert record["curve"] == state.curve
    assert record["weights_sha256"] == json.loads((folder / "weights.json").read_text())["sha256"]
    loaded, averaged = nano.load(folder=folder), from_checkpoint(run / "checkpoint.pt")
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, averaged.state_dict()[name].half().float())


def test_a_version_that_ships_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="never change"):
        export(tmp_path, versions.version_folder(1))
