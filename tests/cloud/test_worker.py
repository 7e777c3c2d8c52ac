"""One host's workers as real processes on loopback: they leave without losing work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from volseg.cloud.host import Host
from volseg.cloud.worker import WorkerSettings

SECONDS = 120


def until(ready: Callable[[], bool], what: str) -> None:
    """Wait for a condition, with a bound."""
    deadline = time.monotonic() + SECONDS
    while not ready():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


@pytest.fixture
def client() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=0,
            processes=False,
            dashboard_address="127.0.0.1:0",
            protocol="tcp://",
            host="127.0.0.1",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def scheduler(client: Client) -> str:
    return str(client.scheduler.address)


class Guard:
    """Stands for EC2: announces what the test says, remembers what was asked of it."""

    def __init__(self) -> None:
        self.announced: str | None = None
        self.ended: list[str] = []

    def notice(self) -> str | None:
        return self.announced

    def end(self, why: str) -> None:
        self.ended.append(why)


class Running:
    """A host whose `run` goes on in a thread of the test."""

    def __init__(self, host: Host) -> None:
        self.why: str | None = None
        self.thread = threading.Thread(target=self._run, args=(host,), daemon=True)
        self.host = host
        self.thread.start()

    def _run(self, host: Host) -> None:
        self.why = host.run()

    def ended(self) -> str | None:
        self.thread.join(SECONDS)
        assert not self.thread.is_alive(), "the host still runs"
        return self.why


@pytest.fixture
def start(scheduler: str) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(settings: dict[str, object] | None = None, **options: object) -> Running:
        chosen = WorkerSettings(scheduler, **(settings or {}))  # type: ignore[arg-type]
        host = Host(chosen, look_at_notices_s=0.1, crash_pause_s=0.1, **options)  # type: ignore[arg-type]
        started.append(Running(host))
        return started[-1]

    yield start
    for running in started:
        running.host.leave("signal")
        running.ended()


def pids(client: Client) -> dict[str, int]:
    return client.run(os.getpid, on_error="ignore")


def note_and_wait(folder: str, block: int, seconds: float) -> int:
    """Write one line per start of a block, so that doing it twice is seen."""
    with open(Path(folder) / str(block), "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return block


def starts(folder: Path) -> list[int]:
    return [len(path.read_text().splitlines()) for path in folder.iterdir()]


def test_one_worker_per_gpu_sees_its_own(client: Client, start: Callable[..., Running]) -> None:
    start(gpus=("3", "5"))
    client.wait_for_workers(2, timeout=SECONDS)
    info = client.scheduler_info(n_workers=-1)["workers"].values()
    assert [worker["nthreads"] for worker in info] == [1, 1]
    assert [worker["resources"] for worker in info] == [{"GPU": 1}, {"GPU": 1}]
    seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
    assert sorted(seen.values()) == ["3", "5"]


def test_weights_and_embeddings_lie_on_the_fast_local_disk(
    client: Client, start: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    start({"scratch": tmp_path, "cache_dir": tmp_path / "copies", "cache_bytes": 7})
    client.wait_for_workers(1, timeout=SECONDS)
    (seen,) = client.run(lambda: dict(os.environ)).values()
    assert seen["XDG_CACHE_HOME"] == str(tmp_path / "cache")
    assert seen["VOLSEG_CACHE_DIR"] == str(tmp_path / "copies")
    assert seen["VOLSEG_CACHE_BYTES"] == "7"


def test_a_spot_notice_drains_and_nothing_is_done_twice(
    client: Client, start: Callable[..., Running], tmp_path: Path
) -> None:
    guard = Guard()
    leaving, staying = start(guard=guard), start()
    client.wait_for_workers(2, timeout=SECONDS)
    futures = [client.submit(note_and_wait, str(tmp_path), i, 0.2, pure=False) for i in range(24)]
    until(lambda: len(list(tmp_path.iterdir())) >= 6, "six blocks started")
    guard.announced = "spot"
    assert leaving.ended() == "spot"
    assert guard.ended == ["spot"]
    assert client.gather(futures) == list(range(24))
    assert starts(tmp_path) == [1] * 24
    assert staying.why is None


def test_a_signal_to_the_process_drains_it(
    client: Client, scheduler: str, start: Callable[..., Running], tmp_path: Path
) -> None:
    start()
    command = [sys.executable, "-m", "tests.cloud.command", "worker", scheduler, "--processes", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        client.wait_for_workers(2, timeout=SECONDS)
        futures = [
            client.submit(note_and_wait, str(tmp_path), i, 0.2, pure=False) for i in range(16)
        ]
        until(lambda: len(list(tmp_path.iterdir())) >= 4, "four blocks started")
        process.send_signal(signal.SIGTERM)
        assert client.gather(futures) == list(range(16))
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.communicate()
    assert starts(tmp_path) == [1] * 16


def sleep_and_tell(seconds: float) -> float:
    """When this ended."""
    time.sleep(seconds)
    return time.time()


def test_an_idle_worker_ends_its_host(client: Client, start: Callable[..., Running]) -> None:
    guard = Guard()
    # they wait for the worker, and on a busy machine not the other way round
    tasks = [client.submit(sleep_and_tell, 1.0, pure=False) for _ in range(2)]
    running = start({"idle_s": 1.5}, guard=guard)
    last = max(client.gather(tasks))
    assert running.ended() == "idle"
    assert time.time() - last > 1.4
    assert guard.ended == ["idle"]


def test_a_retired_worker_ends_its_host(client: Client, start: Callable[..., Running]) -> None:
    guard = Guard()
    running = start(guard=guard)
    client.wait_for_workers(1, timeout=SECONDS)
    client.retire_workers(close_workers=True)
    assert running.ended() == "idle"
    assert guard.ended == ["idle"]


def test_a_killed_worker_comes_back(client: Client, start: Callable[..., Running]) -> None:
    running = start()
    client.wait_for_workers(1, timeout=SECONDS)
    (first,) = pids(client).values()
    os.kill(first, signal.SIGKILL)
    until(lambda: first not in pids(client).values() and bool(pids(client)), "a new worker")
    assert client.submit(sum, [1, 2]).result(timeout=SECONDS) == 3
    assert running.why is None


def test_a_worker_that_only_dies_is_given_up(scheduler: str, tmp_path: Path) -> None:
    guard = Guard()
    missing = WorkerSettings(scheduler, scratch=tmp_path / "file" / "below")
    (tmp_path / "file").write_text("not a folder")
    host = Host(missing, guard=guard, crash_pause_s=0.01)
    running = Running(host)
    assert running.ended() == "crashing"
    assert guard.ended == ["crashing"]


def test_workers_end_when_the_scheduler_is_gone(tmp_path: Path) -> None:
    guard = Guard()
    with LocalCluster(
        n_workers=0,
        processes=False,
        dashboard_address="127.0.0.1:0",
        protocol="tcp://",
        host="127.0.0.1",
    ) as cluster:
        address = cluster.scheduler_address
        host = Host(WorkerSettings(address, wait_s=2.0), guard=guard, crash_pause_s=0.1)
        running = Running(host)
        with Client(cluster) as client:
            client.wait_for_workers(1, timeout=SECONDS)
    assert running.ended() == "scheduler-gone"
    assert guard.ended == ["scheduler-gone"]


def test_workers_join_a_scheduler_that_comes_back(tmp_path: Path) -> None:
    def scheduler(port: int) -> LocalCluster:
        return LocalCluster(
            n_workers=0,
            processes=False,
            dashboard_address="127.0.0.1:0",
            protocol="tcp://",
            host="127.0.0.1",
            scheduler_port=port,
        )

    with scheduler(0) as cluster:
        address = cluster.scheduler_address
        running = Running(Host(WorkerSettings(address, wait_s=20), crash_pause_s=0.1))
        with Client(cluster) as client:
            client.wait_for_workers(1, timeout=SECONDS)
    with scheduler(int(address.rsplit(":", 1)[1])) as cluster, Client(cluster) as client:
        client.wait_for_workers(1, timeout=SECONDS)
        assert client.submit(sum, [1, 2]).result(timeout=SECONDS) == 3
        running.host.leave("signal")
        assert running.ended() == "signal"


def test_no_worker_outlives_its_host(client: Client, scheduler: str) -> None:
    command = [sys.executable, "-m", "tests.cloud.command", "worker", scheduler, "--processes", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    client.wait_for_workers(1, timeout=SECONDS)
    (worker,) = pids(client).values()
    process.kill()
    process.wait()
    until(lambda: not Path(f"/proc/{worker}").exists() or not pids(client), "the worker's end")
