"""Options are declared once: commands, flows and Python read the same declaration."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from pydantic import Field

from tests.pipelines.segmentation.volumes import make_truth, make_volume, point_prompts
from volseg.cli.app import run
from volseg.errors import InputError
from volseg.options import Options, flattened
from volseg.pipelines.options import LookOptions, RunOptions
from volseg.pipelines.segmentation import make_plan
from volseg.pipelines.segmentation.options import SegmentOptions


class Bread(Options):
    """Options of a made-up kind of work."""

    grain: str = Field("rye", description="What it is made of.")
    slices: int = Field(4, ge=1, description="How many.")


def test_a_function_takes_the_fields_in_the_place_of_their_model() -> None:
    @flattened()
    def bake(where: str, bread: Bread, hot: bool = False) -> tuple[str, Bread, bool]:
        return where, bread, hot

    assert [*inspect.signature(bake).parameters] == ["where", "grain", "slices", "hot"]
    assert bake("oven", slices=2, hot=True) == ("oven", Bread(slices=2), True)
    assert bake("oven", grain=None) == ("oven", Bread(), False)  # as a command line leaves it
    with pytest.raises(InputError, match=r"--slices 0: .*greater than or equal to 1"):
        bake("oven", slices=0)
    with pytest.raises(TypeError, match="crust"):
        bake("oven", crust=1)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"channel": "a"}, r"--channel 'a': expected an index, or up to three such as 0,1"),
        ({"zoom": "big"}, r"--zoom 'big': expected auto"),
        ({"level": -1}, r"--level -1"),
        ({"made_up": 1}, r"--made-up 1: Extra inputs"),
    ],
)
def test_what_is_wrong_is_told_by_the_options_name(given: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        LookOptions.of(**given)


def test_texts_are_read_as_a_command_line_has_them() -> None:
    look = LookOptions.of(channel="0,2", zoom="1.5", preprocess="clahe, log")
    assert (look.channel, look.zoom, look.preprocess) == ([0, 2], 1.5, ("clahe", "log"))
    assert LookOptions.of(preprocess="none").preprocess == ()
    assert LookOptions.of(channel="1").channel == 1


def test_every_face_makes_the_same_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.segment import make_plans_task, segment_volume

    truth = make_truth((3, 72, 64), 2, seed=8)
    volume = make_volume(str(tmp_path / "v.zarr"), truth)
    prompts = tmp_path / "p.json"
    prompts.write_text(json.dumps(point_prompts(truth)))
    (tmp_path / "s.toml").write_text("confident = 0.5\ndoubt = 0.4\n")
    options = SegmentOptions.of(
        labels="cells", zoom=1, preprocess=["denoise"], settings={"confident": 0.8, "doubt": 0.4}
    )
    plan = make_plan(volume, str(prompts), options)
    command = [
        "segment", str(volume.location.url), "--prompts", str(prompts), "--labels", "cells", "--zoom", "1",
        "--preprocess", "denoise", "--settings", str(tmp_path / "s.toml"), "--set", "confident=0.8",
        "--plan-only", "--json",
    ]  # fmt: skip
    assert run(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["hash"] == plan.hash
    assert printed["settings"]["confident"] == 0.8
    assert make_plans_task.fn(str(volume.location.url), None, str(prompts), options, False) == [
        plan
    ]
    flat = {*SegmentOptions.model_fields, *RunOptions.model_fields, "url", "prompts", "labels_at"}
    assert {*inspect.signature(segment_volume.fn).parameters} == flat
    assert segment_volume.parameters.properties["level"]["minimum"] == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--set", "confident"], "expected NAME=VALUE"),
        (["--set", "no_such=1"], "setting no_such"),
        (["--settings", "nowhere.json"], "no file at nowhere.json"),
        (["--preprocess", "blurr"], "blurr"),
    ],
)
def test_wrong_settings_are_told_in_one_line(
    options: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = make_truth((2, 40, 40), 1, seed=1)
    volume = make_volume(str(tmp_path / "v.zarr"), truth)
    prompts = tmp_path / "p.json"
    prompts.write_text(json.dumps(point_prompts(truth)))
    command = ["segment", str(volume.location.url), "--prompts", str(prompts), "--zoom", "1"]
    assert run([*command, *options]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
