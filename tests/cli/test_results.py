"""Exports and evaluation from the command line: every option arrives, and what it writes is what was asked for."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.cli.conftest import Said
from volseg.images.image import open_volume
from volseg.importing import import_labels, import_volume
from volseg.prompts import load_prompts, prompts_from_labels

Volseg = Callable[..., Said]
SHAPE = (6, 80, 96)


def truth() -> np.ndarray:
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    ids = np.zeros(SHAPE, np.uint16)
    for one, (cy, cx) in ((3, (24, 24)), (7, (50, 64))):
        ids[((z - 3) * 3) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= 14**2] = one
    return ids


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two bright balls, their labels `cells`, and labels `others` in which one of them is missing."""
    folder = tmp_path_factory.mktemp("cli")
    ids = truth()
    noise = np.random.default_rng(0).integers(0, 40, SHAPE)
    np.save(folder / "image.npy", (noise + 150 * (ids > 0)).astype(np.uint8))
    np.save(folder / "truth.npy", ids)
    np.save(folder / "others.npy", np.where(ids == 7, 0, ids))
    volume = import_volume(folder / "image.npy", folder / "v.zarr", voxel_size_um=(2, 0.5, 0.5))
    labels = import_labels(folder / "truth.npy", volume, "cells")
    labels.objects.set(3, class_="nucleus")
    import_labels(folder / "others.npy", volume, "others")
    prompts_from_labels(ids, layer="cells").dump(folder / "prompts.json")
    return str(folder / "v.zarr")


def done(said: Said) -> Said:
    assert said.status == 0, said.err
    return said


def read(kind: str, path: Path) -> np.ndarray:
    """What an export holds, by its format's own library: voxels, or the ids alone."""
    if kind == "tiff":
        return np.asarray(tifffile.imread(path))
    if kind in ("png", "tiff-slices"):
        files = sorted(path.glob("*.png" if kind == "png" else "*.tif"))
        return np.stack([np.asarray(Image.open(file)) for file in files])
    if kind == "nifti":
        return np.asarray(nibabel.load(path).dataobj).T
    if kind == "nrrd":
        import nrrd

        return np.asarray(nrrd.read(str(path))[0]).T
    if kind == "ome-zarr":
        labels = open_volume(path).labels["cells"]
        assert [row.id for row in labels.objects.rows()] == [3]
        assert labels.objects.rows()[0].bbox == ((0, 3), (0, 29), (5, 34))
        return np.asarray(labels.levels[0])
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("tiff", "a.tif"), ("png", "p"), ("tiff-slices", "s"), ("nifti", "a.nii.gz"), ("nrrd", "a.nrrd"),
     ("ome-zarr", "a.zarr")],
)  # fmt: skip
@pytest.mark.parametrize("chosen", [("--objects", "3"), ("--class", "nucleus")])
def test_filters_of_voxels(
    volseg: Volseg, url: str, tmp_path: Path, kind: str, name: str, chosen: tuple[str, str]
) -> None:
    where = ("--z", "1:4", "--y", "10:70", "--x", "5:90")
    done(
        volseg("export", url, "cells", "--format", kind, "--out", tmp_path / name, *where, *chosen)
    )
    wanted = truth()[1:4, 10:70, 5:90]
    np.testing.assert_array_equal(read(kind, tmp_path / name), wanted * (wanted == 3))


