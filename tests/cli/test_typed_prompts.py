"""`volseg segment` without a prompts file: the same plan as with one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Said
from volseg.importing import import_volume

Volseg = Callable[..., Said]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("typed")
    np.save(folder / "a.npy", np.random.default_rng(0).integers(0, 200, (4, 40, 50), np.uint8))
    import_volume(folder / "a.npy", folder / "v.zarr", voxel_size_um=(1, 1, 1))
    return str(folder / "v.zarr")


def plan(volseg: Volseg, url: str, *how: object) -> dict[str, Any]:
    said = volseg("segment", url, *how, "--zoom", 1, "--plan-only", "--json")
    assert said.status == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_points_boxes_and_tables_plan_what_their_file_does(
    volseg: Volseg, url: str, tmp_path: Path
) -> None:
    typed = ("--point", "1,20,30", "--point", "9=2,10,12", "--box", "9=1,5,5,20,20")
    of_text = plan(volseg, url, *typed, "--labels", "cells")
    assert [one["id"] for one in of_text["objects"]] == [1, 9]
    (tmp_path / "p.csv").write_text("z,y,x,id\n1,20,30,\n2,10,12,9\n")
    of_table = plan(volseg, url, "--points", tmp_path / "p.csv", "--labels", "cells")
    assert [one["id"] for one in of_table["objects"]] == [1, 9]
    made = volseg(
        "prompts",
        "from-points",
        tmp_path / "p.csv",
        "--out",
        tmp_path / "p.json",
        "--layer",
        "cells",
    )
    assert made.status == 0, made.err
    of_file = plan(volseg, url, "--prompts", tmp_path / "p.json")
    assert of_file == of_table != of_text


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ((), "give --prompts FILE"),
        (("--prompts", "p.json", "--point", "1,2,3"), "one of the two"),
        (("--point", "1,2"), "Z,Y,X"),
        (("--point", "9,20,30"), "z"),
        (("--point", "1,200,30"), "y"),
        (("--point", "1,20,30", "--flow"), "from-points"),
    ],
)
def test_what_is_wrong_is_said(volseg: Volseg, url: str, how: tuple[str, ...], words: str) -> None:
    said = volseg("segment", url, *how, "--labels", "cells", "--zoom", 1)
    assert said.status == 2 and words in said.err, said.err
