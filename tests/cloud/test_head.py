"""The head node keeps its programs running, tells what goes on, and stops itself when nobody needs it."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from distributed import Client

from tests.cloud.test_worker import until
from volseg.cloud.activity import Activity
from volseg.cloud.certs import TlsFiles, issue, make_authority
from volseg.cloud.failures import CloudError
from volseg.cloud.head import Head, Program, head_programs, look_at_scheduler

BUSY = Activity.now(2, 5, 1)
IDLE = Activity.now(0, 0, 0)


class Running:
    """A head whose `run` goes on in a thread."""

    def __init__(self, head: Head) -> None:
        self.why: str | None = None
        self.head = head
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.why = self.head.run()

    def end(self) -> str | None:
        self.head.stop()
        self.thread.join(30)
        return self.why


def program(folder: Path, code: str, **options: object) -> Program:
    command = [sys.executable, "-S", "-c", code, str(folder / "starts")]
    return Program("test", command, {}, **options)  # type: ignore[arg-type]


COUNT = "import sys; open(sys.argv[1], 'a').write('x')\n"


def starts(folder: Path) -> int:
    path = folder / "starts"
    return len(path.read_text()) if path.exists() else 0


def test_what_dies_is_started_again(tmp_path: Path) -> None:
    running = Running(Head([program(tmp_path, COUNT + "sys.exit(3)")], lambda: BUSY, print))
    until(lambda: starts(tmp_path) >= 2, "a second start")
    assert running.end() == "signal"


def test_what_is_to_succeed_once_is_not(tmp_path: Path) -> None:
    running = Running(Head([program(tmp_path, COUNT, once=True)], lambda: BUSY, print))
    until(lambda: starts(tmp_path) == 1, "a start")
    time.sleep(2.5)
    running.end()
    assert starts(tmp_path) == 1


def test_what_waits_for_another_starts_after_it(tmp_path: Path) -> None:
    ready = threading.Event()
    waiting = program(tmp_path, COUNT + "import time; time.sleep(60)", after=ready.is_set)
    running = Running(Head([waiting], lambda: BUSY, print))
    time.sleep(1.2)
    assert starts(tmp_path) == 0
    ready.set()
    until(lambda: starts(tmp_path) == 1, "a start")
    running.end()
    assert waiting.process is not None and waiting.process.poll() is not None


def watch(look: Callable[[], Activity], seconds: float) -> tuple[str | None, list[Activity]]:
    told: list[Activity] = []
    running = Running(Head([], look, told.append, idle_s=0.8, look_s=0.1))
    running.thread.join(seconds)
    ended = running.why
    running.end()
    return ended, told


def test_a_head_that_nobody_needs_stops_itself() -> None:
    ended, told = watch(lambda: IDLE, 20)
    assert ended == "idle"
    assert told and told[0].idle


def test_a_busy_head_stays() -> None:
    ended, told = watch(lambda: BUSY, 2.5)
    assert ended is None
    assert len(told) > 3


def test_a_head_that_can_not_see_stays() -> None:
    def blind() -> Activity:
        raise CloudError("nobody answers")

    ended, told = watch(blind, 2.5)
    assert (ended, told) == (None, [])


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return issue(make_authority("lab"), "head").write(tmp_path_factory.mktemp("tls"))


def test_its_scheduler_is_dask_s_own_behind_tls(
    tls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr("volseg.cloud.head.SCHEDULER_PORT", port)
    monkeypatch.setattr("volseg.cloud.head.DASHBOARD", "127.0.0.1:0")
    scheduler, *_ = head_programs("lab", "127.0.0.1", tls, "volseg:password", tmp_path)
    running = Running(Head([scheduler], lambda: BUSY, print))
    address = f"tls://127.0.0.1:{port}"
    try:
        client = Client(
            address, security=TlsFiles.in_folder(tls).security(), timeout=30, set_as_default=False
        )
        with client:
            future = client.submit(sum, [1, 2])  # nobody is there to do it
            until(lambda: look_at_scheduler(address, tls) == (0, 1, 1), "one task, one client")
            assert not future.done()
    finally:
        running.end()


def test_the_password_stands_in_no_argument(tls: Path, tmp_path: Path) -> None:
    for kept in head_programs("lab", "127.0.0.1", tls, "volseg:password", tmp_path):
        assert "password" not in " ".join(kept.command)