@pytest.mark.parametrize("kind", ["csv", "parquet", "json", "coco", "ply", "obj", "tiff-objects"])
def test_filters_of_objects(volseg: Volseg, url: str, tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"a.{kind}"
    done(volseg("export", url, "cells", "--format", kind, "--out", out, "--class", "nucleus"))
    assert ids_in(kind, out) == {3}


def ids_in(kind: str, out: Path) -> set[int]:
    if kind == "csv":
        return {int(row["id"]) for row in csv.DictReader(out.open(newline=""))}
    if kind == "parquet":
        import pyarrow.parquet

        return set(pyarrow.parquet.read_table(out)["id"].to_pylist())
    if kind in ("json", "coco"):
        text = json.loads(out.read_text())
        if kind == "coco":
            return {one.get("object_id", one.get("label")) or 3 for one in text["annotations"]}
        return {one["id"] for layer in text["layers"] for one in layer["objects"]}
    names = {file.stem.partition("_")[0] for file in out.iterdir()}
    return {int(name) for name in names if name.isdigit()}


def test_a_coarser_level(volseg: Volseg, tmp_path: Path) -> None:
    ids = np.zeros((2, 600, 600), np.uint8)
    ids[:, 100:300, 100:300] = 5
    np.save(tmp_path / "a.npy", ids)
    done(volseg("import", tmp_path / "a.npy", tmp_path / "v.zarr", "--voxel-size", 5, 1, 1))
    done(volseg("import-labels", tmp_path / "a.npy", tmp_path / "v.zarr", "cells"))
    coarse = np.asarray(open_volume(tmp_path / "v.zarr").labels["cells"].levels[1])
    for kind, name in (("tiff", "a.tif"), ("ome-zarr", "a.zarr")):
        out = tmp_path / name
        done(
            volseg(
                "export", tmp_path / "v.zarr", "cells", "--format", kind, "--out", out, "--level", 1
            )
        )
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), coarse)
    copy = open_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(np.asarray(copy.labels["cells"].levels[0]), coarse)
    assert copy.scale == open_volume(tmp_path / "v.zarr").levels[1].scale
    row = copy.labels["cells"].objects.rows()[0]
    assert row.voxels == int((coarse == 5).sum())


@pytest.mark.parametrize(
    ("style", "view", "files", "mode"),
    [("overlay", "contact", ["contact.png"], "RGB"), ("palette", "projection", ["projection_z.png"], "RGB"),
     ("ids", "orthogonal", ["x00048.png", "y00040.png", "z00003.png"], "I;16")],
)  # fmt: skip
def test_pictures(
    volseg: Volseg, url: str, tmp_path: Path, style: str, view: str, files: list[str], mode: str
) -> None:
    how = ("--style", style, "--view", view, *(("--opacity", 0.6) if style == "overlay" else ()))
    done(volseg("export", url, "cells", "--format", "png", "--out", tmp_path / "p", *how))
    assert sorted(path.name for path in (tmp_path / "p").glob("*.png")) == files
    assert all(Image.open(tmp_path / "p" / name).mode == mode for name in files)


def test_options_of_one_format_are_refused_by_others(
    volseg: Volseg, url: str, tmp_path: Path
) -> None:
    for option in (("--style", "ids"), ("--imagej",), ("--ngff", "0.4")):
        said = volseg(
            "export", url, "cells", "--format", "nrrd", "--out", tmp_path / "a.nrrd", *option
        )
        assert said.status == 2 and "has no option" in said.err
    assert list(tmp_path.iterdir()) == []


