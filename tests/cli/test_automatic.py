"""`volseg auto`: what people type, and what they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import volseg as library
from tests.cli.conftest import Said
from tests.pipelines.automatic.conftest import Known, balls, make

Command = Callable[..., Said]


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return make(str(tmp_path_factory.mktemp("discs") / "discs.zarr"), balls((1, 90, 122)))


@pytest.fixture
def truth_for_nano(discs: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give `nano` maps made of true labels, whatever it ships with."""
    from volseg.models import dense_heads
    from volseg.models.nano.family import NanoFamily
    from volseg.predict.dense_truth import TruthDenseModel

    model = TruthDenseModel.of_array(discs.truth)
    monkeypatch.setattr(NanoFamily, "dense_spec", lambda self, spec: model.spec)
    monkeypatch.setattr(NanoFamily, "load_dense", lambda self, spec, device: model)
    assert dense_heads.DenseFamily


def test_proposals_can_be_edited_and_given_to_segment(
    volseg: Command, discs: Known, truth_for_nano: None, tmp_path: Path
) -> None:
    file = tmp_path / "proposals.json"
    said = volseg(
        "auto", discs.url, "--labels", "nuclei", "--size", 3, "--proposals-out", file, "--json"
    )
    assert said.status == 0, said.err
    assert json.loads(said.out)["proposals"] == 6
    assert "nuclei" not in library.open(discs.url).labels  # proposed, not yet segmented
    document = json.loads(file.read_text())
    document["objects"] = document["objects"][:2]
    file.write_text(json.dumps(document))
    said = volseg("segment", discs.url, "--prompts", file, "--labels", "edited", "--json")
    assert said.status == 0 and json.loads(said.out)["objects"]["made"] == 2


def test_a_whole_run(volseg: Command, discs: Known, truth_for_nano: None) -> None:
    planned = volseg("auto", discs.url, "--labels", "all", "--size", 3, "--plan-only")
    assert planned.status == 0 and "method            seeds" in planned.out
    assert "all" not in library.open(discs.url).labels
    said = volseg("auto", discs.url, "--labels", "all", "--size", 3)
    assert said.status == 0, said.err
    assert "6 objects proposed" in said.out and "labels all" in said.out
    assert len(np.unique(discs.found("all"))) == 7
    again = volseg("auto", discs.url, "--labels", "all", "--size", 3)
    assert again.status == 2 and "--overwrite" in again.err
    resumed = volseg("auto", discs.url, "--labels", "all", "--size", 3, "--resume")
    assert resumed.status == 0, resumed.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "vit_b"], "has no dense maps"),
        (["--method", "clicks"], "clicks"),
        (["--size", "-1"], "size"),
        (["--channel", "4"], "channel 4 does not exist"),
        (["--labels", "../x"], "../x"),
        (["--resume", "--restart"], "exclude each other"),
        (["--method", "regions", "--proposals-out", "{file}"], "regions have no proposals"),
    ],
)
def test_mistakes_are_told_in_a_line(
    volseg: Command, discs: Known, truth_for_nano: None, tmp_path: Path,
    arguments: Sequence[Any], told: str,
) -> None:  # fmt: skip
    given = [str(a).replace("{file}", str(tmp_path / "p.json")) for a in arguments]
    said = volseg(
        "auto", discs.url, *(["--labels", "no"] if "--labels" not in given else []), *given
    )
    assert said.status == 2 and told in said.err and "Traceback" not in said.err
    assert "no" not in library.open(discs.url).labels
