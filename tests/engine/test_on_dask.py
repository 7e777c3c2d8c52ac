"""The engine on real Dask workers: two processes that are killed, poisoned and joined by nothing but the ledger."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dask.utils import key_split

from tests.engine.toy import ChainStage, ToyJob
from volseg.engine import executors
from volseg.engine.cluster import open_cluster
from volseg.engine.ledger import Ledger
from volseg.engine.session import run_session
from volseg.engine.worker import BlockRunner
from volseg.errors import InputError
from volseg.storage import open_store

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client() -> Iterator[distributed.Client]:
    with open_cluster("local", workers=2, memory=1 << 30) as opened:
        yield opened


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(open_store(tmp_path / "work", create=True), "0" * 16)
    made.write_plan({"hash": "0" * 16})
    return made


def test_both_workers_share_the_blocks(client: distributed.Client, ledger: Ledger) -> None:
    stage = ChainStage(6, 3, seconds=0.02)
    end = run_session(ToyJob([stage]), ledger, client=client)
    assert end.status == "done"
    assert stage.sums == {str(c): 6 for c in range(6)}
    assert len({m.worker for m in ledger.markers("chain")}) == 2
    assert list(ledger.store.list(ledger.key("started"))) == []


def test_a_block_that_kills_its_worker_is_quarantined_and_blames_no_other(
    client: distributed.Client, ledger: Ledger
) -> None:
    stage = ChainStage(6, 2, trouble={"c0002-0000": "kill"}, seconds=0.02)
    end = run_session(ToyJob([stage]), ledger, client=client)
    assert end.status == "incomplete"
    assert [(f.block, f.kind, f.attempts) for f in end.failures] == [
        ("c0002-0000", "WorkerDied", 3)
    ]
    assert stage.sums == {str(c): 3 for c in (0, 1, 3, 4, 5)}
    assert all(m.attempt == 1 for m in ledger.markers("chain"))


def test_a_worker_killed_from_outside_costs_one_attempt(
    client: distributed.Client, ledger: Ledger
) -> None:
    stage = ChainStage(4, 6, seconds=0.1)
    pids = list(client.run(os.getpid).values())
    killer = threading.Timer(0.7, os.kill, (pids[0], signal.SIGKILL))
    killer.start()
    end = run_session(ToyJob([stage]), ledger, client=client)
    killer.join()
    assert end.status == "done"
    assert stage.sums == {str(c): 21 for c in range(4)}
    assert sum(m.attempt - 1 for m in ledger.markers("chain")) <= 1


def test_a_result_that_dies_with_its_worker_is_made_anew(
    client: distributed.Client, ledger: Ledger
) -> None:
    stage = ChainStage(1, 1)
    (block,) = stage.first(set())
    runner = BlockRunner(ToyJob([stage]), ledger, None, "s")
    executor = executors.OnDask(client, runner, "made-anew")
    executor.submit([(block, 1)], False)
    (future,) = executor._flying.values()
    future.result(timeout=60)

    def tell(handler: Any) -> None:
        async def say() -> None:
            handler(key=future.key)

        client.sync(say)

    # what the client is told when the worker that held a result dies, and once it was made again
    tell(client._handle_lost_data)
    try:
        assert executor.wait(1.0) == []
        tell(client._handle_key_in_memory)
        assert [one.status for one in executor.wait(30.0)] == ["done"]
    finally:
        executor.close(drop=False)


def test_errors_travel_back(client: distributed.Client, ledger: Ledger) -> None:
    stage = ChainStage(2, 1, trouble={"c0001-0000": "raise"})
    end = run_session(ToyJob([stage]), ledger, client=client)
    (failure,) = end.failures
    assert "ZeroDivisionError: poisoned c0001-0000" in failure.error
    assert "_misbehave" in failure.trace


def test_a_worker_that_dies_while_a_run_begins_and_ends_does_no_harm(
    client: distributed.Client, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask fails the whole question to all workers then."""
    failed = []

    def once(name: str) -> None:
        ask = getattr(client, name)

        def asked(*given: object, **named: object) -> object:
            if name not in failed:
                failed.append(name)
                raise distributed.comm.CommClosedError("a worker has gone")
            return ask(*given, **named)

        monkeypatch.setattr(client, name, asked)

    for name in ("register_plugin", "run_on_scheduler", "unregister_worker_plugin"):
        once(name)
    assert run_session(ToyJob([ChainStage(2, 2)]), ledger, client=client).status == "done"
    assert len(failed) == 3
    left = client.run(lambda dask_worker: [n for n in dask_worker.plugins if "volseg" in n])
    assert list(left.values()) == [[], []]


def test_the_scheduler_forgets_the_blocks(
    client: distributed.Client, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Dask would keep of each of them until the cluster ends."""
    monkeypatch.setattr(executors, "FORGET_EVERY", 16)
    stage = ChainStage(30, 2)
    assert run_session(ToyJob([stage]), ledger, client=client).status == "done"

    def kept(dask_scheduler: distributed.Scheduler) -> tuple[int, int]:
        spans = dask_scheduler.extensions["spans"].spans.values()
        notes = sum(len(span._metadata["collections"]) for span in spans)
        return notes, key_split.cache_info().currsize

    notes, names = client.run_on_scheduler(kept)
    assert 0 < notes < 20
    assert names < 40


def test_a_lost_scheduler_interrupts_and_is_resumable(ledger: Ledger) -> None:
    import subprocess
    import sys

    from volseg.errors import InterruptedRunError

    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
         "--port", "0", "--no-dashboard", "--scheduler-file", str(ledger.store.location.local_path / "s.json")],
        stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    file = ledger.store.location.local_path / "s.json"
    try:
        while not file.exists():
            time.sleep(0.05)
            assert scheduler.poll() is None
        import json

        address = json.loads(file.read_text())["address"]
        worker = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1",
             "--no-dashboard", "--no-nanny", "--local-directory", str(file.parent / "tmp")],
            stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        try:
            with open_cluster(address) as client:
                client.wait_for_workers(1, timeout=30)
                killer = threading.Timer(1.0, scheduler.kill)
                killer.start()
                with pytest.raises(InterruptedRunError, match="--resume"):
                    run_session(ToyJob([ChainStage(2, 30, seconds=0.1)]), ledger, client=client)
        finally:
            worker.kill()
            worker.wait()
    finally:
        scheduler.kill()
        scheduler.wait()
    stage = ChainStage(2, 30)
    end = run_session(ToyJob([stage]), ledger)
    assert (end.status, stage.sums) == ("done", {"0": 465, "1": 465})
    assert end.report["stages"]["chain"]["resumed"] > 0


@pytest.mark.parametrize("absent", [3, 1000])
def test_a_worker_that_is_away_for_a_moment_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, absent: int
) -> None:
    class Cluster:
        """Its only worker comes after so many looks."""

        scheduler = SimpleNamespace(address="tcp://cluster:8786")
        looks = 0

        def scheduler_info(self, n_workers: int) -> dict[str, Any]:
            self.looks += 1
            there = {"w": {"memory_limit": 8 << 30, "nthreads": 2}}
            return {"workers": there if self.looks > absent else {}}

    monkeypatch.setattr(executors, "COMING_S", 1.0)
    cluster: Any = Cluster()
    if absent == 3:
        assert executors.memory_per_worker(cluster) == 4 << 30
    else:
        with pytest.raises(InputError, match="no workers"):
            executors.memory_per_worker(cluster)
