"""Which format a target's name means, and what several label images in one file are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
import tifffile

from tests.exporting.conftest import make_odd
from volseg.errors import InputError
from volseg.exporting import export
from volseg.exporting.formats import find_format, formats
from volseg.images.image import open_volume
from volseg.images.labels import Labels, open_labels


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("a.csv", "csv"), ("A.CSV", "csv"), ("a.tif", "tiff"), ("a.ome.tif", "tiff"), ("a.b.tiff", "tiff"),
        ("a.nii", "nifti"), ("a.nii.gz", "nifti"), ("a.coco.json", "coco"), ("a.json", "json"),
        ("a.xlsx", "xlsx"), ("a.ome.zarr", "ome-zarr"), ("s3://b/a.zarr/", "ome-zarr"), ("a.png", "png"),
    ],
)  # fmt: skip
def test_the_ending_says_the_format(name: str, format_name: str) -> None:
    assert find_format(None, name).name == format_name
    assert find_format(format_name, name).name == format_name


def test_what_no_ending_says_is_refused_with_the_list() -> None:
    for name in ("a", "a.gif", "folder/", "a.csv.gz", ".csv2", "csv"):
        with pytest.raises(InputError, match=r"\.csv \(csv\).*by --format only: tiff-slices"):
            find_format(None, name)


def test_an_ending_that_contradicts_is_refused() -> None:
    for name, kind in (("a.csv", "tiff"), ("a.xlsx", "csv"), ("a.json", "tiff"), ("a.tif", "png")):
        with pytest.raises(InputError, match=f"but --format says {kind}"):
            find_format(kind, name)
    for name, kind in (
        ("a.txt", "csv"),
        ("a.json", "coco"),
        ("a.tif", "tiff-overlay"),
        ("a", "png"),
    ):
        assert find_format(kind, name).name == kind


def test_channels_of_a_stack(odd: Labels, tmp_path: Path) -> None:
    holes = open_labels(odd.volume(), "holes")
    export([odd, holes], tmp_path / "two.ome.tif")
    with tifffile.TiffFile(tmp_path / "two.ome.tif") as file:
        assert file.series[0].axes == "ZCYX"
        assert 'Name="cells"' in file.ome_metadata and 'Name="holes"' in file.ome_metadata
        found = file.asarray()
    np.testing.assert_array_equal(found[:, 0], make_odd())
    np.testing.assert_array_equal(found[:, 1], np.where(make_odd() == 1, 7, 0))
    export([odd, holes], tmp_path / "ij.tif", imagej=True, z=(2, 4))
    with tifffile.TiffFile(tmp_path / "ij.tif") as file:
        assert file.is_imagej and file.series[0].axes == "ZCYX"
        np.testing.assert_array_equal(file.asarray()[:, 0], make_odd()[2:4])


def test_layers_of_tables(odd: Labels, tmp_path: Path) -> None:
    both = [odd, open_labels(odd.volume(), "holes")]
    for name, read in (("t.csv", pandas.read_csv), ("t.parquet", pandas.read_parquet)):
        export(both, tmp_path / name)
        table = read(tmp_path / name)
        assert table.groupby("layer")["id"].apply(list).to_dict() == {
            "cells": [1, 2, 3, 4, 5, 6, 70_000],
            "holes": [7],
        }


def test_label_images_of_a_copy(odd: Labels, tmp_path: Path) -> None:
    holes = open_labels(odd.volume(), "holes")
    export([odd, holes], tmp_path / "two.zarr")
    copy = open_volume(tmp_path / "two.zarr")
    assert sorted(copy.labels) == ["cells", "holes"]
    for before in (odd, holes):
        after = np.asarray(copy.labels[before.name].levels[0])
        np.testing.assert_array_equal(after, np.asarray(before.levels[0]))


def test_a_format_of_one_layer_refuses_several(odd: Labels, tmp_path: Path) -> None:
    both = [odd, open_labels(odd.volume(), "holes")]
    for kind in (one for one in formats() if not one.layers):
        with pytest.raises(
            InputError, match=r"takes one label image, not 2; several go into: tiff"
        ):
            export(both, tmp_path / "x", kind.name)
    with pytest.raises(InputError, match="named twice"):
        export([odd, odd], tmp_path / "x.csv")
    assert not list(tmp_path.iterdir())


def test_an_overlay_in_colour(odd: Labels, tmp_path: Path) -> None:
    export(odd, tmp_path / "o.tif", "tiff-overlay")
    with tifffile.TiffFile(tmp_path / "o.tif") as file:
        assert file.series[0].axes == "ZYXS" and file.pages[0].photometric == 2
        found = file.asarray().astype(int)
    grey = np.ptp(found, axis=-1) == 0
    assert grey[make_odd() == 0].all() and not grey[make_odd() == 1].any()


@pytest.mark.parametrize("name", ["xlsx", "nifti", "nrrd", "parquet", "imagej-rois", "obj"])
def test_a_name_without_the_ending(odd: Labels, tmp_path: Path, name: str) -> None:
    """What a person calls a file is what it is called, also where a library wants an ending to know it by."""
    export(odd, tmp_path / "cells 7.txt", format=name)
    assert (tmp_path / "cells 7.txt").exists()
