"""Whatever process is killed, whenever: a resumed run gives the same bytes, and computes no finished block again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest

from tests.chaos.killing import AMONG_EDITORS, STEPS, ArmedWorker, Kill
from tests.pipelines.segmentation.volumes import make_truth, make_volume, oracle, point_prompts
from volseg.editing import JournalIndex
from volseg.engine import open_cluster
from volseg.engine.cluster import local_workers
from volseg.engine.ledger import Ledger
from volseg.errors import InterruptedRunError
from volseg.images.image import Volume
from volseg.pipelines.segmentation import Plan, make_plan, run
from volseg.pipelines.segmentation.report import verify_run

ROOT = Path(__file__).resolve().parents[2]
TRUTH = make_truth((18, 48, 40), 2, seed=8)


class Case:
    """One volume with a plan, the bytes of an undisturbed run of it, and a folder for kills' memories."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        url = str(folder / "v.zarr")
        self.volume: Volume = make_volume(url, TRUTH, chunks=(6, 24, 24), levels=2)
        self.plan: Plan = self._plan("cells")
        started = time.monotonic()
        run(self._plan("undisturbed"))
        self.seconds = time.monotonic() - started
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
        disarm(client, name)
    case.assert_whole({}, result.report)
    ledger = Ledger(case.volume.output_store, case.plan.hash)
    attempts = [m.attempt for s in result.report["stages"] for m in ledger.markers(s)]
    assert sum(attempts) - len(attempts) <= 1  # only the block that was under way is tried again


def disarm(client: distributed.Client, name: str) -> None:
    """Take the kill off all workers; Dask fails the question where one that has died is still listed."""
    until = time.monotonic() + 60
    while True:
        try:
            client.unregister_worker_plugin(name)
            return
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.2)


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


# --- into labels that exist, which a person has edited ---------------------------------------------------------------


class SharedCase(Case):
    """The same plan into labels that hold another object and a person's edits."""

    def __init__(self, folder: Path) -> None:
        self.made: dict[str, dict[str, bytes]] = {}
        super().__init__(folder)

    def _plan(self, name: str) -> Plan:
        labels = self.volume.create_labels(name, chunks=(3, 24, 20))
        z, y, x = (int(n) for n in np.argwhere(TRUTH == 2)[20])
        with labels.edit("ann", flush_after=None) as editor:
            editor[0:3, 0:9, 0:9] = 900
            editor.flush()
            editor[z : z + 3, y - 2 : y + 3, x - 2 : x + 3] = 901
        below = self.volume.output_store.sub(f"labels/{name}")
        self.made[name] = {s.key: below.get(s.key) for s in below.list()}
        return make_plan(
            self.volume, point_prompts(TRUTH), labels=name, model=oracle(self.volume), window=3,
            group=1, into_existing=True,
        )  # fmt: skip

    def fresh(self) -> None:
        """The labels as they were before the run."""
        store = self.volume.output_store
        for prefix in (f"volseg/runs/{self.plan.hash}", "labels/cells", "volseg/leases/cells.json"):
            store.delete_all(prefix)
        below = store.sub("labels/cells")
        for key, data in self.made["cells"].items():
            below.put(key, data)

    def stored(self, name: str) -> dict[str, bytes]:
        """The voxels of each level: whether an empty object is stored may differ."""
        labels = self.volume.labels[name]
        return {str(i): np.asarray(level).tobytes() for i, level in enumerate(labels.levels)}

    def kill(self, step: str, when: str, nth: int = 1, target: int | None = None) -> Kill:
        """A kill with a memory of its own."""
        self.kills += 1
        memory = str(self.folder / f"kill-{self.kills}")
        return Kill(AMONG_EDITORS[step], when, memory, nth, target)

    def assert_whole(self, before: dict[str, str], report: dict[str, Any] | None = None) -> None:
        """As ever; and there is one record of the run."""
        super().assert_whole(before, report)
        runs = JournalIndex(self.volume.labels["cells"]).runs()
        assert [(operation.run or {})["plan"] for _, operation in runs] == [self.plan.hash]


@pytest.fixture(scope="module")
def shared_case(tmp_path_factory: pytest.TempPathFactory) -> SharedCase:
    return SharedCase(tmp_path_factory.mktemp("shared"))


@pytest.mark.parametrize(
    ("step", "when", "nth"), [("record of the run", "after", 1), ("label object", "after", 3)]
)
def test_a_driver_killed_among_editors_is_resumed(
    shared_case: SharedCase, step: str, when: str, nth: int
) -> None:
    run_with_killed_driver(shared_case, shared_case.kill(step, when, nth))


