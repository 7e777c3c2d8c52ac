"""`volseg set-scale` at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Said
from volseg.images.create import create_volume


@pytest.fixture
def url(tmp_path: Path) -> Path:
    create_volume(
        tmp_path / "v.zarr", axes="zyx", shape=(3, 8, 9), dtype="uint8", scale_um=(1, 1, 1)
    )
    return tmp_path / "v.zarr"


def test_what_info_tells_follows(volseg: Callable[..., Said], url: Path) -> None:
    said = volseg("set-scale", url, 0.05, 0.008, 0.008)
    assert said.status == 0
    assert "0.05 × 0.008 × 0.008 µm" in said.out and "before 1 × 1 × 1" in said.out
    facts = json.loads(volseg("info", url, "--json").out)
    assert facts["voxel_size_um_zyx"] == [0.05, 0.008, 0.008]


def test_an_odd_size_is_taken_with_a_warning(
    volseg: Callable[..., Said], url: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert volseg("set-scale", url, 5000, 1, 1).status == 0
    assert "taken as given" in caplog.text


@pytest.mark.parametrize(
    "sizes",
    [("0", "1", "1"), ("nan", "1", "1"), ("1", "1"), ("one", "1", "1"), ("--", "-1", "1", "1")],
)
def test_what_is_no_size_ends_with_status_2(
    volseg: Callable[..., Said], url: Path, sizes: tuple[str, ...]
) -> None:
    before = (url / "zarr.json").read_bytes()
    said = volseg("set-scale", url, *sizes)
    assert said.status == 2 and "Traceback" not in said.err and "taken as given" not in said.err
    assert (url / "zarr.json").read_bytes() == before


def test_places_without_an_image_are_named(volseg: Callable[..., Said], tmp_path: Path) -> None:
    said = volseg("set-scale", tmp_path / "none.zarr", 1, 1, 1)
    assert said.status == 2 and "none.zarr" in said.err
    assert not (tmp_path / "none.zarr").exists()
