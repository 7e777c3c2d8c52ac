"""Volumes on a web server that lists nothing: every command that only reads works, and says what it can't know."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Said
from tests.storage.odd_server import OddServer, running
from volseg.images.image import open_volume
from volseg.importing import import_labels, import_volume
from volseg.prompts import prompts_from_labels

Volseg = Callable[..., Said]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with edited labels `cells`, and their truth and prompts as files."""
    folder = tmp_path_factory.mktemp("web")
    ids = np.zeros((4, 48, 48), np.uint8)
    ids[1:3, 10:30, 10:30] = 3
    np.save(folder / "image.npy", ids * 60 + 10)
    np.save(folder / "truth.npy", ids)
    volume = import_volume(folder / "image.npy", folder / "v.zarr", voxel_size_um=(1, 1, 1))
    labels = import_labels(folder / "truth.npy", volume, "cells")
    with labels.edit(annotator="annotator-1") as editor:
        for k in range(5):
            editor[3, k, 0:4] = 9
            editor.flush()
    prompts_from_labels(ids, layer="others").dump(folder / "prompts.json")
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with running(OddServer(folder, missing=403)) as server:
        yield f"{server.url}/v.zarr"


def test_info(volseg: Volseg, url: str) -> None:
    told = volseg("info", url, "--json")
    assert told.status == 0, told.err
    facts = json.loads(told.out)
    assert (facts["runs"], facts["embeddings"]) == (None, None)
    assert [labels["name"] for labels in facts["labels"]] == ["cells"]
    assert "not known" in volseg("info", url).out


def test_history_is_whole(volseg: Volseg, url: str, folder: Path) -> None:
    told = volseg("history", url, "cells", "--json")
    assert told.status == 0, told.err
    assert told.out == volseg("history", folder / "v.zarr", "cells", "--json").out
    assert told.out.count("annotator-1") >= 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "URL", "--labels-at", "aside.zarr"],
        ["runs", "list", "URL"],
        ["export", "URL", "cells", "--format", "csv", "--out", "cells.csv"],
        ["export", "URL", "cells", "--format", "json", "--out", "cells.json"],
        ["evaluate", "URL", "cells", "--truth", "truth.npy"],
        ["evaluate", "URL", "cells", "--truth", "URL/labels/cells"],
        ["prompts", "from-labels", "URL/labels/cells"],
        ["prompts", "check", "prompts.json", "URL"],
        ["segment", "URL", "--prompts", "prompts.json", "--labels", "others", "--plan-only"],
        ["import", "URL", "copy.zarr"],
        ["import", "URL/../image.npy", "copy2.zarr", "--voxel-size", "1", "1", "1"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_what_only_reads(
    volseg: Volseg, url: str, folder: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    for name in ("truth.npy", "prompts.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    given = [text.replace("URL/..", url.removesuffix("/v.zarr")) for text in arguments]
    said = volseg(*(text.replace("URL", url) for text in given))
    assert said.status == 0, said.err


def test_a_secret_in_an_address_is_not_repeated(volseg: Volseg, url: str) -> None:
    said = volseg("info", f"{url}?token=secret")
    assert said.status == 2
    assert "secret" not in said.err + said.out
    assert len(said.err.splitlines()) == 1


def test_the_labels_of_others_survive_the_reading(folder: Path, url: str) -> None:
    here, there = (open_volume(place).labels["cells"] for place in (folder / "v.zarr", url))
    np.testing.assert_array_equal(np.asarray(there.levels[0]), np.asarray(here.levels[0]))
    assert there.objects.rows() == here.objects.rows()
