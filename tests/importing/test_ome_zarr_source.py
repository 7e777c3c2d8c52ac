"""From OME-Zarr to OME-Zarr: everything travels along, and an image is not taken for labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import volseg
from tests.images.other_writers import edit, write, write_labels
from tests.images.validation import validate_image, validate_labels
from volseg.errors import InputError
from volseg.evaluation import evaluate
from volseg.exporting import export
from volseg.images.image import Volume
from volseg.importing import SourceOptions, import_labels, import_volume

SHAPE = (4, 40, 48)
DATA = np.random.default_rng(0).integers(1, 4000, (2, 2, *SHAPE)).astype(np.uint16)
IDS = np.zeros(SHAPE, np.uint64)
IDS[1:3, 4:20, 6:30] = 2**53 + 1
IDS[1:3, 20:30, 6:30] = 5
FIRST = (10.0, 100.0, 200.0)
OMERO: dict[str, Any] = {
    "id": 7,
    "name": "theirs",
    "rdefs": {"model": "color", "defaultZ": 2},
    "channels": [
        {"label": "DNA", "color": "00FFFF", "window": {"min": 0, "max": 4095, "start": 12, "end": 900}},
        {"label": "actin", "color": "FF8000", "active": False, "coefficient": 1.5},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of another writer: shifted, with display settings, a time step and three label images, one real."""
    url = write(
        tmp_path_factory.mktemp("theirs") / "v.zarr", DATA, "tczyx", scale=[500, 1, 2, 0.5, 0.5]
    )
    document = json.loads((url / ".zattrs").read_text())
    entry = document["multiscales"][0]
    entry["axes"][0]["unit"] = "millisecond"
    entry["coordinateTransformations"] = [{"type": "translation", "translation": [0, 0, *FIRST]}]
    edit(url / ".zattrs", multiscales=[entry], omero=OMERO)
    write_labels(url, "cells", IDS, scale=[2, 0.5, 0.5])
    told = {
        "version": "0.4",
        "colors": [{"label-value": n, "rgba": [n % 256, 2, 3, 255]} for n in (5, 2**53 + 1)],
        "properties": [{"label-value": n, "area": n} for n in (5, 2**53 + 1)],
    }
    edit(url / "labels" / "cells" / ".zattrs", **{"image-label": told})
    write_labels(url, "real", IDS.astype(np.float32))
    write_labels(url, "odd", IDS[:, :7, :9].astype(np.uint8))
    return url


def image_label(folder: Path) -> Any:
    name = ".zattrs" if (folder / ".zattrs").exists() else "zarr.json"
    document = json.loads((folder / name).read_text())
    return document.get("attributes", {}).get("ome", document)["image-label"]


