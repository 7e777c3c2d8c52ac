"""The report is one page that needs nothing else, and shows exactly what it was given."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volseg.demo.report import Correction, ObjectFigures, Report


@pytest.fixture
def report() -> Report:
    rng = np.random.default_rng(0)
    labels = np.zeros((3, 20, 30), np.uint32)
    labels[1, 4:9, 5:12] = 70_000  # needs all three colour bytes
    return Report(
        what="</script><b>what</b>",
        how="how",
        figures=[("0.90", "mean Dice")],
        voxel_size_um=(0.5, 0.1, 0.1),
        image=rng.integers(0, 4000, labels.shape).astype(np.uint16),
        labels=labels,
        truth=labels,
        objects=[ObjectFigures(70_000, 35, 0.9, 0.4, [None, 0.8, None], [(1, 6.0, 8.0)])],
        stages=[("segment", 2.0)],
        correction=Correction("one click", b"before", b"after"),
    )


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found.group(1))


def test_nothing_comes_from_elsewhere(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", page)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_text_cannot_leave_its_place(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "report.html")
    assert data_of((tmp_path / "report.html").read_text("utf-8"))["what"] == report.what


def test_pictures_hold_the_ids(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "report.html")
    data = data_of((tmp_path / "report.html").read_text("utf-8"))
    assert len(data["raw"]) == len(data["labels"]) == 3
    picture = Image.open(io.BytesIO(base64.b64decode(data["labels"][1].split(",")[1])))
    rgb = np.asarray(picture.convert("RGB")).astype(np.uint32)
    assert np.array_equal(rgb @ np.array([1, 256, 65536], np.uint32), report.labels[1])
    assert data["objects"][0]["confidence"] == [None, 0.8, None]
    assert data["correction"]["text"] == "one click"
