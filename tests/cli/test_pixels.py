"""`volseg pixels`: what people type, and what they are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import volseg as library
from tests.cli.conftest import Said

Command = Callable[..., Said]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A 2D float image of three channels, of which the last tells left from right, with strokes on it."""
    url = str(tmp_path_factory.mktemp("plane") / "plane.zarr")
    shape = (3, 90, 101)
    volume = library.create_volume(
        url, axes="cyx", shape=shape, dtype="float32", scale_um=(1, 0.5, 0.5)
    )
    image = np.random.default_rng(3).normal(0, 1e-3, shape).astype(np.float32)
    image[2, :, 50:] += 0.01
    image[0, 0, 0] = np.nan
    for channel in range(3):
        volume.write(((0, 1), (0, 90), (0, 101)), image[channel][None], channel=channel)
    strokes = np.zeros((1, 90, 101), np.uint32)
    strokes[0, 20, 5:25], strokes[0, 70, 5:25] = 3, 3
    strokes[0, 20, 70:90], strokes[0, 70, 70:90] = 7, 7
    labels = volume.create_labels("scribbles", classes={3: "left"})
    labels.write_objects(((0, 1), (0, 90), (0, 101)), strokes)
    return url


@pytest.fixture(scope="module")
def model(plane: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    from volseg.pipelines.pixels import train

    place = str(tmp_path_factory.mktemp("model") / "sides.model")
    train([(plane, "scribbles")], place, embedding="none")
    return place


def test_from_strokes_to_classes(volseg: Command, plane: str, tmp_path: Path) -> None:
    place = tmp_path / "sides.model"
    trained = volseg(
        "pixels", "train", plane, "--scribbles", "scribbles", "--out", place, "--embedding", "none",
        "--json",
    )  # fmt: skip
    assert trained.status == 0, trained.err
    told = json.loads(trained.out)
    assert [(c["number"], c["name"], c["strokes"], c["voxels"]) for c in told["classes"]] == [
        (3, "left", 2, 40),
        (7, None, 2, 40),
    ]
    applied = volseg("pixels", "apply", plane, "--model", place, "--labels", "sides", "--json")
    assert applied.status == 0, applied.err
    found = np.asarray(library.open(plane).labels["sides"].levels[0])[0]
    assert (found[:, :45] == 3).mean() > 0.9 and (found[:, 55:] == 7).mean() > 0.9


def test_the_plan_alone_writes_nothing(volseg: Command, plane: str, model: str) -> None:
    said = volseg("pixels", "apply", plane, "--model", model, "--labels", "never", "--plan-only")
    assert said.status == 0 and "3 left, 7" in said.out
    assert "never" not in library.open(plane).labels


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "{url}", "--scribbles", "no", "--out", "{new}"], "it has: scribbles"),
        (["train", "{url}", "--scribbles", "scribbles", "--out", "{model}"], "give --overwrite"),
        (["train", "{url}", "--scribbles", "scribbles", "--out", "{new}", "--channel", "4"], "channel 4"),
        (["train", "{url}", "--scribbles", "scribbles", "--out", "{new}", "--channel", "a"], "--channel 'a'"),
        (["train", "{url}", "--scribbles", "scribbles", "--out", "{new}", "--embedding", "x"], "x"),
        (["apply", "{url}", "--model", "{new}", "--labels", "a"], "is no model"),
        (["apply", "{url}", "--model", "{url}", "--labels", "a"], "is no model"),
        (["apply", "{url}", "--model", "{model}", "--labels", "a", "--channel", "0"], "trained on 3"),
        (["apply", "{url}", "--model", "{model}", "--labels", "a/b"], "a/b"),
        (["apply", "{url}", "--model", "{model}", "--labels", "a", "--level", "9"], "no level 9"),
        (["apply", "{url}", "--model", "{model}", "--labels", "a", "--time", "1"], "time point 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(
    volseg: Command, plane: str, model: str, tmp_path: Path, arguments: list[str], told: str
) -> None:
    places = {"url": plane, "model": model, "new": str(tmp_path / "new.model")}
    said = volseg("pixels", *(argument.format(**places) for argument in arguments))
    assert said.status == 2 and told in said.err, said
    assert said.err.count("\n") == 1
    assert not (tmp_path / "new.model").exists()


