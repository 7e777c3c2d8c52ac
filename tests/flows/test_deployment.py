"""The deployments on a real Prefect server: declared by deploy/prefect.yaml, run by a worker, started from outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PROJECT
from volseg.volume.create import create_volume
from volseg.volume.image import open_volume

SHAPE = (4, 64, 64)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Prefect server and a process worker of their own, ended afterwards."""
    port = free_port()
    values = os.environ | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "VOLSEG_FLOWS": str(PROJECT),
        "PYTHONPATH": str(PROJECT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with open(tmp_path / "server.log", "w") as log:
        server = subprocess.Popen(
            ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=values,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        worker = None
        try:
            wait_for(f"{values['PREFECT_API_URL']}/health")
            prefect(values, "work-pool", "create", "cpu", "--type", "process")
            prefect(
                values, "--no-prompt", "deploy", "--all", "--prefect-file", "deploy/prefect.yaml"
            )
            worker = subprocess.Popen(
                ["prefect", "worker", "start", "--pool", "cpu", "--type", "process"],
                env=values,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            yield values
        finally:
            for process in (worker, server):
                if process is not None:
                    os.killpg(process.pid, 15)
                    process.wait(timeout=60)


def wait_for(url: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def prefect(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        ["prefect", *arguments],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_deployment_segments(environment: dict[str, str], tmp_path: Path) -> None:
    url = str(tmp_path / "v.zarr")
    volume = create_volume(url, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1))
    disc = np.hypot(*(np.indices(SHAPE[1:]) - 32)) < 12
    image = np.random.default_rng(0).normal(30, 3, SHAPE) + 150 * disc
    volume.write(tuple((0, n) for n in SHAPE), image.astype(np.uint8))
    prompts = {
        "format": "volseg-prompts",
        "version": 1,
        "layers": [{"name": "discs"}],
        "objects": [{"id": 4, "layer": "discs", "prompts": [{"z": 1, "points": [[32, 32, 1]]}]}],
    }
    choices = (f"url={json.dumps(url)}", f"prompts={json.dumps(prompts)}", "workers=1")
    parameters = [part for choice in choices for part in ("-p", choice)]
    said = prefect(
        environment, "deployment", "run", "segment_volume/volseg", *parameters, "--watch"
    )
    assert "Completed" in said
    found = np.asarray(open_volume(url).labels["discs"].levels[0]) == 4
    truth = np.broadcast_to(disc, SHAPE)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
