"""Boxes as truth, several annotators, several renderings, and the page for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volseg.errors import InputError
from volseg.evaluation import (
    BoxTruth,
    annotator_agreement,
    compare_preprocessing,
    evaluate,
    evaluate_boxes,
    write_page,
)
from volseg.evaluation.boxes import box_iou
from volseg.importing.boxes import boxes_from_csv, prompts_from_boxes


def labelled(*boxes: tuple[int, int, int, int, int, int]) -> np.ndarray:
    """A volume with one object per (id, z, y0, x0, y1, x1)."""
    labels = np.zeros((4, 30, 30), np.uint16)
    for one, z, y0, x0, y1, x1 in boxes:
        labels[z, y0:y1, x0:x1] = one
    return labels


def test_boxes_are_scored_as_boxes_and_never_as_dice() -> None:
    labels = labelled((1, 0, 0, 0, 10, 10), (2, 0, 20, 20, 25, 30), (3, 2, 0, 0, 5, 5))
    truth = [BoxTruth(0, (0, 0, 10, 8)), BoxTruth(0, (20, 20, 30, 30)), BoxTruth(1, (0, 0, 9, 9))]
    report = evaluate_boxes(labels, truth)
    assert report.truth_kind == "boxes"
    assert report.mean_dice is None and report.objects == ()
    assert not [name for name in report.overall if "dice" in name]
    assert [box.iou for box in report.boxes] == [0.8, 0.5, 0.0]
    assert [box.predicted for box in report.boxes] == [1, 2, None]
    assert report.overall["predicted_boxes"] == 2  # slice 2 was not looked at
    assert report.overall["box_precision"] == 0.5  # IoU must be greater than the threshold
    assert report.overall["box_recall"] == pytest.approx(1 / 3)
    assert report.overall["box_ap50"] == pytest.approx(1 / 4)
    assert evaluate_boxes(labels, truth, slices=[0, 1, 2]).overall["predicted_boxes"] == 3


def test_box_iou_in_closed_form() -> None:
    assert box_iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert box_iou((0, 0, 2, 2), (2, 0, 3, 3)) == 0


RSNA = """patientId,x,y,width,height,Target
p1,264.0,152.0,213.0,379.0,1
p1,562.0,152.0,256.0,453.0,1
p2,,,,,0
p3,10,20,30,40,1
"""


def test_rsna_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(RSNA)
    boxes = boxes_from_csv(tmp_path / "a.csv")
    assert {image: len(found) for image, found in boxes.items()} == {"p1": 2, "p2": 0, "p3": 1}
    assert boxes["p1"][0].box == (152.0, 264.0, 531.0, 477.0)
    prompts = prompts_from_boxes(boxes["p1"], layer="opacity")
    assert [one.id for one in prompts.objects] == [1, 2]
    assert prompts.objects[1].prompts[0].box == (152.0, 562.0, 605.0, 818.0)
    with pytest.raises(InputError, match="no boxes"):
        prompts_from_boxes(boxes["p2"])


def test_general_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,z,y0,x0,y1,x1,class\n7,2,1,2,3,4,cell\n7,3,1,2,3,5,cell\n")
    (found,) = boxes_from_csv(tmp_path / "a.csv").values()
    prompts = prompts_from_boxes(found)
    assert prompts.layers[0].category == "cell"
    (one,) = prompts.objects
    assert (one.id, [p.z for p in one.prompts]) == (7, [2, 3])
    (tmp_path / "b.csv").write_text("image,xmin,ymin,xmax,ymax\na.png,1,2,11,22\n")
    assert boxes_from_csv(tmp_path / "b.csv")["a.png"][0].box == (2, 1, 22, 11)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected y0, x0"),
        ("a,b\n1,2\n", "columns a, b"),
        ("y0,x0,y1,x1\n", "without rows"),
        ("y0,x0,y1,x1\n1,2,3\n", "line 2: x1"),
        ("y0,x0,y1,x1\n1,2,nan,4\n", "line 2: y1"),
        ("y0,x0,y1,x1\n5,2,5,4\n", "line 2: an empty box"),
        ("y0,x0,y1,x1,z\n1,2,3,4,1.5\n", "line 2: z"),
    ],
)
def test_wrong_tables_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        boxes_from_csv(tmp_path / "a.csv")


def test_evaluate_takes_boxes_as_truth(tmp_path: Path) -> None:
    labels = labelled((4, 0, 20, 10, 60, 40))[:, :, :]
    (tmp_path / "a.csv").write_text("patientId,x,y,width,height,Target\np3,10,20,20,10,1\n")
    by_table = evaluate(labels, tmp_path / "a.csv")
    assert by_table.truth_kind == "boxes"
    assert by_table.overall["mean_box_iou"] == 1.0
    (found,) = boxes_from_csv(tmp_path / "a.csv").values()
    assert evaluate(labels, prompts_from_boxes(found)) == by_table
    (tmp_path / "b.csv").write_text(RSNA)
    with pytest.raises(InputError, match="boxes of 3 images"):
        evaluate(labels, tmp_path / "b.csv")


def test_agreement_is_symmetric_and_a_lone_object_counts() -> None:
    first = labelled((1, 0, 0, 0, 10, 10), (2, 1, 0, 0, 10, 10))
    second = labelled((5, 0, 0, 0, 10, 10))
    third = labelled((5, 0, 0, 0, 10, 10), (6, 1, 0, 5, 10, 15))
    found = annotator_agreement({"a": first, "b": second, "c": third})
    assert {(p.first, p.second): p.mean_dice for p in found.pairs} == {
        ("a", "b"): 0.5,
        ("a", "c"): 0.75,
        ("b", "c"): 0.5,
    }
    turned = annotator_agreement({"c": third, "b": second, "a": first})
    assert turned.mean_dice == found.mean_dice == pytest.approx(1.75 / 3)
    assert "ceiling" in found.to_text()
    with pytest.raises(InputError, match="two annotators"):
        annotator_agreement({"a": first})


def test_preprocessing_table() -> None:
    truth = labelled((1, 0, 0, 0, 10, 10), (2, 1, 0, 0, 10, 10))
    made = {
        "none": labelled((1, 0, 0, 0, 10, 5), (2, 1, 0, 0, 10, 10)),
        "clahe": truth,
        "sobel": labelled((1, 0, 0, 0, 10, 5)),
    }
    table = compare_preprocessing(made.__getitem__, truth, ["none", "clahe", "sobel"])
    assert table.best == "clahe"
    gains = {row.name: (round(row.gain, 6), row.better, row.worse) for row in table.rows}
    assert gains["none"] == (0, 0, 0)
    assert gains["clahe"] == (round(1 / 6, 6), 1, 0)
    assert gains["sobel"] == (-0.5, 0, 1)
    assert len(table.to_text().splitlines()) == 4
    with pytest.raises(InputError, match="different names"):
        compare_preprocessing(made.__getitem__, truth, ["none", "none"])


def test_page_is_one_offline_file_with_the_worst_pictured(tmp_path: Path) -> None:
    truth = labelled((1, 0, 0, 0, 10, 10), (2, 1, 4, 4, 12, 12))
    found = labelled((1, 0, 0, 0, 10, 5), (2, 1, 4, 4, 12, 12))
    image = np.random.default_rng(0).integers(0, 255, truth.shape).astype(np.uint8)
    report = evaluate(found, truth, spacing_um=(1, 1, 1), classes={1: "<b>cell", 2: "x"})
    path = write_page(report, tmp_path / "r.html", labels=found, truth=truth, image=image, worst=1)
    text = path.read_text()
    assert text.count("data:image/png;base64,") == 1
    assert "object 1, slice 0: Dice 0.667" in text
    assert "http" not in text and "<b>cell" not in text and "&lt;b&gt;cell" in text
    assert list(tmp_path.iterdir()) == [path]
    boxes = evaluate_boxes(found, [BoxTruth(0, (0, 0, 10, 10))])
    assert "mean box IoU" in write_page(boxes, tmp_path / "b.html").read_text()
