"""OME-Zarr as others write it: every version, key layout and codec, and label images that can't be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import volseg
from tests.images.other_writers import edit, write, write_labels
from tests.images.validation import other_reader
from volseg.errors import NameRefusedError, NotOmeZarrError, NotThereError
from volseg.images.image import Volume

DATA = np.random.default_rng(0).integers(1, 4000, (5, 20, 24)).astype(np.uint16)


def voxels(volume: Volume, level: int = 0) -> np.ndarray:
    return np.asarray(volume.levels[level])


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_versions_before_0_4(tmp_path: Path, version: str) -> None:
    separator = {"name": "v2", "separator": "." if version == "0.1" else "/"}
    url = write(
        tmp_path / "v.zarr", DATA[None, None], "tczyx", version=version, levels=2, keys=separator
    )
    volume = volseg.open(url)
    assert (volume.stated_version, volume.ngff_version) == (version, "0.4")
    assert volume.axes == ("t", "c", "z", "y", "x")
    np.testing.assert_array_equal(voxels(volume)[0, 0], DATA)
    assert volume.levels[1].scale == (1, 2, 2)
    assert volume.levels[1].translation == (0, 0.5, 0.5)
    assert any("voxel size" in note for note in volume.notes)
    ((_, shapes, _),) = other_reader(url)
    assert shapes == [level.shape for level in volume.levels]
    volume.create_labels("cells")  # written as 0.4, the newest in Zarr 2
    assert volseg.open(url).labels["cells"].stated_version == "0.4"


@pytest.mark.parametrize("axes", ["yx", "zyx", "czyx"])
def test_axes_of_0_3_are_names(tmp_path: Path, axes: str) -> None:
    data = DATA[0] if axes == "yx" else DATA if axes == "zyx" else DATA[None]
    volume = volseg.open(write(tmp_path / "v.zarr", data, axes, version="0.3"))
    assert volume.axes == tuple(axes)
    np.testing.assert_array_equal(voxels(volume).squeeze(), data.squeeze())


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_version_that_is_not_stated(tmp_path: Path, version: str) -> None:
    url = write(tmp_path / "v.zarr", DATA, version=version)
    name = ".zattrs" if version == "0.4" else "zarr.json"
    text = re.sub(rf'"version": "{version}",?', "", (url / name).read_text())
    (url / name).write_text(re.sub(r",(\s*})", r"\1", text))
    assert volseg.open(url).stated_version == version


@pytest.mark.parametrize("version", ["0.6", "0.6-dev2", "1.0", "0.4"])
def test_versions_to_come_are_refused_by_name(tmp_path: Path, version: str) -> None:
    url = write(tmp_path / "v.zarr", DATA, version="0.5")
    text = (url / "zarr.json").read_text()
    (url / "zarr.json").write_text(text.replace('"0.5"', f'"{version}"'))
    with pytest.raises(NotOmeZarrError, match=rf"'{version}' in Zarr format 3.*0\.5 \(Zarr 3\)"):
        volseg.open(url)


@pytest.mark.parametrize("step", [0.0, -1.0, None, "unknown"])
def test_a_time_step_that_is_none(tmp_path: Path, step: Any) -> None:
    url = write(tmp_path / "v.zarr", DATA[None, None], "tczyx", scale=[step, 1.0, 2.0, 0.5, 0.5])
    assert volseg.open(url).scale == (2, 0.5, 0.5)


def test_levels_without_transformations_are_scaled_by_their_shapes(tmp_path: Path) -> None:
    data = np.zeros((5, 33, 35), np.uint8)
    url = write(tmp_path / "v.zarr", data, levels=3)
    document = json.loads((url / ".zattrs").read_text())
    entry = document["multiscales"][0]
    for dataset in entry["datasets"]:
        del dataset["coordinateTransformations"]
    entry["coordinateTransformations"] = [{"type": "scale", "scale": [3, 0.5, 0.5]}]
    (url / ".zattrs").write_text(json.dumps(document))
    volume = volseg.open(url)
    assert [level.scale for level in volume.levels] == [(3, 0.5, 0.5), (3, 1, 1), (3, 2, 2)]
    assert volume.levels[2].translation == (0, 0.75, 0.75)


@pytest.mark.parametrize("said", [None, "."])
@pytest.mark.parametrize("first", [True, False])
def test_nested_chunks_of_which_the_metadata_say_nothing(
    tmp_path: Path, said: str | None, first: bool
) -> None:
    url = write(tmp_path / "v.zarr", DATA)
    edit(url / "0" / ".zarray", dimension_separator=said)
    wanted = DATA.copy()
    if not first:  # empty chunks aren't stored
        (url / "0" / "0" / "0" / "0").unlink()
        wanted[:8, :8, :8] = 0
    np.testing.assert_array_equal(voxels(volseg.open(url)), wanted)


def test_flat_chunks_of_which_the_metadata_say_nothing(tmp_path: Path) -> None:
    url = write(tmp_path / "v.zarr", DATA, keys={"name": "v2", "separator": "."})
    edit(url / "0" / ".zarray", dimension_separator=None)
    np.testing.assert_array_equal(voxels(volseg.open(url)), DATA)


@pytest.mark.parametrize(
    "options",
    [
        {"keys": {"name": "default", "separator": "."}},
        {"keys": {"name": "v2", "separator": "/"}},
        {"shards": (5, 24, 24)},
        {"filters": zarr.codecs.TransposeCodec(order=(2, 1, 0))},
        {"compressors": [zarr.codecs.BloscCodec(cname="zstd"), zarr.codecs.Crc32cCodec()]},
        {"dtype": ">u2"},
    ],
)
def test_layouts_of_zarr_3(tmp_path: Path, options: dict[str, Any]) -> None:
    volume = volseg.open(write(tmp_path / "v.zarr", DATA, version="0.5", **options))
    np.testing.assert_array_equal(voxels(volume), DATA)


@pytest.mark.parametrize("options", [{"order": "F"}, {"dtype": ">u2"}, {"fill_value": 7}])
def test_layouts_of_zarr_2(tmp_path: Path, options: dict[str, Any]) -> None:
    np.testing.assert_array_equal(voxels(volseg.open(write(tmp_path / "v", DATA, **options))), DATA)


@pytest.mark.parametrize("axes", ["zyxc", "xyz", "yxz", "cxyz"])
def test_axes_in_another_order(tmp_path: Path, axes: str) -> None:
    five = {"c": 2, "z": 5, "y": 20, "x": 24}
    data = np.random.default_rng(1).integers(1, 99, [five[a] for a in axes]).astype(np.uint8)
    sizes = {"c": 1.0, "z": 3.0, "y": 0.5, "x": 0.25}
    volume = volseg.open(write(tmp_path / "v", data, axes, scale=[sizes[a] for a in axes]))
    assert (volume.shape, volume.scale) == ((5, 20, 24), (3, 0.5, 0.25))
    order = [axes.index(a) for a in "czyx" if a in axes]
    np.testing.assert_array_equal(voxels(volume), data.transpose(order))
    labels = volume.create_labels("cells")
    assert (labels.shape, labels.scale) == (volume.shape, volume.scale)
    region = ((0, 5), (0, 20), (0, 24))
    labels.write_objects(region, DATA)
    np.testing.assert_array_equal(labels.read(region), DATA)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_consolidated_metadata_alone(tmp_path: Path, version: str) -> None:
    url = write(tmp_path / "v.zarr", DATA, version=version)
    volseg.open(url).create_labels("cells")
    zarr.consolidate_metadata(str(url), zarr_format=2 if version == "0.4" else 3)
    if version == "0.4":
        for name in (".zattrs", ".zgroup", "0/.zarray", "0/.zattrs"):
            (url / name).unlink(missing_ok=True)
    else:
        (url / "0" / "zarr.json").unlink()
    for document in (url / "labels").rglob(".z*" if version == "0.4" else "zarr.json"):
        if "volseg" not in document.parts:
            document.unlink()
    volume = volseg.open(url)
    np.testing.assert_array_equal(voxels(volume), DATA)
    assert list(volume.labels) == ["cells"]
    assert volume.labels["cells"].shape == DATA.shape


def test_metadata_of_0_4_in_zarr_3_are_refused(tmp_path: Path) -> None:
    url = write(tmp_path / "v.zarr", DATA, version="0.5")
    document = json.loads((url / "zarr.json").read_text())
    edit(url / "zarr.json", attributes=document["attributes"]["ome"])
    with pytest.raises(NotOmeZarrError, match="outside of 'ome'"):
        volseg.open(url)


@pytest.mark.parametrize("path", ["/0", "./0", "0/", "0//."])
def test_paths_of_levels_in_other_words(tmp_path: Path, path: str) -> None:
    url = write(tmp_path / "v.zarr", DATA)
    text = (url / ".zattrs").read_text()
    (url / ".zattrs").write_text(text.replace('"path": "0"', f'"path": "{path}"'))
    volume = volseg.open(url)
    assert volume.levels[0].path == "0"
    np.testing.assert_array_equal(voxels(volume), DATA)


@pytest.mark.parametrize("path", ["..", "../v.zarr/0", "0/../0", "", ".", "/"])
def test_paths_that_lead_elsewhere_are_refused(tmp_path: Path, path: str) -> None:
    url = write(tmp_path / "v.zarr", DATA)
    text = (url / ".zattrs").read_text()
    (url / ".zattrs").write_text(text.replace('"path": "0"', f'"path": "{path}"'))
    with pytest.raises(NotOmeZarrError, match="not a relative path"):
        volseg.open(url)


def test_the_coarsest_level_first_is_refused(tmp_path: Path) -> None:
    url = write(tmp_path / "v.zarr", DATA, levels=3)
    document = json.loads((url / ".zattrs").read_text())
    document["multiscales"][0]["datasets"].reverse()
    (url / ".zattrs").write_text(json.dumps(document))
    with pytest.raises(NotOmeZarrError, match="dataset 1 is finer than the first one, 2"):
        volseg.open(url)


def test_the_group_of_labels_names_them(tmp_path: Path) -> None:
    url = write(tmp_path / "v.zarr", DATA)
    write_labels(url, "cells", DATA)
    with pytest.raises(NotOmeZarrError, match=r"labels, not an image; in it are: .*labels/cells"):
        volseg.open(url / "labels")


# --- label images that can't be read

UNREADABLE = {
    "removed": "has no label image",
    "array": "Zarr array",
    "damaged": "is damaged",
    "real": "holds float32",
    "sub/cells": "can't be used",
    "50%": "can't be used",
    ".hidden": "can't be used",
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with two good label images among those that can't be read."""
    url = write(tmp_path_factory.mktemp("mixed") / "v.zarr", DATA)
    write_labels(url, "first", (DATA > 2000).astype(np.uint8))
    for name in UNREADABLE:
        write_labels(url, name, None if name == "removed" else DATA.astype(np.float32))
    write_labels(url, "last", DATA.astype(np.int64))
    (url / "labels" / "damaged" / ".zattrs").write_text("{")
    array = zarr.create_array(
        str(url / "labels" / "array"), data=DATA, overwrite=True, zarr_format=2
    )
    assert array.shape == DATA.shape
    return url


def test_what_cannot_be_read_hides_nothing(mixed: Path) -> None:
    labels = volseg.open(mixed).labels
    assert list(labels) == ["first", "last"]
    assert len(labels) == 2
    assert [one.dtype for one in labels.values()] == [np.uint8, np.int64]
    assert labels.unreadable.keys() == UNREADABLE.keys()
    for name, words in UNREADABLE.items():
        assert words in labels.unreadable[name]
        with pytest.raises((NotOmeZarrError, NotThereError, NameRefusedError), match=words):
            _ = labels[name]
    assert "removed" not in labels
    assert "real" in labels


def test_a_name_that_is_listed_and_not_there_can_be_given_again(mixed: Path) -> None:
    labels = volseg.open(mixed).create_labels("removed")
    assert labels.shape == DATA.shape
