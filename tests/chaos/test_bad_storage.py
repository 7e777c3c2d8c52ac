"""A run on storage that fails: right where retries are enough, else stopped with a clear error, and resumable."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from tests.chaos.bad_s3 import FAULTS, BadS3
from tests.pipelines.segmentation.volumes import make_truth, make_volume, oracle, point_prompts
from tests.s3_server import S3Server
from volseg.engine import open_cluster
from volseg.errors import InterruptedRunError, StorageError
from volseg.images.image import Volume, open_volume
from volseg.pipelines.segmentation import Plan, make_plan, run
from volseg.pipelines.segmentation.report import verify_run
from volseg.storage import remote

TRUTH = make_truth((12, 40, 40), 2, seed=8)


@pytest.fixture
def bad(s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadS3]:
    """The S3 server behind a proxy that is good until told otherwise, and asked again without a long pause."""
    proxy = BadS3(s3_environment.endpoint, every=0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    monkeypatch.setattr(remote, "FIRST_PAUSE_S", 0.01)
    yield proxy
    proxy.close()


def stored(volume: Volume) -> dict[str, bytes]:
    below = volume.output_store.sub("labels/cells")
    return {s.key: below.get(s.key) for s in below.list() if s.key[0].isdigit()}


def plan_of(volume: Volume) -> Plan:
    return make_plan(volume, point_prompts(TRUTH), model=oracle(volume), window=6, group=1)


def test_every_third_request_spoiled(bad: BadS3, s3_url: str, tmp_path: Path) -> None:
    good = make_volume(str(tmp_path / "v.zarr"), TRUTH)
    run(plan_of(good))
    volume = make_volume(f"{s3_url}/v.zarr", TRUTH)
    bad.every = 3
    run(plan_of(volume))
    bad.every = 0
    assert set(bad.spoiled) == set(FAULTS)
    assert sum(bad.spoiled.values()) > 50
    assert stored(volume) == stored(good)
    assert verify_run(volume).complete


def test_storage_that_stays_away_stops_the_run(
    bad: BadS3, s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = make_volume(str(tmp_path / "v.zarr"), TRUTH)
    run(plan_of(good))
    volume = make_volume(f"{s3_url}/v.zarr", TRUTH)
    plan = plan_of(volume)

    def fail_later(stage: str, done: int, total: int, message: str = "") -> None:
        if stage == "propagate" and done == 2:
            bad.always = "busy"

    with monkeypatch.context() as patch:
        patch.setattr(remote, "ATTEMPTS", 1)
        with pytest.raises(StorageError, match=r"v\.zarr"):
            run(plan, progress=fail_later)
    bad.always = None
    again = run(_reopened(plan), resume=True)
    assert again.report["stages"]["propagate"]["resumed"] >= 2
    assert stored(open_volume(plan.url)) == stored(good)


@pytest.mark.long
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(("every", "workers"), [(3, 0), (3, 2), (2, 2), (5, 1)])
def test_requests_spoiled_at_random(
    bad: BadS3, s3_url: str, tmp_path: Path, every: int, workers: int, existing: bool
) -> None:
    """On workers, too; and into labels that exist."""
    good = make_volume(str(tmp_path / "v.zarr"), TRUTH)
    volume = make_volume(f"{s3_url}/v.zarr", TRUTH)
    results = []
    for one in (good, volume):
        if existing:
            with one.create_labels("cells").edit("ann", flush_after=None) as editor:
                editor[0:4, 0:30, 0:30] = 900
        plan = make_plan(
            one, point_prompts(TRUTH), model=oracle(one), window=4, group=1, into_existing=existing
        )
        if one is good:
            run(plan)
        else:
            where = open_cluster("local", workers=workers, memory=1 << 30)
            with where if workers else nullcontext() as client:
                bad.random, bad.every = random.Random(every), every
                try:
                    run(plan, client)
                except InterruptedRunError:
                    run(plan, client, resume=True)
                finally:
                    bad.every = 0
        labels = open_volume(plan.url).labels["cells"]
        results.append([np.asarray(level).tobytes() for level in labels.levels])
    print(dict(bad.spoiled), flush=True)
    assert sum(bad.spoiled.values()) > 30
    assert results[0] == results[1]
    assert verify_run(volume).complete


def _reopened(plan: Plan) -> Plan:
    return Plan.from_json(plan.to_json())
