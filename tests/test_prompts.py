"""The prompts file: what is read, what is refused and in which words, and prompts from labels."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volseg.errors import NotThereError, PromptError
from volseg.prompts import (
    PromptSet,
    RunLengthMask,
    Scribble,
    as_prompts,
    load_prompts,
    parse_prompts,
    prompts_from_labels,
)

GOOD: dict[str, Any] = {
    "format": "volseg-prompts",
    "version": 1,
    "layers": [
        {"name": "nuclei", "channel": 0, "category": "nucleus"},
        {"name": "cells", "channel": [0, 1]},
    ],
    "objects": [
        {
            "id": 7,
            "layer": "nuclei",
            "prompts": [
                {"z": 5, "points": [[12.5, 8.0, 1], [13.0, 7.0, 0]], "box": [10, 6, 14, 11]},
                {"z": 6, "mask": {"size": [20, 30], "counts": [12, 3, 585]}},
                {"z": 8, "ends": True},
            ],
        },
        {
            "id": 9,
            "layer": "cells",
            "prompts": [
                {"z": 1, "scribbles": [{"path": [[1, 2], [3, 4]], "radius": 2, "label": 1}]}
            ],
        },
    ],
}
SHAPE = (10, 20, 30)


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    """The good document with one place changed; the value ``...`` deletes the key."""
    document = copy.deepcopy(GOOD)
    place: Any = document
    for part in path[:-1]:
        place = place[part]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


def test_the_designs_example_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(GOOD))
    prompts = load_prompts(path)
    prompts.check_inside(SHAPE, 1, 2)
    assert prompts.layer_of(prompts.objects[0]).category == "nucleus"
    assert prompts.layers[1].channel == (0, 1)
    by_slice = prompts.objects[0].by_slice()
    assert list(by_slice) == [5, 6, 8]
    assert by_slice[8].ends
    points, labels = by_slice[5].point_arrays()
    assert points.tolist() == [[12.5, 8.0], [13.0, 7.0]]
    assert labels.tolist() == [1, 0]
    assert by_slice[6].mask is not None
    assert by_slice[6].mask.decode().sum() == 3


def test_dump_and_load_round_trip(tmp_path: Path) -> None:
    prompts = parse_prompts(GOOD)
    prompts.dump(tmp_path / "out.json")
    assert load_prompts(tmp_path / "out.json") == prompts
    assert as_prompts(tmp_path / "out.json") == as_prompts(GOOD) == as_prompts(prompts)
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


P0 = ["objects", 0, "prompts", 0]
REFUSED = [
    (["laiers"], [], "unknown key 'laiers' in the file; did you mean 'layers'?"),
    ([*P0, "poitns"], [], "unknown key 'poitns' in objects[0].prompts[0]; did you mean 'points'?"),
    (
        ["objects", 1, "klass"],
        1,
        "unknown key 'klass' in objects[1]; known keys: id, ",
    ),
    (["layers", 0, "colour"], 1, "unknown key 'colour' in layers[0]"),
    (["objects", 0, "prompts", 1, "mask", "sise"], 1, "objects[0].prompts[1].mask; did you mean"),
    (["format"], ..., "format is missing"),
    (["version"], 2, "version is 2; this version reads 1 only"),
    (["objects", 0, "id"], ..., "objects[0].id is missing"),
    ([*P0, "z"], ..., "objects[0].prompts[0].z is missing"),
    ([*P0, "z"], -1, "objects[0].prompts[0].z: "),
    ([*P0, "z"], 1.5, "objects[0].prompts[0].z: "),
    ([*P0, "z"], True, "objects[0].prompts[0].z: a whole number is expected"),
    ([*P0, "points", 1], [1, 2], "objects[0].prompts[0].points[1][2] is missing (points are [y, x"),
    ([*P0, "points", 1], [1, 2, 3], "objects[0].prompts[0].points[1][2]: "),
    ([*P0, "points", 1, 0], "a", "objects[0].prompts[0].points[1][0]: a number is expected"),
    (
        [*P0, "box"],
        [10, 6, 10, 11],
        "objects[0].prompts[0]: 'box' [10.0, 6.0, 10.0, 11.0]",
    ),
    ([*P0, "box"], [10, 6, 10], "objects[0].prompts[0].box[3] is missing (a box is [y0, x0"),
    ([*P0, "ends"], True, "objects[0].prompts[0]: 'ends' says"),
    (["objects", 0, "prompts", 1], {"z": 3}, "objects[0].prompts[1] is empty"),
    (
        ["objects", 0, "prompts", 1, "mask", "counts"],
        [12, 3],
        "objects[0].prompts[1].mask: the run lengths in 'counts' sum to 15, but",
    ),
    (["objects", 0, "prompts", 1, "mask", "counts"], [600], "the mask has no foreground"),
    (["objects", 0, "prompts", 1, "z"], 5, None),
    (["objects", 0, "prompts", 2, "t"], 1, "objects[0]: nothing shows where object 7 is at t 1"),
    (["objects", 0, "prompts"], [], "objects[0].prompts: "),
    (["objects"], [], "objects: "),
    (["objects", 1, "id"], 7, "objects[1].id: 7 is the id of objects[0] too"),
    (["objects", 1, "id"], 0, "objects[1].id: "),
    (["objects", 1, "id"], 2**32, "objects[1].id: "),
    (["objects", 1, "layer"], "cels", "objects[1].layer: no layer is called 'cels'; layers are"),
    (["objects", 1, "layer"], ..., "objects[1].layer is missing; layers are 'nuclei', 'cells'"),
    (["layers", 1, "name"], "nuclei", "layers[1].name: 'nuclei' is the name of layers[0] too"),
    (["layers", 1, "name"], "../x", "layers[1].name: "),
    (["layers", 1, "name"], "a/b", "layers[1].name: "),
    (["layers", 1, "channel"], [0, 1, 2, 3], "layers[1].channel: a channel is an index"),
    (["layers", 1, "channel"], "red", "layers[1].channel: a channel is an index"),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_what_is_wrong_is_named_with_its_place(
    path: list[Any], value: Any, message: str | None
) -> None:
    document = changed(path, value)
    if message is None:
        parse_prompts(document)
        return
    with pytest.raises(PromptError) as caught:
        parse_prompts(document, where="p.json")
    assert str(caught.value).startswith("p.json: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


OUTSIDE = [
    ([*P0, "points", 1], [20, 3, 1], "objects[0].prompts[0].points[1]: (y 20, x 3) lies outside"),
    ([*P0, "points", 1], [3, -1, 0], "objects[0].prompts[0].points[1]: "),
    ([*P0, "z"], 10, "objects[0].prompts[0].z: 10 is beyond the stack; the image has 10 slices"),
    (["objects", 1, "prompts", 0, "t"], 1, "objects[1].prompts[0].t: 1 is beyond the stack"),
    ([*P0, "box"], [10, 6, 21, 11], "objects[0].prompts[0].box: [10.0, 6.0, 21.0, 11.0] reaches"),
    (
        ["objects", 0, "prompts", 1, "mask"],
        {"size": [2, 3], "counts": [1, 5]},
        ".mask.size: [2, 3]",
    ),
    (
        ["objects", 1, "prompts", 0, "scribbles", 0, "path", 1],
        [3, 40],
        "objects[1].prompts[0].scribbles[0].path[1]: ",
    ),
    (["layers", 1, "channel"], [0, 2], "layers[1].channel: 2 is out of range; the image has 2"),
]


@pytest.mark.parametrize(("path", "value", "message"), OUTSIDE)
def test_what_lies_outside_the_volume_is_named(path: list[Any], value: Any, message: str) -> None:
    prompts = parse_prompts(changed(path, value))
    with pytest.raises(PromptError) as caught:
        prompts.check_inside(SHAPE, 1, 2)
    assert message in str(caught.value)


def test_voxels_reach_half_a_voxel_around_their_centre() -> None:
    edge = changed([*P0, "points"], [[-0.5, 29.4, 1]])
    parse_prompts(edge).check_inside(SHAPE, 1, 2)
    beyond = parse_prompts(changed([*P0, "points"], [[19.5, 0, 1]]))
    with pytest.raises(PromptError, match="outside the volume"):
        beyond.check_inside(SHAPE, 1, 2)


def test_prompts_of_one_slice_are_merged_but_two_boxes_refused() -> None:
    twice = changed(["objects", 0, "prompts", 1], {"z": 5, "points": [[1, 1, 0]]})
    assert len(parse_prompts(twice).objects[0].by_slice()[5].points) == 3
    two = changed(["objects", 0, "prompts", 1], {"z": 5, "box": [1, 1, 2, 2]})
    with pytest.raises(PromptError, match=r"prompts\[0\] and prompts\[1\] both give 'box' for z 5"):
        parse_prompts(two)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON at line 1"),
        ("[]", "a prompts file is a JSON object"),
        ('{"format": "volseg-prompts", "version": 1, "version": 1}', "'version' stands twice"),
        ('{"format": "volseg-prompts"', "not JSON"),
        ("\udcff", "no UTF-8"),
    ],
)
def test_files_that_are_not_prompts(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PromptError, match=message) as caught:
        load_prompts(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match=r"nowhere\.json"):
        load_prompts(tmp_path / "nowhere.json")
    with pytest.raises(PromptError, match="folder"):
        load_prompts(tmp_path)


def test_nan_is_no_coordinate() -> None:
    with pytest.raises(PromptError, match=r"points\[0\]\[0\]"):
        parse_prompts(changed([*P0, "points", 0, 0], float("nan")))


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any))
def test_run_lengths_round_trip(mask: np.ndarray) -> None:
    encoded = RunLengthMask.encode(mask)
    assert sum(encoded.counts) == mask.size
    assert all(n > 0 for n in encoded.counts[1:])
    assert (encoded.decode() == mask).all()


def test_scribble_points_cover_the_path() -> None:
    points = Scribble(path=((0.0, 0.0), (0.0, 20.0), (5.0, 20.0))).points(spacing=8.0)
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (5.0, 20.0)
    steps = np.hypot(*np.diff(np.array(points), axis=0).T)
    assert steps.max() <= 8.0


def labels_with_a_stray_slice() -> np.ndarray:
    labels = np.zeros((9, 16, 16), np.uint32)
    labels[1:8, 4:11, 4:11] = 4_000_000_000
    labels[4] = 0
    labels[4, 0, 0] = 4_000_000_000  # the middle slice has almost nothing of it
    labels[2:5, 12:15, 12:15] = 3
    return labels


def test_prompts_from_labels_avoid_a_poor_middle_slice() -> None:
    labels = labels_with_a_stray_slice()
    prompts = prompts_from_labels(labels)
    assert [one.id for one in prompts.objects] == [3, 4_000_000_000]
    big = prompts.objects[1].prompts[0]
    assert big.z == 3
    assert big.points == ((7.0, 7.0, 1),)
    assert prompts.objects[0].prompts[0].points == ((13.0, 13.0, 1),)
    prompts.check_inside(labels.shape)


def test_boxes_and_masks_from_labels() -> None:
    labels = labels_with_a_stray_slice()
    boxes = prompts_from_labels(labels, kind="box", layer="cells", channel=1)
    assert boxes.objects[1].prompts[0].box == (4, 4, 11, 11)
    assert boxes.layers[0].channel == 1
    masks = prompts_from_labels(labels, kind="mask", slice="largest", min_voxels=100)
    assert [one.id for one in masks.objects] == [4_000_000_000]
    mask = masks.objects[0].prompts[0].mask
    assert mask is not None
    assert (mask.decode() == (labels[1] == 4_000_000_000)).all()


def test_a_2d_label_image_is_one_slice_and_empty_labels_are_refused() -> None:
    plane = np.zeros((5, 5), np.uint8)
    with pytest.raises(PromptError, match="no object"):
        prompts_from_labels(plane)
    plane[2, 2] = 1
    assert prompts_from_labels(plane).objects[0].prompts[0].z == 0
    with pytest.raises(PromptError, match="shape"):
        prompts_from_labels(np.zeros((1, 1, 5, 5), np.uint8))


def test_round_trip_through_text_is_exact() -> None:
    prompts = prompts_from_labels(labels_with_a_stray_slice(), kind="mask")
    assert parse_prompts(json.loads(prompts.to_json())) == prompts
    assert isinstance(prompts, PromptSet)


def test_prompts_from_a_label_image(tmp_path: Path) -> None:
    from volseg.images.create import create_volume

    array = labels_with_a_stray_slice()
    volume = create_volume(
        tmp_path / "v.zarr", axes="zyx", shape=array.shape, dtype="uint8", scale_um=(1, 1, 1)
    )
    labels = volume.create_labels("cells")
    labels.write_objects(((0, 9), (0, 16), (0, 16)), array)
    assert prompts_from_labels(labels) == prompts_from_labels(array)
