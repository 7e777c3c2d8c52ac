"""COCO as pycocotools reads and scores it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.exporting.conftest import make_odd
from volseg.errors import InputError
from volseg.exporting import export
from volseg.images.labels import Labels, open_labels


def read(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_perfect_detections_score_one(odd: Labels, tmp_path: Path, kind: str) -> None:
    export([odd, open_labels(odd.volume(), "holes")], tmp_path / "c.coco.json")
    truth = read(tmp_path / "c.coco.json")
    kept = ("image_id", "category_id", "segmentation", "bbox")
    found = [
        {key: one[key] for key in kept} | {"score": 0.9} for one in truth.dataset["annotations"]
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        score = COCOeval(truth, truth.loadRes(found), kind)
        score.evaluate()
        score.accumulate()
        score.summarize()
    assert score.stats[0] == pytest.approx(1.0)


def test_masks_and_the_images_that_it_names(odd: Labels, tmp_path: Path) -> None:
    region = {"z": (1, 4), "y": (1, 39), "x": (3, 50)}
    export(odd, tmp_path / "c.coco.json", **region)
    coco = read(tmp_path / "c.coco.json")
    part = tuple(slice(*one) for one in region.values())
    ids, image = make_odd()[part], odd.volume().read(tuple(region.values()))
    found = np.zeros_like(ids)
    for one in coco.dataset["annotations"]:
        assert one["iscrowd"] == 0
        mask = coco.annToMask(one).astype(bool)
        found[one["image_id"] - 1][mask] = one["object_id"]
        rows, columns = np.nonzero(mask)
        x, y, width, height = one["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1) and one[
            "area"
        ] == mask.sum()
    np.testing.assert_array_equal(found, ids)
    for one in coco.dataset["images"]:
        pixels = np.asarray(Image.open(tmp_path / one["file_name"]))
        assert pixels.shape == (one["height"], one["width"]) and pixels.dtype == np.uint8
        plane = image[one["id"] - 1].astype(float)
        assert np.corrcoef(pixels.ravel(), plane.ravel())[0, 1] > 0.99


def test_images_are_replaced_with_their_file_only(odd: Labels, tmp_path: Path) -> None:
    export(odd, tmp_path / "c.coco.json")
    export(odd, tmp_path / "c.coco.json", z=(0, 1), overwrite=True)
    names = [
        one["file_name"] for one in json.loads((tmp_path / "c.coco.json").read_text())["images"]
    ]
    assert names == ["c-images/z00000.png"]
    assert sorted(path.name for path in (tmp_path / "c-images").iterdir()) == [
        "manifest.json",
        "z00000.png",
    ]
    (tmp_path / "d-images").mkdir()
    (tmp_path / "d-images" / "cat.png").write_bytes(b"cat")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="d-images"):
            export(odd, tmp_path / "d.coco.json", overwrite=overwrite)
    assert (tmp_path / "d-images" / "cat.png").read_bytes() == b"cat"
    assert not (tmp_path / "d.coco.json").exists()
