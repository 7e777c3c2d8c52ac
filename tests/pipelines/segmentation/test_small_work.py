"""What is done before workers would have started runs in the process that asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.segmentation.volumes import make_truth, make_volume, oracle, point_prompts
from volseg.engine import cluster
from volseg.images.image import Volume
from volseg.models.registry import find_model
from volseg.pipelines.segmentation import Plan, make_plan, run_on_cluster

TRUTH = make_truth((7, 72, 64), 2, seed=8)


class WorkersAskedForError(Exception):
    """Stands for workers that start."""


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def asked(*_: Any, **__: Any) -> Iterator[Any]:
        raise WorkersAskedForError
        yield

    monkeypatch.setattr(cluster, "local_workers", asked)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return make_volume(str(tmp_path / "v.zarr"), TRUTH)


def planned(volume: Volume, **changes: Any) -> Plan:
    plan = make_plan(volume, point_prompts(TRUTH), labels="made", model=oracle(volume))
    return plan.model_copy(update={"estimates": plan.estimates.model_copy(update=changes)})


def test_small_work_starts_no_worker(volume: Volume) -> None:
    assert run_on_cluster(planned(volume)).report["objects"]["made"] == 2


@pytest.mark.parametrize("asked", [{"workers": 1}, {"cluster": "local", "workers": 2}])
def test_workers_that_were_asked_for_start(volume: Volume, asked: dict[str, Any]) -> None:
    with pytest.raises(WorkersAskedForError):
        run_on_cluster(planned(volume), **asked)


def test_long_work_goes_to_workers(volume: Volume) -> None:
    with pytest.raises(WorkersAskedForError):
        run_on_cluster(planned(volume, seconds_at_most=cluster.WORKER_START_S + 1))


def test_torch_computes_with_one_thread_as_on_a_worker(volume: Volume) -> None:
    if not find_model("nano").path.is_file():
        pytest.skip("nano's weights are not there")
    import torch

    before, seen = torch.get_num_threads(), set()
    plan = make_plan(volume, point_prompts(TRUTH), labels="made")
    run_on_cluster(plan, progress=lambda *_: seen.add(torch.get_num_threads()))
    assert seen == {1}
    assert torch.get_num_threads() == before
