"""`volseg doctor` and `volseg sample`: what a newcomer tries first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.cli.conftest import Said
from volseg.images.image import open_volume

Volseg = Callable[..., Said]


def test_doctor_tells_what_is_here_and_no_secret(
    volseg: Volseg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOTTOBESEEN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never/to/be/seen")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://anna:hidden@store.example:9000/x?key=hidden")
    said = volseg("doctor", tmp_path / "none.zarr")
    assert said.status == 0, said.err
    for told in (
        "volseg",
        "torch",
        "cores",
        "GiB free",
        "AWS_REGION=eu-central-1",
        "store.example",
    ):
        assert told in said.out
    assert "none.zarr does not exist" in said.out and "1 to look at" in said.out
    found = json.loads(volseg("doctor", "--json").out)
    assert {one["topic"] for one in found} >= {"volseg", "extras", "machine", "GPU", "cache", "S3"}
    for text in (said.out, json.dumps(found)):
        assert "BESEEN" not in text and "seen" not in text and "hidden" not in text


def test_a_full_or_closed_place_is_marked(volseg: Volseg, monkeypatch: pytest.MonkeyPatch) -> None:
    from volseg.cli import doctor

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 20}))
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    said = volseg("doctor")
    assert said.status == 0 and "make room" in said.out and "2 to look at" in said.out
    assert "pip install 'volseg[napari,flows" in said.out


@pytest.mark.parametrize(("name", "slices"), [("cells", 24), ("plane", 1)])
def test_a_sample_can_be_segmented_at_once(
    volseg: Volseg, tmp_path: Path, name: str, slices: int
) -> None:
    out = tmp_path / "a folder"
    said = volseg("sample", name, "--out", out)
    assert said.status == 0, said.err
    assert "volseg segment" in said.out
    volume, truth = open_volume(out / "volume.zarr"), tifffile.imread(out / "truth.tif")
    assert volume.shape[0] == slices and truth.reshape(volume.shape).max() > 5
    np.testing.assert_array_equal(
        np.asarray(volume.levels[0]), tifffile.imread(out / "raw.tif").reshape(volume.shape)
    )
    how = ("--prompts", out / "prompts.json", "--labels", "cells", "--zoom", 1, "--plan-only")
    assert volseg("segment", out / "volume.zarr", *how).status == 0


def test_samples_are_listed_and_nothing_of_others_is_written_over(
    volseg: Volseg, tmp_path: Path
) -> None:
    said = volseg("sample")
    assert said.status == 0 and "cells" in said.out and "plane" in said.out
    said = volseg("sample", "brain")
    assert said.status == 2 and "there are cells" in said.err
    (tmp_path / "thesis.txt").write_text("mine")
    for more in ((), ("--overwrite",)):
        assert volseg("sample", "plane", "--out", tmp_path, *more).status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert volseg("sample", "plane", "--out", tmp_path / "p").status == 0
    assert volseg("sample", "plane", "--out", tmp_path / "p").status == 2
    assert volseg("sample", "plane", "--out", tmp_path / "p", "--overwrite").status == 0
