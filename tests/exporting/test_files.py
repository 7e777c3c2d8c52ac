"""TIFF, PNG, CSV, Parquet and JSON, each reopened by a library that did not write it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import tifffile
from PIL import Image
from skimage.measure import regionprops_table

from tests.exporting.conftest import SCALE
from volseg.errors import InputError, UnsupportedFormatError
from volseg.exporting import export
from volseg.exporting.labels_json import encode_slice
from volseg.exporting.selection import Selection
from volseg.images.labels import Labels
from volseg.importing import import_labels
from volseg.importing.labels_json import decode_slice


@pytest.mark.parametrize("compression", ["none", "zlib", "zstd", "lzw"])
def test_tiff_stack(labels: Labels, truth: np.ndarray, out: Path, compression: str) -> None:
    result = export(labels, out / "cells.tif", compression=compression)
    assert result.paths == (out / "cells.tif",)
    with tifffile.TiffFile(out / "cells.tif") as file:
        assert file.is_ome
        assert file.series[0].axes == "ZYX"
        assert len(file.pages) == truth.shape[0]
        xml = file.ome_metadata
        np.testing.assert_array_equal(file.asarray(), truth)
    assert 'PhysicalSizeZ="2.0"' in xml and 'PhysicalSizeX="0.5"' in xml
    assert "provenance" not in xml and "voxel_size_um_zyx" in xml


@pytest.mark.parametrize("imagej", [False, True])
@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_a_part_between_the_storage_objects(
    labels: Labels, truth: np.ndarray, out: Path, compression: str, imagej: bool
) -> None:
    region = {"z": (1, truth.shape[0] - 1), "y": (3, truth.shape[1] - 2), "x": (5, truth.shape[2])}
    part = tuple(slice(*asked) for asked in region.values())
    options = {"objects": [3, 7, 9, 300], "compression": compression, "imagej": imagej}
    export(labels, out / "part.tif", **region, **options)
    expected = np.where(truth == 70_000, 0, truth)[part]
    np.testing.assert_array_equal(tifffile.imread(out / "part.tif"), expected)


def test_tiff_is_opened_by_a_second_library(labels: Labels, truth: np.ndarray, out: Path) -> None:
    export(labels, out / "cells.tif", objects=[3, 7, 9, 300])
    expected = np.where(truth == 70_000, 0, truth)
    with Image.open(out / "cells.tif") as picture:
        assert picture.n_frames == truth.shape[0]
        for z in (0, 8, 17):
            picture.seek(z)
            np.testing.assert_array_equal(np.asarray(picture), expected[z])


def test_imagej_hyperstack_has_its_voxel_size(labels: Labels, truth: np.ndarray, out: Path) -> None:
    export(labels, out / "ij.tif", imagej=True, objects=[3, 300])
    with tifffile.TiffFile(out / "ij.tif") as file:
        assert file.is_imagej
        assert file.imagej_metadata["spacing"] == 2.0
        assert file.imagej_metadata["unit"] == "um"
        assert file.asarray().dtype == np.uint16
        np.testing.assert_array_equal(file.asarray(), truth * np.isin(truth, [3, 300]))
    with pytest.raises(UnsupportedFormatError, match="65535"):
        export(labels, out / "big.tif", imagej=True)


def test_ids_take_the_smallest_type_even_where_the_table_is_silent(
    labels: Labels, truth: np.ndarray, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Selection, "rows", {})
    export(labels, out / "all.tif")
    export(labels, out / "some.tif", z=(0, 17))
    assert tifffile.imread(out / "all.tif").dtype == np.uint32
    some = tifffile.imread(out / "some.tif")
    assert some.dtype == np.uint16
    np.testing.assert_array_equal(some, truth[:17])


def test_filters(labels: Labels, truth: np.ndarray, out: Path) -> None:
    export(labels, out / "a.tif", z=(4, 12), y=(30, 170), x=(40, 230), classes=["nucleus"])
    expected = np.where(np.isin(truth, [3, 7]), truth, 0)[4:12, 30:170, 40:230]
    np.testing.assert_array_equal(tifffile.imread(out / "a.tif"), expected)
    export(labels, out / "b.tif", level=1)
    coarse = np.asarray(labels.levels[1])
    np.testing.assert_array_equal(tifffile.imread(out / "b.tif"), coarse)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"z": (4, 40)}, "does not lie inside"),
        ({"objects": [3, 5]}, "no object 5"),
        ({"classes": ["axon"]}, "nucleus, vessel"),
        ({"level": 9}, "levels 0 to"),
        ({"time": 1}, "times 0 to 0"),
        ({"format": "gif"}, "expected one of tiff"),
        ({"colour": "red"}, "no option 'colour'"),
        ({"compression": "rar"}, "expected one of none"),
    ],
)
def test_wrong_use_leaves_nothing(labels: Labels, out: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export(labels, out / "a.tif", **options)
    assert not out.exists() or list(out.iterdir()) == []


def test_one_tiff_per_slice_and_per_object(labels: Labels, truth: np.ndarray, out: Path) -> None:
    export(labels, out / "slices", "tiff-slices", z=(5, 8))
    names = sorted(path.name for path in (out / "slices").glob("*.tif"))
    assert names == ["z00005.tif", "z00006.tif", "z00007.tif"]
    np.testing.assert_array_equal(tifffile.imread(out / "slices" / names[1]), truth[6])
    export(labels, out / "objects", "tiff-objects")
    (path,) = (out / "objects").glob("7_z*.tif")
    z, y, x = (int(part[1:]) for part in path.stem.split("_")[1:])
    cut = tifffile.imread(path)
    assert set(np.unique(cut)) == {0, 255}
    part = truth[z : z + cut.shape[0], y : y + cut.shape[1], x : x + cut.shape[2]]
    np.testing.assert_array_equal(cut == 255, part == 7)
    assert (cut == 255).sum() == (truth == 7).sum()


def test_png_is_one_file_of_ids_per_slice(labels: Labels, truth: np.ndarray, out: Path) -> None:
    result = export(labels, out, "png", objects=[3, 7, 9, 300], style="ids")
    assert len(result.paths) == truth.shape[0]
    for z in (0, 8):
        with Image.open(out / f"z{z:05d}.png") as picture:
            found = np.asarray(picture)
            assert "volseg 0" in picture.text["volseg"]
        np.testing.assert_array_equal(found, np.where(truth[z] == 70_000, 0, truth[z]))
    with pytest.raises(UnsupportedFormatError, match="70000 does not fit"):
        export(labels, out.with_name("b"), "png", style="ids")


def test_palette_keeps_ids_and_overlay_shows_the_image(
    labels: Labels, truth: np.ndarray, out: Path
) -> None:
    export(labels, out / "p", "png", style="palette", objects=[3, 7, 9], z=(8, 9))
    with Image.open(out / "p" / "z00008.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), truth[8] * np.isin(truth[8], [3, 7, 9]))
    export(labels, out / "o", "png", style="overlay", z=(8, 9))
    with Image.open(out / "o" / "z00008.png") as picture:
        pixels = np.asarray(picture).astype(int)
    grey = pixels.max(-1) == pixels.min(-1)
    assert grey[truth[8] == 0].all()
    assert not grey[truth[8] == 3].all()


@pytest.mark.parametrize(
    ("view", "names"),
    [
        ("orthogonal", ["x00140.png", "y00150.png", "z00009.png"]),
        ("projection", ["projection_z.png"]),
        ("contact", ["contact.png"]),
    ],
)
@pytest.mark.parametrize("style", ["palette", "overlay"])
def test_other_views(
    labels: Labels, truth: np.ndarray, out: Path, view: str, names: list[str], style: str
) -> None:
    export(labels, out, "png", view=view, style=style)
    assert sorted(path.name for path in out.glob("*.png")) == names


def test_projection_shows_the_first_object_met(
    labels: Labels, truth: np.ndarray, out: Path
) -> None:
    export(labels, out, "png", view="projection", style="ids", objects=[3, 7, 9, 300])
    kept = np.where(truth == 70_000, 0, truth)
    first = np.take_along_axis(kept, (kept != 0).argmax(0)[None], 0)[0]
    np.testing.assert_array_equal(np.asarray(Image.open(out / "projection_z.png")), first)


def test_csv_agrees_with_scikit_image(
    labels: Labels, truth: np.ndarray, image: np.ndarray, out: Path
) -> None:
    export(labels, out / "t.csv")
    table = pandas.read_csv(out / "t.csv")
    names = ["label", "num_pixels", "area", "bbox", "centroid", "intensity_mean", "intensity_max"]
    names += ["axis_major_length", "intensity_min", "intensity_std"]
    found = pandas.DataFrame(regionprops_table(truth, image, properties=names, spacing=SCALE))
    assert table["id"].tolist() == found["label"].tolist()
    assert table["voxels"].tolist() == found["num_pixels"].tolist()
    pairs = {
        "volume_um3": "area",
        "bbox_z0": "bbox-0",
        "bbox_x1": "bbox-5",
        "centroid_z_um": "centroid-0",
        "centroid_x_um": "centroid-2",
        "axis_1_um": "axis_major_length",
        "intensity_mean": "intensity_mean",
        "intensity_min": "intensity_min",
        "intensity_max": "intensity_max",
        "intensity_std": "intensity_std",
    }
    for ours, theirs in pairs.items():
        np.testing.assert_allclose(table[ours], found[theirs], rtol=1e-9, atol=1e-6, err_msg=ours)
    rows = table.set_index("id")
    assert rows.loc[3, "class"] == "nucleus" and rows.loc[300, "parent"] == 7
    assert rows.loc[3, "confidence"] == 0.5 and rows.loc[3, "annotator"] == "ann"
    assert rows.loc[9, "slices"] == 2 and (rows["layer"] == "cells").all()


def test_surface_of_balls_in_anisotropic_voxels(labels: Labels, out: Path) -> None:
    """A mesh of the voxels would say a fifth too much: z is four times as coarse as y and x."""
    export(labels, out / "t.csv")
    rows = pandas.read_csv(out / "t.csv").set_index("id")
    for one, radius_um in ((3, 7.0), (7, 8.0), (300, 5.0)):
        assert rows.loc[one, "surface_um2"] == pytest.approx(4 * np.pi * radius_um**2, rel=0.05)
        assert rows.loc[one, "sphericity"] == pytest.approx(1, abs=0.06)


def test_csv_of_a_part_counts_from_the_level(labels: Labels, truth: np.ndarray, out: Path) -> None:
    export(labels, out / "t.csv", z=(5, 18), y=(30, 300), objects=[3], surfaces=False)
    (row,) = pandas.read_csv(out / "t.csv").to_dict("records")
    inside = np.argwhere(truth[5:, 30:] == 3) + np.array([5, 30, 0])
    assert row["voxels"] == len(inside)
    assert row["bbox_z0"] == inside[:, 0].min() and row["bbox_y1"] == inside[:, 1].max() + 1
    assert row["centroid_y"] == pytest.approx(inside[:, 1].mean())
    assert "surface_um2" not in row


def test_parquet_is_the_same_table(labels: Labels, out: Path) -> None:
    export(labels, out / "t.csv")
    export(labels, out / "t.parquet")
    table = pandas.read_parquet(out / "t.parquet")
    text = pandas.read_csv(out / "t.csv")
    assert list(table.columns) == list(text.columns)
    np.testing.assert_allclose(table["surface_um2"], text["surface_um2"])


def test_json_comes_back_identical(labels: Labels, truth: np.ndarray, out: Path) -> None:
    export(labels, out / "cells.json")
    volume = labels.volume()
    name = f"again-{out.parent.name[-20:].replace('_', '-')}"
    again = import_labels(out / "cells.json", volume, name)
    np.testing.assert_array_equal(np.asarray(again.levels[0]), truth)
    for mine, theirs in zip(labels.levels, again.levels, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    rows = {row.id: row for row in again.objects.rows()}
    assert rows[3].class_ == "nucleus" and rows[3].confidence == 0.5
    assert rows[300].parent == 7


def test_json_is_reformatted_by_others_and_still_read(
    labels: Labels, truth: np.ndarray, out: Path
) -> None:
    export(labels, out / "cells.json", z=(2, 9))
    text = json.loads((out / "cells.json").read_text())
    (out / "pretty.json").write_text(json.dumps(text, indent=3, sort_keys=True))
    name = f"pretty-{out.parent.name[-20:].replace('_', '-')}"
    again = import_labels(out / "pretty.json", labels.volume(), name)
    expected = np.zeros_like(truth)
    expected[2:9] = truth[2:9]
    np.testing.assert_array_equal(np.asarray(again.levels[0]), expected)


def test_run_lengths_and_back() -> None:
    rng = np.random.default_rng(2)
    for _ in range(30):
        ids = rng.integers(0, 3, (5, 7)).astype(np.uint32) * rng.integers(0, 2, (5, 1))
        names, counts = encode_slice(ids, (5, 7))
        assert all(sum(runs) == 35 for runs in counts)
        np.testing.assert_array_equal(decode_slice(names, counts, (5, 7), "here"), ids)


def test_run_lengths_are_those_of_prompts() -> None:
    from volseg.prompts import RunLengthMask

    ids = np.array([[0, 4, 4], [4, 0, 0], [0, 0, 4]])
    (_,), (runs,) = encode_slice(ids, (3, 3))
    assert tuple(runs) == RunLengthMask.encode(ids == 4).counts
