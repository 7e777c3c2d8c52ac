"""Flows as people start them: as programs, quietly, without a server; wrong input ends with status 2 and one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from tests.pipelines.segmentation.volumes import make_truth, make_volume, point_prompts
from volseg.images.image import open_volume

ROOT = Path(__file__).resolve().parents[2]
TRUTH = make_truth((12, 40, 40), 2, seed=8)
NAMES = ("segment", "ingest", "embed", "pyramid", "export")

CALL = """
import json, sys
from flows.segment import segment_volume
from flows.telling import LINES
from volseg.engine import session
session.BLOCKS_PER_GROUP = 2  # several tasks a stage
LINES.set(sys.stdout)
url, prompts = sys.argv[1:]
oracle = {"kind": "oracle", "url": url, "name": "truth"}
result = segment_volume(url, prompts, labels="cells", model=oracle, workers=1)
print(json.dumps({"result": result}))
"""


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=300
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume `v.zarr` with its truth, and prompts."""
    folder = tmp_path_factory.mktemp("flow")
    make_volume(str(folder / "v.zarr"), TRUTH)
    (folder / "prompts.json").write_text(json.dumps(point_prompts(TRUTH)))
    return folder


def test_segment_volume_runs_without_a_server_and_tells_its_progress(place: Path) -> None:
    url = str(place / "v.zarr")
    done = program("-c", CALL, url, str(place / "prompts.json"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    stages = list(dict.fromkeys(line["stage"] for line in lines[:-1]))
    assert stages == ["seed", "propagate", "settle", "compose", "objects"]
    for stage in stages:
        last = [line for line in lines[:-1] if line["stage"] == stage][-1]
        assert last["done"] == last["total"] > 0
    assert lines[-1]["result"]["status"] == "done"
    labels = open_volume(url).labels["cells"]
    found = np.asarray(labels.levels[0])
    assert 2 * ((found > 0) & (TRUTH > 0)).sum() / ((found > 0).sum() + (TRUTH > 0).sum()) > 0.9


@pytest.mark.parametrize(
    ("model", "by"), [("vit_b", "vit_b"), ({"kind": "oracle", "url": "x", "name": "y"}, "oracle")]
)
def test_a_run_is_named_after_what_runs_on_what(
    model: object, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import segment

    given = {"url": "s3://lab/stack.zarr/", "labels": "cells", "model": model}
    monkeypatch.setattr(segment, "flow_run", SimpleNamespace(parameters=given))
    assert segment._run_name() == f"cells-of-stack.zarr-by-{by}"


def test_wrong_input_ends_with_status_2_and_one_line(place: Path) -> None:
    url = str(place / "v.zarr")
    done = program("-m", "flows.export", url, "nothing", "--out", str(place / "out.tif"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("volseg: ")
    assert "nothing" in done.stderr
    assert not (place / "out.tif").exists()


def test_parameters_are_validated_before_anything_starts() -> None:
    from prefect.exceptions import ParameterTypeError

    from flows.segment import segment_volume

    schema = segment_volume.parameters.properties
    assert schema["level"]["minimum"] == 0
    assert schema["workers"]["anyOf"][0]["minimum"] == 1
    assert segment_volume.parameters.required == ["url", "prompts"]
    with pytest.raises(ParameterTypeError):
        segment_volume.validate_parameters({"url": "v.zarr", "prompts": "p.json", "level": -1})


@pytest.mark.parametrize("name", NAMES)
def test_help_costs_no_server(name: str) -> None:
    done = program("-m", f"flows.{name}", "--help")
    assert done.returncode == 0
    assert f"Usage: python -m flows.{name} " in done.stdout
    assert done.stderr == ""


def test_every_deployment_names_a_flow() -> None:
    from importlib import import_module

    from prefect import Flow

    declared = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())
    entrypoints = [one["entrypoint"] for one in declared["deployments"]]
    assert len(entrypoints) == len(NAMES)
    for entrypoint in entrypoints:
        path, _, name = entrypoint.partition(":")
        assert (ROOT / path).is_file()
        flow = getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)
        assert isinstance(flow, Flow)
        assert flow.name == name


def test_a_flow_that_runs_with_a_server_leaves_its_logging_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flows.quiet import be_quiet

    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    monkeypatch.delenv("PREFECT_LOGGING_LEVEL", raising=False)
    be_quiet()
    assert "PREFECT_LOGGING_LEVEL" not in os.environ