def test_a_worker_killed_among_editors_costs_one_attempt(
    shared_case: SharedCase, client: distributed.Client
) -> None:
    kill = shared_case.kill("coarser object", "before")
    run_with_killed_worker(shared_case, client, kill)
    assert kill.happened


# --- long: every step, before and after, of every process; and random moments ----------------------------------------

PARTS = 12
Order = tuple[str, str, str, int]
"""Who dies; when ("before", "after", or "at" for a random moment); at which step; at which write of the kind."""


def all_kills() -> list[Order]:
    """What the long mode does, in a random order: at least a hundred."""
    rng = random.Random(int(os.environ.get("VOLSEG_CHAOS_SEED", "1")))
    repeated = ("window", "piece", "label object")
    orders: list[Order] = []
    for step in STEPS:
        for when in ("before", "after"):
            for who in ("worker", "driver"):
                nth = rng.randint(1, 4) if any(word in step for word in repeated) else 1
                orders.append((who, when, step, nth))
        orders.append(("scheduler", rng.choice(["before", "after"]), step, 1))
    for step in AMONG_EDITORS:
        for when in ("before", "after"):
            orders.append(("driver among editors", when, step, 1))
        orders.append(("worker among editors", rng.choice(["before", "after"]), step, 1))
    for who, count in (("worker", 16), ("driver", 16), ("scheduler", 6)):
        orders += [(who, "at", "", rng.randrange(1 << 30)) for _ in range(count)]
    rng.shuffle(orders)
    return orders


def test_the_long_mode_kills_more_than_a_hundred_times() -> None:
    assert len(all_kills()) >= 100


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost(
    case: Case, shared_case: SharedCase, client: distributed.Client, part: int
) -> None:
    happened: Counter[str] = Counter()
    for number, (who, when, step, nth) in enumerate(all_kills()[part::PARTS]):
        print(f"kill {number}: {who}, {when} {step} {nth}", flush=True)
        chosen = shared_case if who.endswith("editors") else case
        done = True
        if when == "at":
            rng = random.Random(nth)  # a run that was over before its kill is run again
            done = any(kill_at_random(case, client, who, rng) for _ in range(4))
        elif who.startswith("worker"):
            kill = chosen.kill(step, when, nth)
            run_with_killed_worker(chosen, client, kill)
            done = kill.happened  # or no worker came to an n-th write of the kind
        elif who.startswith("driver"):
            run_with_killed_driver(chosen, chosen.kill(step, when, nth))
        else:
            run_with_killed_scheduler(case, step, when, nth)
        happened[who if done else "not come to"] += 1
    print(json.dumps({"part": part, **happened}), flush=True)
    assert happened["not come to"] <= 2


def kill_at_random(case: Case, client: distributed.Client, who: str, rng: random.Random) -> bool:
    """Kill a process at a moment of its run; False where the run was over before."""
    if who == "driver":
        return kill_driver_at_random(case, rng)
    if who == "scheduler":
        return kill_scheduler_at_random(case, rng)
    case.fresh()
    pids = list(client.run(os.getpid).values())
    killer = threading.Timer(rng.uniform(0, case.seconds), os.kill, (rng.choice(pids), 9))
    killer.start()
    result = run(case.plan, client)
    over = killer.is_alive()
    killer.cancel()
    killer.join()
    case.assert_whole({}, result.report)
    client.wait_for_workers(2, timeout=60)
    return not over


def kill_driver_at_random(case: Case, rng: random.Random) -> bool:
    case.fresh()
    driver = case.drive()
    ledger = Ledger(case.volume.output_store, case.plan.hash)
    while ledger.read_json("plan.json") is None:
        assert driver.poll() is None, driver.stderr
        time.sleep(0.005)
    time.sleep(rng.uniform(0, case.seconds))
    driver.kill()
    driver.communicate(timeout=60)
    before = case.markers()
    report = ledger.read_json("report.json")
    over = report is not None and report["status"] == "done"
    result = run(case.plan, resume=True)
    case.assert_whole(before, None if over else result.report)
    return not over


def kill_scheduler_at_random(case: Case, rng: random.Random) -> bool:
    case.fresh()
    scheduler = Scheduler(case.folder)
    killer = threading.Timer(rng.uniform(0, case.seconds), scheduler.process.kill)
    ended = False
    try:
        with (
            local_workers(scheduler.address, 1, 1 << 30, str(case.folder)),
            open_cluster(scheduler.address) as client,
        ):
            client.wait_for_workers(1, timeout=60)
            killer.start()
            try:
                run(case.plan, client)
                ended = True
            except InterruptedRunError as error:
                assert "--resume" in str(error)  # noqa: PT017  # either end is right
    finally:
        killer.cancel()
        scheduler.end()
    before = case.markers()
    result = run(case.plan, resume=True)
    case.assert_whole(before, None if ended else result.report)
    return not ended
