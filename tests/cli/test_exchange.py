"""Labels out to other programs and back in, by the command line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Said
from volseg.images.image import open_volume
from volseg.importing import import_labels, import_volume

Volseg = Callable[..., Said]
SHAPE = (2, 3, 20, 24)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two channels, label images `a` of the first and `b` of the second."""
    folder = tmp_path_factory.mktemp("exchange")
    np.save(folder / "image.npy", np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.uint8))
    volume = import_volume(folder / "image.npy", folder / "v.zarr", voxel_size_um=(2, 0.5, 0.5))
    for channel, name in enumerate("ab"):
        ids = np.zeros((2, *SHAPE[1:]), np.uint16)
        ids[channel, :, 3:9, 4:12], ids[channel, 1, 15, 15] = 5, 300
        np.save(folder / f"{name}.npy", ids)
        import_labels(folder / f"{name}.npy", volume, name, layer=f"c{channel}")
    return str(folder / "v.zarr")


def test_several_label_images_go_out_and_come_back(
    volseg: Volseg, url: str, tmp_path: Path
) -> None:
    for name in ("two.tif", "two.json", "two.zip", "two.geojson"):
        said = volseg("export", url, "a", "b", "--out", tmp_path / name)
        assert said.status == 0, said.err
        prefix = name.replace(".", "-")
        said = volseg("import-labels", tmp_path / name, url, prefix)
        assert said.status == 0, said.err
        labels = open_volume(url).labels
        for channel, one in enumerate("ab"):
            back = labels[f"{prefix}-{one}"]
            assert back.channel == channel and f"{prefix}-{one} of channel {channel}" in said.out
            np.testing.assert_array_equal(
                np.asarray(back.levels[0]), np.asarray(labels[one].levels[0])
            )


def test_the_ending_decides_and_standard_output_works(
    volseg: Volseg, url: str, tmp_path: Path
) -> None:
    assert volseg("export", url, "a", "--out", tmp_path / "t.csv").status == 0
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["5", "300"]
    for name, words in (("t.gif", "no format is known"), ("t.csv", "but --format says tiff")):
        how = ("--format", "tiff") if name == "t.csv" else ()
        said = volseg("export", url, "a", "--out", tmp_path / name, "--overwrite", *how)
        assert said.status == 2 and words in said.err
    said = volseg("export", url, "a", "--out", "-")
    assert said.status == 2 and "name a --format that is one file" in said.err
    assert not Path("-").exists()


def test_a_mask_becomes_objects(volseg: Volseg, url: str, tmp_path: Path) -> None:
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[0, :4, :4] = mask[1, 4, 4] = mask[2, 15:, 15:] = 255
    np.save(tmp_path / "m.npy", mask)
    said = volseg("import-labels", tmp_path / "m.npy", url, "objects", "--components")
    assert said.status == 0, said.err
    rows = open_volume(url).labels["objects"].objects.rows()
    assert [(row.id, row.voxels) for row in rows] == [(1, 17), (2, 5 * 9)]


def test_a_table_on_standard_output(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from volseg.cli import main

    buffer = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(buffer, encoding="utf-8"))
    with pytest.raises(SystemExit) as ended:
        main(["export", url, "a", "--format", "csv", "--out", "-"])
    assert ended.value.code == 0
    assert buffer.getvalue().startswith(b"id,class,") and buffer.getvalue().count(b"\n") == 3
