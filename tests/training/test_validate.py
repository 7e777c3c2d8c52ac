"""Validation counts every object once, shows it whole, and measures through an unmodified predictor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from volseg.errors import InputError, NotThereError
from volseg.sam import nano, nano_versions
from volseg.training import nano as recipe
from volseg.training.cases import Case, CaseTile, otsu_component, tiles
from volseg.training.export import export
from volseg.training.loop import Schedule
from volseg.training.validate import by_size, from_checkpoint, iou, measure, table


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
    np.testing.assert_array_equal(otsu_component(image, (150.0, 40.0)), labels == 2)
    np.testing.assert_array_equal(otsu_component(image, (100.0, 100.0)), labels == 0)


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


def test_an_exported_run_is_what_was_averaged(tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "package"
    run.mkdir()
    with pytest.raises(NotThereError, match="checkpoint"):
        export(run, folder)
    state = recipe.start(Schedule(steps=1), 3, "cpu")
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
        export(tmp_path, nano_versions.version_folder(1))
