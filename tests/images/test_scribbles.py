"""Scribbles: label images of class numbers, whose thin strokes survive in every level however they are drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest

import volseg
from tests.images.validation import validate_labels
from volseg.errors import InputError
from volseg.images.pyramid import build_pyramid

SHAPE = (3, 600, 600)
WHOLE = ((0, 3), (0, 600), (0, 600))


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_a_thin_stroke_of_the_brush_is_in_every_level(work_url: str, ngff: str) -> None:
    volume = volseg.create_volume(
        f"{work_url}/a.zarr", axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1), ngff=ngff
    )
    labels = volume.create_labels("scribbles", classes={1: "background", 2: "membrane"})
    with labels.edit(annotator="annotator-1") as editor:
        editor[1, 301, 40:500] = 2
        editor[1, 40:500, 33] = 5  # a number without a name
        editor.flush()
    again = volseg.open(volume.location.url).labels["scribbles"]
    assert len(again.levels) > 1 and again.classes == {1: "background", 2: "membrane"}
    for level in again.levels:
        assert set(np.unique(np.asarray(level))) == {0, 2, 5}
    if (path := again.location.local_path) is not None:
        validate_labels(path)


def test_among_classes_the_more_frequent_one_wins_then_the_lower_number() -> None:
    from volseg.images.downsample import downsample_labels

    block = np.array([[[0, 0, 3, 2], [0, 7, 2, 3]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    np.testing.assert_array_equal(downsample_labels(block, (2, 2, 2), keep_thin=True), [[[7, 2]]])


def test_classes_are_named_and_coloured_also_after_the_table_is_published(tmp_path: object) -> None:
    volume = volseg.create_volume(
        f"{tmp_path}/a.zarr", axes="yx", shape=(64, 64), dtype="uint8", scale_um=(1, 1, 1)
    )
    labels = volume.create_labels("s", "uint8", classes={2: "b", 1: "a"})

    def shown() -> tuple[list[tuple[int, str]], list[int]]:
        said = json.loads(labels.store.get("zarr.json"))["attributes"]["ome"]["image-label"]
        names = [(one["label-value"], one["class"]) for one in said["properties"]]
        return names, [one["label-value"] for one in said["colors"]]

    assert shown() == ([(1, "a"), (2, "b")], [1, 2])
    labels.write_objects(((0, 1), (0, 64), (0, 64)), np.ones((1, 64, 64), np.uint8))
    build_pyramid(labels)
    labels.objects.publish()
    assert shown() == ([(1, "a"), (2, "b")], [1, 2])


@pytest.mark.parametrize("classes", [{0: "nothing"}, {256: "too large"}, {1: " "}])
def test_numbers_that_are_no_classes_are_refused(tmp_path: object, classes: dict[int, str]) -> None:
    volume = volseg.create_volume(
        f"{tmp_path}/a.zarr", axes="yx", shape=(64, 64), dtype="uint8", scale_um=(1, 1, 1)
    )
    with pytest.raises(InputError, match="class"):
        volume.create_labels("s", "uint8", classes=classes)
    assert "s" not in volseg.open(volume.location.url).labels
