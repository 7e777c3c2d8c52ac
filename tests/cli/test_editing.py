"""`volseg edit`: objects deleted, merged and named by the command line, all or nothing, and taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Said
from volseg.images.image import open_volume
from volseg.importing import import_labels, import_volume

Volseg = Callable[..., Said]
IDS = (3, 4, 5, 6)


@pytest.fixture
def url(tmp_path: Path) -> str:
    np.save(tmp_path / "a.npy", np.zeros((4, 20, 40), np.uint8))
    ids = np.zeros((4, 20, 40), np.uint16)
    for number, one in enumerate(IDS):
        ids[1:3, 5:12, 10 * number : 10 * number + 6] = one
    np.save(tmp_path / "ids.npy", ids)
    volume = import_volume(tmp_path / "a.npy", tmp_path / "v.zarr", voxel_size_um=(1, 1, 1))
    import_labels(tmp_path / "ids.npy", volume, "cells")
    return str(tmp_path / "v.zarr")


def stored(url: str) -> tuple[list[int], dict[int, str | None]]:
    """The ids in the voxels, and the classes in the table."""
    labels = open_volume(url).labels["cells"]
    ids = np.unique(np.asarray(labels.levels[0])).tolist()
    return ids[1:], {row.id: row.class_ for row in labels.objects.rows() if row.class_}


def test_objects_are_deleted_merged_and_named_and_all_is_taken_back(
    volseg: Volseg, url: str
) -> None:
    given = ("--delete", 3, "--merge", "4,5", "--class", "6=nucleus", "--annotator", "anna")
    said = volseg("edit", url, "cells", *given)
    assert said.status == 0, said.err
    assert "object 3 deleted" in said.out and "objects 4, 5 merged into 4" in said.out
    assert stored(url) == ([4, 6], {6: "nucleus"})
    edits = json.loads(volseg("history", url, "cells", "--json").out)
    assert {one["annotator"] for one in edits} == {"anna"} and len(edits) == 3
    for _ in range(3):
        assert volseg("edit", url, "cells", "--undo").status == 0
    assert stored(url) == (list(IDS), {})
    said = volseg("edit", url, "cells", "--undo")
    assert said.status == 2 and "no edit to take back" in said.err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--delete", "3,99"), "99"),
        (("--merge", "4,99", "--delete", "3"), "99"),
        (("--delete", "3", "--class", "77=x"), "77"),
        (("--delete", "3", "--merge", "3,4"), "object 3"),
        (("--merge", "4"), "two ids"),
        (("--merge", "4,4"), "two ids"),
        (("--delete", "0"), "ids separated by commas"),
        (("--delete", "-3"), "ids separated by commas"),
        (("--class", "6"), "ID=CLASS"),
        (("--undo", "--delete", "3"), "by itself"),
        ((), "give --delete"),
    ],
)
def test_what_can_not_be_leaves_everything(
    volseg: Volseg, url: str, given: tuple[str, ...], words: str
) -> None:
    said = volseg("edit", url, "cells", *given)
    assert said.status == 2 and words in said.err, said.err
    assert stored(url) == (list(IDS), {})
    assert json.loads(volseg("history", url, "cells", "--json").out) == []


def test_other_names_are_told(volseg: Volseg, url: str) -> None:
    said = volseg("edit", url, "cels", "--delete", 3)
    assert said.status == 2 and "cells" in said.err


def test_labels_of_another_writer_without_a_table(volseg: Volseg, url: str) -> None:
    import shutil

    labels = open_volume(url).labels["cells"]
    shutil.rmtree(Path(str(labels.location.local_path)) / "volseg")
    said = volseg("edit", url, "cells", "--merge", "5,6", "--class", "4=debris")
    assert said.status == 0, said.err
    assert stored(url) == ([3, 4, 5], {4: "debris"})
