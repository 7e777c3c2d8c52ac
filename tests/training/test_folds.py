"""A recipe trained without each family: in order, resumed where it ended, and never mixed with another recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from volseg.training import folds, nano, validate
from volseg.training.checkpoints import CHECKPOINT
from volseg.training.folds import finished, main
from volseg.training.sets import FAMILIES


class Trainings:
    """In the place of training and validation: notes what was asked for, and leaves checkpoints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.families: list[str] = []
        self.validated: list[str] = []
        self.ends: dict[str, int] = {}
        monkeypatch.setattr(nano, "main", self.train)
        monkeypatch.setattr(validate, "main", self.validate)

    def train(self, arguments: list[str]) -> int:
        options = nano.parse(arguments)
        folder = nano.folder(options)
        folder.mkdir(parents=True, exist_ok=True)
        self.families.append(options.without)
        steps = self.ends.get(options.without, options.steps)
        torch.save({"step": steps, "elapsed": 60.0}, folder / CHECKPOINT)
        record = {"recipe": {"name": options.recipe}}
        (folder / "training.json").write_text(json.dumps(record))
        return 130 if options.without in self.ends else 0

    def validate(self, arguments: list[str]) -> int:
        self.validated = arguments
        return 0


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    return Trainings(monkeypatch)


def test_every_family_is_left_out_once_and_then_all_are_measured(
    trainings: Trainings, tmp_path: Path
) -> None:
    arguments = ["--recipe", "lite0", "--steps", "9", "--out", str(tmp_path), "--data", "elsewhere"]
    assert main(arguments) == 0
    assert trainings.families == list(FAMILIES)
    assert trainings.validated[:3] == ["--folds", str(tmp_path), "--folds-only"]
    assert "elsewhere" in trainings.validated
    trainings.families.clear()
    assert main(arguments) == 0
    assert not trainings.families  # nothing is left to train
    arguments[3] = "10"
    assert main(arguments) == 0
    assert trainings.families == list(FAMILIES)


def test_a_stopped_fold_ends_the_run_and_goes_on_next_time(
    trainings: Trainings, tmp_path: Path
) -> None:
    arguments = ["--recipe", "lite0", "--steps", "9", "--out", str(tmp_path)]
    second = list(FAMILIES)[1]
    trainings.ends[second] = 4
    assert main(arguments) == 130
    assert trainings.families == list(FAMILIES)[:2]
    assert not trainings.validated
    trainings.ends.clear()
    trainings.families.clear()
    assert main(arguments) == 0
    assert trainings.families == list(FAMILIES)[1:]


def test_one_family_alone_and_another_recipe(
    trainings: Trainings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest: list[Any] = ["--steps", "9", "--out", str(tmp_path), "--only", "phase", "--no-validate"]
    assert main(["--recipe", "lite0", *rest]) == 0
    assert trainings.families == ["phase"]
    assert not trainings.validated
    assert main(["--recipe", "nano@1", *rest]) == 1
    assert "lite0" in capsys.readouterr().err
    assert trainings.families == ["phase"]


def test_wrong_options_show_before_the_first_fold(trainings: Trainings, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--recipe", "lite0", "--out", str(tmp_path), "--no-such-option"])
    with pytest.raises(SystemExit):
        main(["--recipe", "none", "--out", str(tmp_path)])
    for option in (["--without", "phase"], ["--hours", "1"]):
        with pytest.raises(SystemExit):
            main(["--recipe", "lite0", "--out", str(tmp_path), *option])
    assert not trainings.families


def test_a_fold_is_finished_by_time_or_by_steps(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    assert not finished(path, 0.0, 0)
    torch.save({"step": 100, "elapsed": 300.0}, path)
    assert finished(path, 5.0, None)
    assert not finished(path, 5.1, None)
    assert finished(path, 5.1, 100)
    assert not finished(path, None, 101)


@pytest.mark.long
def test_a_real_fold_trains_without_its_family(shared_data: Path, tmp_path: Path) -> None:
    arguments = ["--recipe", "continue", "--steps", "2", "--out", str(tmp_path), "--only", "phase"]
    arguments += ["--no-validate", "--data", str(shared_data), "--images", "1", "--prompts", "1"]
    assert folds.main([*arguments, "--workers", "0", "--precision", "float32"]) == 0
    record = json.loads((tmp_path / "phase" / "training.json").read_text())
    assert record["without"] == "phase"
    assert record["recipe"]["name"] == "continue"
    assert record["precision"] == "float32"
    assert not any("phase" in name for name in record["sources"])
    assert "em_axon" in record["sources"]
