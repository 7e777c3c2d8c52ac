"""`volseg.toml`, and options that may stand anywhere."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tests.pipelines.segmentation.volumes import make_truth, make_volume, point_prompts
from volseg.cli.app import run


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("VOLSEG_CONFIG", raising=False)
    truth = make_truth((2, 40, 40), 1, seed=1)
    make_volume("v.zarr", truth)
    Path("p.json").write_text(json.dumps(point_prompts(truth)))
    return ["segment", "v.zarr", "--prompts", "p.json", "--plan-only", "--json"]


def plan(command: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    assert run(command) == 0
    return json.loads(capsys.readouterr().out)


def test_a_file_gives_defaults_and_the_command_line_counts_more(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path("config/volseg/volseg.toml")
    own.parent.mkdir(parents=True)
    own.write_text('[segment]\nzoom = 2\npreprocess = ["denoise", "clahe"]\nlabels-at = "w.zarr"\n')
    found = plan(command, capsys)
    assert found["predictor"]["zoom"] == 2
    assert found["predictor"]["rendering"]["preprocess"] == ["denoise", "clahe"]
    assert str(found["labels_at"]).endswith("w.zarr")
    assert plan([*command, "--zoom", "1"], capsys)["predictor"]["zoom"] == 1
    Path("volseg.toml").write_text("[segment]\nzoom = 8\n")  # of whoever made the folder
    assert plan(command, capsys)["predictor"]["zoom"] == 2
    Path("own.toml").write_text("[segment]\nzoom = 4\n")
    monkeypatch.setenv("VOLSEG_CONFIG", "own.toml")
    assert plan(command, capsys)["predictor"]["zoom"] == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[segment]\nzom = 2\n", "can't have 'zom'"),
        ("[segment]\noverwrite = true\n", "can't have 'overwrite'"),
        ("[segmentt]\nzoom = 2\n", "[segmentt] is no command"),
        ("zoom = 2\n", "[zoom] is no command"),
        ("[segment\n", "correct it, or move it away"),
        ("[segment]\nlevel = 'a'\n", "--level"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(
    text: str,
    told: str,
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("volseg.toml").write_text(text)
    monkeypatch.setenv("VOLSEG_CONFIG", "volseg.toml")
    assert run(command) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_a_file_that_is_named_must_be_there(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOLSEG_CONFIG", "nowhere.toml")
    assert run(command) == 2
    assert "VOLSEG_CONFIG names nowhere.toml" in capsys.readouterr().err


@pytest.mark.parametrize("place", [0, 1, 3])
def test_quiet_may_stand_anywhere(
    place: int, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = [a for a in command if a != "--plan-only"]
    told[place:place] = ["-q"]
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        root.handlers.clear()
        assert run([*told, "--zoom", "1"]) == 0
    finally:
        root.handlers[:], root.level = handlers, level
    assert capsys.readouterr().err == ""
