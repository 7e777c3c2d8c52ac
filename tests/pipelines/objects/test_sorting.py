"""What follows from classes: kept and dropped objects, parents, the next object, and numbers for a paper."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.bench.discs import textured_discs
from tests.cli.conftest import Said
from volseg.images.create import create_volume
from volseg.images.image import open_volume
from volseg.pipelines.objects.summary import holm

Volseg = Callable[..., Said]


def done(said: Said) -> Said:
    assert said.status == 0, said.err
    return said


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Twenty-five discs; 1 to 5 are good, 6 to 15 bad, the others have no class."""
    scene = textured_discs(1, count=25)
    volume = scene.write(tmp_path / "v.zarr")
    classes = {i: "good" if i <= 5 else "bad" for i in range(1, 16)}
    with volume.labels["cells"].edit(annotator="anna") as editor:
        editor.set_classes(classes)
    return str(tmp_path / "v.zarr")


def ids(url: str, name: str, level: int = 0) -> set[int]:
    return set(np.unique(np.asarray(open_volume(url).labels[name].levels[level])).tolist()) - {0}


def test_kept_and_dropped_into_new_label_images(volseg: Volseg, url: str) -> None:
    told = json.loads(
        done(
            volseg("objects", "keep", url, "cells", "--class", "good", "--labels", "g", "--json")
        ).out
    )
    assert (told["kept"], ids(url, "g")) == (5, {1, 2, 3, 4, 5})
    assert {row.class_ for row in open_volume(url).labels["g"].objects.rows()} == {"good"}
    done(volseg("objects", "drop", url, "cells", "--class", "bad", "--labels", "rest"))
    assert ids(url, "rest") == {*range(1, 6), *range(16, 26)}
    assert ids(url, "cells") == set(range(1, 26))
    again = volseg("objects", "keep", url, "cells", "--class", "good", "--labels", "g")
    assert again.status == 2 and "--overwrite" in again.err
    unknown = volseg("objects", "keep", url, "cells", "--class", "ugly", "--labels", "u")
    assert unknown.status == 2 and "bad, good" in unknown.err and "u" not in open_volume(url).labels


def test_dropping_in_place_is_one_edit_that_can_be_undone(volseg: Volseg, url: str) -> None:
    done(volseg("objects", "drop", url, "cells", "--class", "bad"))
    assert ids(url, "cells") == {*range(1, 6), *range(16, 26)}
    entries = json.loads(done(volseg("history", url, "cells", "--json")).out)
    assert [one["kind"] for one in entries] == ["set_class", "delete"]


def test_each_object_finds_its_parent(volseg: Volseg, tmp_path: Path) -> None:
    """Whole, more than half, half and half, less than half, outside: in blocks that cut all of them."""
    url = str(tmp_path / "v.zarr")
    volume = create_volume(url, axes="zyx", shape=(4, 40, 60), dtype="uint8", scale_um=(1, 1, 1))
    cells, parts = np.zeros((4, 40, 60), np.uint32), np.zeros((4, 40, 60), np.uint32)
    cells[:, :, 0:20], cells[:, :, 20:40] = 7, 3
    parts[:, 5:10, 2:12] = 1
    parts[:, 15:20, 14:24] = 2  # 6 of 10 columns in 7
    parts[:, 25:30, 15:25] = 4  # half in each: the lower id
    parts[:, 32:36, 36:50] = 5  # 4 of 14
    parts[:, 5:10, 50:58] = 6
    whole = ((0, 4), (0, 40), (0, 60))
    volume.create_labels("cells", chunks=(2, 16, 16)).write_objects(whole, cells)
    volume.create_labels("parts", chunks=(1, 16, 16)).write_objects(whole, parts)
    told = json.loads(done(volseg("objects", "parents", url, "parts", "cells", "--json")).out)
    assert told["parents"] == [[0, 1, 7], [0, 2, 7], [0, 4, 3]]
    assert told["orphans"] == [[0, 5], [0, 6]]
    assert [one["id"] for one in told["several"]] == [2, 4]
    rows = {row.id: row.parent for row in open_volume(url).labels["parts"].objects.rows()}
    assert rows == {1: 7, 2: 7, 4: 3, 5: None, 6: None}
    assert volseg("objects", "parents", url, "parts", "parts").status == 2
    done(volseg("objects", "parents", url, "parts", "cells", "--semantic", "kinds"))
    kinds = open_volume(url).labels["kinds"]
    np.testing.assert_array_equal(
        kinds.read(whole), np.where(parts > 0, 2, np.where(cells > 0, 1, 0))
    )
    assert kinds.metadata.classes == {1: "cells without parts", 2: "parts"}
    again = volseg("objects", "parents", url, "parts", "cells", "--semantic", "kinds")
    assert again.status == 2 and "--overwrite" in again.err


def test_the_next_objects_are_unlabelled_and_the_least_sure_come_first(
    volseg: Volseg, url: str, tmp_path: Path
) -> None:
    first = json.loads(done(volseg("objects", "next", url, "cells", "--count", 30, "--json")).out)
    assert sorted(one["id"] for one in first) == list(range(16, 26))
    assert [one["id"] for one in first] != list(range(16, 26))
    model = tmp_path / "m.model"
    done(volseg("objects", "train", url, "cells", "--out", model))
    command = ("objects", "next", url, "cells", "--model", model, "--count", 30, "--json")
    unsure = json.loads(done(volseg(*command, "--how", "unsure")).out)
    margins = [one["margin"] for one in unsure]
    assert margins == sorted(margins) and len(margins) == 10
    each = json.loads(done(volseg(*command, "--how", "each")).out)
    kinds = {one["class"] for one in each}
    assert {one["class"] for one in each[: len(kinds)]} == kinds
    only = json.loads(done(volseg(*command, "--how", "unsure", "--class", "bad")).out)
    assert {one["class"] for one in only} <= {"bad"}
    assert volseg("objects", "next", url, "cells", "--how", "unsure").status == 2


def test_groups_are_summed_up_and_compared(volseg: Volseg, url: str, tmp_path: Path) -> None:
    images: list[object] = []
    for i in range(6):
        scene = textured_discs(10 + i, count=9, radius=6 if i < 3 else 9)
        scene.write(tmp_path / f"i{i}.zarr")
        images += [tmp_path / f"i{i}.zarr", "cells"]
    said = done(
        volseg(
            "objects", "summary", *images, "--groups", "a,a,a,b,b,b", "--features", "area", "--json",
            "--csv", tmp_path / "s.csv", "--plots", tmp_path / "plots",
        )
    )  # fmt: skip
    found = json.loads(said.out)
    pooled = {row["group"]: row for row in found["rows"] if row["image"] is None}
    assert (pooled["a"]["count"], pooled["a"]["median"], pooled["b"]["median"]) == (
        27,
        113.0,
        253.0,
    )
    (comparison,) = found["comparisons"]
    assert (comparison["units"], comparison["test"]) == ("images", "Mann-Whitney")
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 1 + 6 + 2
    ElementTree.parse(tmp_path / "plots" / "area.svg")
    by_class = done(volseg("objects", "summary", url, "cells", "--features", "area")).out
    assert "good" in by_class and "(no class)" in by_class
    assert volseg("objects", "summary", url, "cells", "--features", "aera").status == 2
    assert volseg("objects", "summary", url, "cells", "--groups", "a,b").status == 2


def test_holm_corrects_for_all_comparisons() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
