"""Whatever process is killed, whenever: a resumed run gives the same bytes, and computes no finished block again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest

from tests.chaos.killing import STEPS, ArmedWorker, Kill
from tests.jobs.volumes import make_truth, make_volume, oracle, point_prompts
from volseg.errors import InterruptedRunError
from volseg.jobs import Plan, make_plan, open_cluster, run
from volseg.jobs.cluster import local_workers
from volseg.jobs.ledger import Ledger
from volseg.jobs.report import verify_run
from volseg.volume.image import Volume

ROOT = Path(__file__).resolve().parents[2]
TRUTH = make_truth((18, 48, 40), 2, seed=8)
LONG_KILLS = 100


class Case:
    """One volume with a plan, the bytes of an undisturbed run of it, and a folder for kills' memories."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.volume: Volume = make_volume(str(folder / "v.zarr"), TRUTH, chunks=(6, 24, 24))
        self.plan: Plan = self._plan("cells")
        run(self._plan("undisturbed"))
        self.kills = 0

    def _plan(self, name: str) -> Plan:
        return make_plan(
            self.volume,
            point_prompts(TRUTH),
            labels=name,
            model=oracle(self.volume),
            window=3,
            group=1,
        )

    def fresh(self) -> None:
        """Forget the run of `cells`."""
        store = self.volume.output_store
        for prefix in (f"volseg/runs/{self.plan.hash}", "labels/cells", "volseg/leases/cells.json"):
            store.delete_all(prefix)

    def kill(self, step: str, when: str, nth: int = 1, target: int | None = None) -> Kill:
        """A kill with a memory of its own."""
        self.kills += 1
        return Kill(STEPS[step], when, str(self.folder / f"kill-{self.kills}"), nth, target)

    def stored(self, name: str) -> dict[str, bytes]:
        """The voxels' objects of a label image."""
        below = self.volume.output_store.sub(f"labels/{name}")
        return {s.key: below.get(s.key) for s in below.list() if s.key[0].isdigit()}

    def markers(self) -> dict[str, str]:
        """ETags of all markers."""
        ledger = Ledger(self.volume.output_store, self.plan.hash)
        return {s.key: s.etag for s in ledger.store.list(ledger.key("done"))}

    def drive(
        self, kill: Kill | None = None, cluster: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Run or resume in a process of its own."""
        plan = self.folder / "plan.json"
        plan.write_text(json.dumps(self.plan.to_json()))
        order = {"plan": str(plan), "kill": kill and kill.to_json(), "cluster": cluster}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.drive", json.dumps(order)],
            cwd=ROOT, stderr=subprocess.PIPE,
        )  # fmt: skip

    def assert_whole(self, before: dict[str, str], report: dict[str, Any] | None = None) -> None:
        """The labels are those of the undisturbed run, and no marker of `before` was made again."""
        after = self.markers()
        assert {key: after.get(key) for key in before} == before
        if report is not None:
            assert sum(c["resumed"] for c in report["stages"].values()) == len(before)
            assert sum(c["done"] for c in report["stages"].values()) == len(after) - len(before)
        assert self.stored("cells") == self.stored("undisturbed")
        assert verify_run(self.volume, self.plan.hash).complete


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("chaos"))


@pytest.fixture(scope="module")
def client() -> Iterator[distributed.Client]:
    with open_cluster("local", workers=2, memory=1 << 30) as opened:
        yield opened


def run_with_killed_worker(case: Case, client: distributed.Client, kill: Kill) -> None:
    case.fresh()
    name = f"armed-{case.kills}"
    client.register_plugin(ArmedWorker(kill), name=name)
    try:
        result = run(case.plan, client)
    finally:
        client.unregister_worker_plugin(name)
    case.assert_whole({}, result.report)
    ledger = Ledger(case.volume.output_store, case.plan.hash)
    attempts = [m.attempt for s in result.report["stages"] for m in ledger.markers(s)]
    assert sum(attempts) - len(attempts) <= 1  # only the block that was under way is tried again


@pytest.mark.parametrize(
    ("step", "when"),
    [("piece of a track", "before"), ("label object", "after"), ("marker of a window", "after")],
)
def test_a_killed_worker_costs_one_attempt_of_one_block(
    case: Case, client: distributed.Client, step: str, when: str
) -> None:
    kill = case.kill(step, when)
    run_with_killed_worker(case, client, kill)
    assert kill.happened


def run_with_killed_driver(case: Case, kill: Kill) -> None:
    case.fresh()
    driver = case.drive(kill)
    _, said = driver.communicate(timeout=120)
    assert driver.returncode == -9, said.decode()
    before = case.markers()
    case.assert_whole(before, run(case.plan, resume=True).report)


@pytest.mark.parametrize(
    ("step", "when", "nth"),
    [
        ("start note of a seed", "after", 1),
        ("marker of a window", "before", 5),
        ("label object", "after", 3),
        ("marker of labels", "after", 1),
        ("table", "after", 1),
    ],
)
def test_a_killed_driver_is_resumed(case: Case, step: str, when: str, nth: int) -> None:
    run_with_killed_driver(case, case.kill(step, when, nth))


class Scheduler:
    """A Dask scheduler and one worker in processes of their own."""

    def __init__(self, folder: Path) -> None:
        file = folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port",
             "0", "--no-dashboard", "--scheduler-file", str(file)],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=ROOT,
        )  # fmt: skip
        while True:
            try:
                self.address = json.loads(file.read_text())["address"]
                return
            except (FileNotFoundError, json.JSONDecodeError):
                assert self.process.poll() is None

    def end(self) -> None:
        """Kill it, if it still lives."""
        self.process.kill()
        self.process.wait()


def run_with_killed_scheduler(case: Case, step: str, when: str, nth: int = 1) -> None:
    case.fresh()
    scheduler = Scheduler(case.folder)
    kill = case.kill(step, when, nth, scheduler.process.pid)
    try:
        with (
            local_workers(scheduler.address, 1, 1 << 30, str(case.folder)),
            open_cluster(scheduler.address) as client,
        ):
            client.wait_for_workers(1, timeout=60)
            client.register_plugin(ArmedWorker(kill), name="armed")
            with pytest.raises(InterruptedRunError, match="--resume"):
                run(case.plan, client)
    finally:
        scheduler.end()
    assert kill.happened
    before = case.markers()
    case.assert_whole(before, run(case.plan, resume=True).report)


def test_a_killed_scheduler_is_told_and_resumed(case: Case) -> None:
    run_with_killed_scheduler(case, "piece of a track", "after", 2)


def test_a_killed_driver_takes_its_local_workers_along(case: Case) -> None:
    case.fresh()
    kill = case.kill("start note of a seed", "before", 10_000)  # armed, never due
    driver = case.drive(kill, cluster="local")
    ledger = Ledger(case.volume.output_store, case.plan.hash)
    import time

    while not ledger.done("propagate"):
        assert driver.poll() is None, driver.stderr
        time.sleep(0.02)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(driver.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert children
    driver.kill()
    driver.communicate()
    until = time.monotonic() + 60
    while any(_lives(int(pid)) for pid in children):
        assert time.monotonic() < until, f"workers {children} outlive their driver"
        time.sleep(0.2)
    before = case.markers()
    case.assert_whole(before, run(case.plan, resume=True).report)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.long
def test_a_hundred_kills_lose_nothing(case: Case, client: distributed.Client) -> None:
    rng = random.Random(int(os.environ.get("VOLSEG_CHAOS_SEED", "1")))
    happened = 0
    while happened < LONG_KILLS:
        step, when = rng.choice(list(STEPS)), rng.choice(["before", "after"])
        many = "window" in step or "piece" in step or "label object" in step
        nth = rng.randint(1, 4) if many else 1
        who = rng.choices(["worker", "driver", "scheduler"], [6, 3, 1])[0]
        print(f"kill {happened + 1}: {who}, {when} {step} {nth}", flush=True)
        if who == "worker":
            kill = case.kill(step, when, nth)
            run_with_killed_worker(case, client, kill)
            if not kill.happened:  # no worker came to an n-th write of the kind
                continue
        elif who == "driver":
            run_with_killed_driver(case, case.kill(step, when, nth))
        else:
            run_with_killed_scheduler(case, step, when, nth)
        happened += 1
