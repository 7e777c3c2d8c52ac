"""The deployments on a real Prefect server: declared by deploy/prefect.yaml, run by a worker, started from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.flows.prefect_server import prefect, prefect_server
from volseg.images.create import create_volume
from volseg.images.image import open_volume

SHAPE = (4, 64, 64)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Prefect server and a process worker of their own, ended afterwards."""
    with prefect_server(tmp_path) as values:
        yield values


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