def test_operator_and_columns(volseg: Volseg, url: str, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    without = ("--no-surfaces", "--no-intensities", "--operator", "Dr. Ann")
    done(volseg("export", url, "cells", "--format", "csv", "--out", out, *without))
    head = out.read_text().splitlines()[0]
    assert "surface" not in head and "intensity" not in head and "volume_um3" in head
    [manifest] = tmp_path.glob("*manifest.json")
    assert json.loads(manifest.read_text())["provenance"]["operator"] == "Dr. Ann"


def test_imagej_and_compression(volseg: Volseg, url: str, tmp_path: Path) -> None:
    done(volseg("export", url, "cells", "--out", tmp_path / "a.tif", "--imagej"))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_imagej
    done(volseg("export", url, "cells", "--out", tmp_path / "b.tif", "--compression", "zstd"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), truth())


def test_labels_come_back_from_json(volseg: Volseg, url: str, tmp_path: Path) -> None:
    done(volseg("export", url, "cells", "--format", "json", "--out", tmp_path / "a.json"))
    place = ("--labels-at", tmp_path / "beside.zarr")
    done(volseg("import-labels", tmp_path / "a.json", url, "again", "--layer", "cells", *place))
    again = open_volume(url, tmp_path / "beside.zarr").labels["again"]
    np.testing.assert_array_equal(np.asarray(again.levels[0]), truth())
    said = volseg("import-labels", tmp_path / "a.json", url, "b", "--layer", "none", *place)
    assert said.status == 2 and "none" in said.err


def test_a_report_page(volseg: Volseg, url: str, tmp_path: Path) -> None:
    given = ("--truth", f"{url}/labels/cells", "--page", tmp_path / "report.html")
    said = done(volseg("evaluate", url, "others", *given, "--json"))
    facts = json.loads(said.out)
    assert facts["mean_dice"] == pytest.approx(0.5)
    assert "preprocessing" not in facts
    text = (tmp_path / "report.html").read_text()
    assert text.count("<img") == 2 and "http" not in text


def test_agreement(volseg: Volseg, url: str) -> None:
    third = f"ben={url}/labels/cells"
    said = done(volseg("agreement", url, "cells", "others", third, "--json"))
    pairs = {(p["first"], p["second"]): p["mean_dice"] for p in json.loads(said.out)["pairs"]}
    assert pairs == {("cells", "others"): 0.5, ("cells", "ben"): 1.0, ("others", "ben"): 0.5}
    assert (
        "ceiling: mean Dice 0.6667" in done(volseg("agreement", url, "cells", "others", third)).out
    )
    assert volseg("agreement", url, "cells").status == 2
    assert volseg("agreement", url, "cells", "cells").status == 2


def test_preprocessing(volseg: Volseg, url: str) -> None:
    before = sorted(open_volume(url).labels)
    prompts = Path(url).parent / "prompts.json"
    given = ("--truth", f"{url}/labels/cells", "--preprocess", "none,clahe")
    said = done(volseg("evaluate", url, "others", *given, "--prompts", prompts, "--json"))
    rows: list[dict[str, Any]] = json.loads(said.out)["preprocessing"]
    assert [row["name"] for row in rows] == ["none", "clahe"]
    assert rows[0]["gain"] == 0 and all(0 < row["mean_dice"] <= 1 for row in rows)
    assert rows[1]["gain"] == pytest.approx(rows[1]["mean_dice"] - rows[0]["mean_dice"])
    assert sorted(open_volume(url).labels) == before
    said = volseg("evaluate", url, "others", *given)
    assert said.status == 2 and "--prompts" in said.err
    said = volseg("evaluate", url, "others", "--truth", "x", "--preprocess", "magic")
    assert said.status == 2 and "clahe" in said.err


@pytest.mark.parametrize("layout", ["rsna", "corners"])
def test_prompts_from_boxes(volseg: Volseg, tmp_path: Path, layout: str) -> None:
    text = {
        "rsna": "patientId,x,y,width,height,Target\np1,35,98,31,45,1\np2,,,,,0\np3,1,2,3,4,1\n",
        "corners": "image,y0,x0,y1,x1,z,id\np1,98,35,143,66,0,9\np2,0,0,2,2,0,1\n",
    }[layout]
    table = tmp_path / "boxes.csv"
    table.write_text(text)
    out = tmp_path / "prompts.json"
    given = ("--image", "p1", "--layer", "opacity", "--out", out)
    done(volseg("prompts", "from-boxes", table, *given))
    prompts = load_prompts(out)
    assert prompts.layers[0].name == "opacity"
    assert [one.prompts[0].box for one in prompts.objects] == [(98, 35, 143, 66)]
    for wrong, word in (((), "p1"), (("--image", "p9"), "p9"), (("--image", "p2"), "box")):
        if (layout, wrong) != ("corners", ("--image", "p2")):
            said = volseg("prompts", "from-boxes", table, *wrong)
            assert said.status == 2 and word in said.err, said
