"""Label images of other writers at the command line: coarser than the image, with huge ids, beside broken ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Said
from tests.images.other_writers import write, write_labels

Volseg = Callable[..., Said]
HUGE = 2**53 + 1


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = np.random.default_rng(0).integers(1, 4000, (4, 32, 40)).astype(np.uint16)
    url = write(tmp_path_factory.mktemp("others") / "v.zarr", data, scale=[2, 0.5, 0.5])
    half = np.zeros((4, 16, 20), np.uint16)
    half[1:3, 4:10, 4:10] = 5
    huge = np.zeros(data.shape, np.uint64)
    huge[1:3, 4:12, 4:12], huge[1:3, 20:30, 4:12], huge[1:3, 4:12, 20:30] = (
        HUGE,
        HUGE + 1,
        2**63 + 5,
    )
    write_labels(url, "half", half, scale=[2, 1, 1])
    write_labels(url, "removed", None)
    write_labels(url, "huge", huge, scale=[2, 0.5, 0.5])
    return url


def test_a_coarser_grid_is_measured_in_its_own_voxels(
    volseg: Volseg, url: Path, tmp_path: Path
) -> None:
    said = volseg("export", url, "half", "--format", "csv", "--out", tmp_path / "half.csv")
    assert said.status == 0, said.err
    with (tmp_path / "half.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["volume_um3"]) == pytest.approx(2 * 6 * 6 * 2 * 1 * 1)


def test_info_names_what_is_gone(volseg: Volseg, url: Path) -> None:
    facts = json.loads(volseg("info", url, "--json").out)
    assert [labels["name"] for labels in facts["labels"]] == ["half", "huge"]
    assert list(facts["unreadable_labels"]) == ["removed"]
    assert "labels removed can't be read" in volseg("info", url).out
    said = volseg("export", url, "removed", "--format", "csv", "--out", "x.csv")
    assert (said.status, len(said.err.splitlines())) == (2, 1)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("csv", "a.csv"), ("json", "a.json"), ("coco", "a.coco.json"), ("tiff", "a.tif"), ("nifti", "a.nii.gz"),
     ("png", "png"), ("ply", "ply")],
)  # fmt: skip
def test_ids_beyond_doubles_are_exact_or_refused(
    volseg: Volseg, url: Path, tmp_path: Path, kind: str, name: str
) -> None:
    out = tmp_path / name
    style = ["--style", "ids"] if kind == "png" else []
    said = volseg("export", url, "huge", "--format", kind, "--out", out, *style)
    if said.status:
        assert (said.status, len(said.err.splitlines())) == (2, 1)
        assert not out.exists()
        return
    if out.is_dir():
        told = " ".join(file.name for file in out.iterdir())
    elif kind in ("csv", "json", "coco"):
        told = out.read_text()
    else:
        pytest.fail(f"{kind} holds no ids of 64 bits")
    assert str(HUGE) in told
    assert str(HUGE + 1) in told


def test_prompts_of_huge_ids_are_exact_or_refused(volseg: Volseg, url: Path) -> None:
    said = volseg("prompts", "from-labels", url / "labels" / "huge")
    assert said.status == 0 or (said.status, len(said.err.splitlines())) == (2, 1)
    if said.status == 0:
        assert {one["id"] for one in json.loads(said.out)["objects"]} == {HUGE, HUGE + 1, 2**63 + 5}