def test_scribbles_of_one_class_or_none_are_refused(
    volseg: Command, plane: str, tmp_path: Path
) -> None:
    volume = library.open(plane)
    empty = volume.create_labels("empty", classes={})
    how = ["--out", tmp_path / "new.model", "--embedding", "none"]
    said = volseg("pixels", "train", plane, "--scribbles", "empty", *how)
    assert said.status == 2 and "no labelled voxel" in said.err
    data = np.zeros((1, 90, 101), np.uint32)
    data[0, 3, :9] = 2
    empty.write_objects(((0, 1), (0, 90), (0, 101)), data)
    said = volseg("pixels", "train", plane, "--scribbles", "empty", *how)
    assert said.status == 2 and "at least two classes" in said.err
    data[0] = np.arange(data[0].size).reshape(data[0].shape)
    empty.write_objects(((0, 1), (0, 90), (0, 101)), data)
    said = volseg("pixels", "train", plane, "--scribbles", "empty", *how)
    assert said.status == 2 and "look like ids of objects" in said.err


def test_next_names_regions_once(volseg: Command, plane: str, model: str) -> None:
    none = volseg("next", plane, "scribbles")
    assert none.status == 2 and "volseg pixels apply --maps" in none.err
    names = ["--labels", "seen", "--maps", "seen"]
    assert volseg("pixels", "apply", plane, "--model", model, *names).status == 0
    found = []
    for _ in range(3):
        said = volseg("next", plane, "scribbles", "--json")
        assert said.status == 0, said.err
        found += [json.dumps(one["region"]) for one in json.loads(said.out)]
    assert len(set(found)) == len(found) > 0
    shown = volseg("next", plane, "scribbles", "--count", 50)
    assert shown.status == 0 and "no further region" in shown.err


def test_classes_are_scored_against_true_ones(volseg: Command, plane: str, tmp_path: Path) -> None:
    import tifffile

    truth = np.full((1, 90, 101), 3, np.uint8)
    truth[:, :, 50:] = 7
    tifffile.imwrite(tmp_path / "truth.tif", truth)
    volume = library.open(plane)
    made = volume.create_labels("given", "uint8", classes={3: "left"})
    found = truth.copy()
    found[:, :, 40:50] = 7
    made.write_objects(((0, 1), (0, 90), (0, 101)), found)
    how = ["evaluate", plane, "given", "--truth", tmp_path / "truth.tif", "--semantic"]
    said = volseg(*how, "--json")
    assert said.status == 0, said.err
    told = json.loads(said.out)
    wanted = [40 / 50, 51 / 61]
    assert [one["iou"] for one in told["classes"]] == pytest.approx(wanted)
    assert told["mean_iou"] == pytest.approx(np.mean(wanted))
    assert "class 3 left" in volseg(*how).out
    assert volseg(*how[:-1], "--partial").status == 2


def test_strokes_of_a_sparse_tiff_keep_their_numbers_and_get_names(
    volseg: Command, plane: str, tmp_path: Path
) -> None:
    import tifffile

    strokes = np.zeros((90, 101), np.uint8)
    strokes[20, 5:25], strokes[70, 70:90] = 3, 7
    tifffile.imwrite(tmp_path / "strokes.tif", strokes)
    how = ["import-labels", tmp_path / "strokes.tif", plane]
    said = volseg(*how, "drawn", "--classes", "3=left,7=right")
    assert said.status == 0, said.err
    labels = library.open(plane).labels["drawn"]
    np.testing.assert_array_equal(np.asarray(labels.levels[0])[0], strokes)
    assert labels.classes == {3: "left", 7: "right"} and labels.metadata.keep_thin
    said = volseg(*how, "other", "--classes", "left=3")
    assert said.status == 2 and "1=background" in said.err


def test_rois_of_named_classes_become_strokes(volseg: Command, plane: str, tmp_path: Path) -> None:
    first, second = (
        [[[10, 10], [40, 10], [40, 14], [10, 14]]],
        [[[60, 50], [90, 50], [90, 53], [60, 53]]],
    )
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": ring},
            "properties": {"classification": {"name": name}},
        }
        for ring, name in ((first, "left"), (second, "right"))
    ]
    path = tmp_path / "rois.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    said = volseg("import-labels", path, plane, "rois", "--classes", "3=left,7=right")
    assert said.status == 0, said.err
    found = np.asarray(library.open(plane).labels["rois"].levels[0])[0]
    assert set(np.unique(found)) == {0, 3, 7} and found[12, 20] == 3 and found[51, 70] == 7
    said = volseg("import-labels", path, plane, "others", "--classes", "3=left")
    assert said.status == 2 and "'right'" in said.err