def check_image(made: Volume) -> None:
    assert made.levels[0].translation == FIRST
    assert made.scale == (2, 0.5, 0.5)
    first = made.channels[0]
    assert (first.name, first.color, first.window) == ("DNA", "00FFFF", (12, 900))
    omero = made.multiscale.attributes["omero"]
    assert (omero["id"], omero["rdefs"]) == (7, OMERO["rdefs"])
    assert omero["channels"][1]["active"] is False
    assert omero["channels"][1]["coefficient"] == 1.5
    assert omero["channels"][1]["window"]["end"] > omero["channels"][1]["window"]["start"]


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_all_of_it_travels(
    source: Path, tmp_path: Path, ngff: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = import_volume(source, tmp_path / "v.zarr", ngff=ngff)
    check_image(made)
    np.testing.assert_array_equal(np.asarray(made.levels[0].lazy), DATA)
    at = made.multiscale.axis("t")
    assert at is not None
    assert made.multiscale.datasets[0].scale[at] == 0.5  # seconds
    assert list(made.labels) == ["cells"]
    for name in ("real", "odd"):
        assert f"label image {name} is left out" in caplog.text
    cells = made.labels["cells"]
    assert cells.dtype == np.uint64
    np.testing.assert_array_equal(np.asarray(cells.levels[0])[0], IDS)
    assert cells.levels[0].translation == FIRST
    assert [row.id for row in cells.objects.rows()] == [5, 2**53 + 1]
    folder = tmp_path / "v.zarr"
    theirs = image_label(source / "labels" / "cells")
    ours = image_label(folder / "labels" / "cells")
    assert (ours["colors"], ours["properties"]) == (theirs["colors"], theirs["properties"])
    validate_image(folder)
    validate_labels(folder / "labels" / "cells")


def test_what_volseg_knows_of_its_own_travels_too(source: Path, tmp_path: Path) -> None:
    first = import_volume(source, tmp_path / "a.zarr", channels=["one", "two"])
    assert [channel.name for channel in first.channels] == ["one", "two"]
    first.labels["cells"].objects.set(5, class_="nucleus")
    first.labels["cells"].store.put("volseg/prompts/1.json", b"{}")
    record = json.loads(first.store.get("volseg/source.json"))
    record["facts"] = {"affine_ras_mm": np.eye(4).tolist()}
    first.store.put("volseg/source.json", json.dumps(record).encode())
    second = import_volume(tmp_path / "a.zarr", tmp_path / "b.zarr")
    labels = second.labels["cells"]
    assert labels.objects.row(5).class_ == "nucleus"
    assert labels.store.get("volseg/prompts/1.json") == b"{}"
    assert json.loads(second.store.get("volseg/source.json"))["facts"] == record["facts"]


def test_labels_stay_behind_where_asked_for(source: Path, tmp_path: Path) -> None:
    assert list(import_volume(source, tmp_path / "v.zarr", labels=False).labels) == []


def test_the_export_keeps_place_colours_and_windows(source: Path, tmp_path: Path) -> None:
    import_volume(source, tmp_path / "v.zarr")
    labels = volseg.open(tmp_path / "v.zarr").labels["cells"]
    export(labels, tmp_path / "whole.zarr", format="ome-zarr")
    check_image(volseg.open(tmp_path / "whole.zarr"))
    colours = image_label(tmp_path / "v.zarr" / "labels" / "cells")["colors"]
    assert image_label(tmp_path / "whole.zarr" / "labels" / "cells")["colors"] == colours
    export(labels, tmp_path / "part.zarr", format="ome-zarr", z=(1, 4), y=(10, 40))
    part = volseg.open(tmp_path / "part.zarr")
    assert part.levels[0].translation == (12, 105, 200)
    assert part.labels["cells"].levels[0].translation == (12, 105, 200)


def test_other_formats_keep_the_place(source: Path, tmp_path: Path) -> None:
    import nibabel
    import nrrd

    import_volume(source, tmp_path / "v.zarr")
    volume = volseg.open(tmp_path / "v.zarr")
    small = volume.create_labels("small", "uint8")
    small.write_objects(tuple((0, n) for n in SHAPE), (IDS == 5).astype(np.uint8))
    export(small, tmp_path / "a.nii.gz", format="nifti", z=(1, 4))
    affine = nibabel.load(tmp_path / "a.nii.gz").affine
    np.testing.assert_allclose(affine[:3, 3], [0.2, 0.1, 0.012], rtol=1e-5)  # mm, x y z
    export(small, tmp_path / "a.nrrd", format="nrrd", z=(1, 4))
    header = nrrd.read_header(str(tmp_path / "a.nrrd"))
    np.testing.assert_allclose(header["space origin"], [-0.2, -0.1, 0.012])  # LPS


def test_an_image_is_not_taken_for_labels(source: Path, tmp_path: Path) -> None:
    volume = import_volume(source, tmp_path / "v.zarr", labels=False)
    plain = write(tmp_path / "plain.zarr", DATA[0, 0])
    with pytest.raises(InputError, match=r"is an image, not labels; .*labels/cells"):
        import_labels(source, volume, "cells")
    with pytest.raises(InputError, match=r"is an image, not labels .*no label images in it"):
        import_labels(plain, volume, "cells")
    small = write(tmp_path / "v.zarr" / "labels" / "loose", (IDS == 5).astype(np.uint8))
    labels = import_labels(small, volume, "cells")
    with pytest.raises(InputError, match="is an image, not labels"):
        evaluate(labels, plain)
    assert evaluate(labels, small).to_json()


def test_one_image_of_a_plate(tmp_path: Path) -> None:
    plate = tmp_path / "plate.zarr"
    write(plate / "A" / "1" / "0", DATA[0, 0])
    (plate / ".zgroup").write_text('{"zarr_format": 2}')
    (plate / ".zattrs").write_text('{"plate": {"wells": [{"path": "A/1"}]}}')
    with pytest.raises(InputError, match=r"A/1"):
        import_volume(plate, tmp_path / "v.zarr")
    made = import_volume(plate, tmp_path / "v.zarr", options=SourceOptions(series="A/1/0"))
    np.testing.assert_array_equal(np.asarray(made.levels[0].lazy), DATA[0, 0])
