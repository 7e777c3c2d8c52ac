"""Several hosts for real, in network namespaces, with TLS on: jobs across them, strangers, notices, dead hosts.

AWS is moto's server on one of them; every worker asks it for its certificates and lowers its capacity there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from tests.cloud.lab import ENVIRONMENT, SCHEDULER, SECONDS, Lab, started_lab, until
from volseg.cloud.certs import TlsFiles, issue, make_authority


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with started_lab(tmp_path_factory) as lab:
        yield lab


@pytest.fixture
def lab(started: Lab) -> Iterator[Lab]:
    yield started
    started.clear()


def squares(blocks: int) -> int:
    return sum(i * i for i in range(blocks))


def test_a_spot_notice_drains_one_host_while_a_job_runs_across_two(lab: Lab) -> None:
    lab.boot()
    job, name = lab.start_job(30, 0.3)
    until(lambda: job.reached(10), "ten blocks")
    notice = '{"action": "terminate", "time": "2026-11-20T12:00:00Z"}'
    lab.announce("w1", {"spot/instance-action": notice})
    assert lab.workers["w1"].wait(SECONDS) == 0
    assert "left: spot" in lab.network.log("w1").read_text()
    job.wait(SECONDS)
    assert len(job.hosts) == 2
    total, done, starts = lab.outcome(name)
    assert (total, done) == (squares(30), 30)
    assert starts <= 31, "more than one block was done twice"
    assert lab.workers["w2"].poll() is None
    assert len(lab.capacity()) == 2, "after a spot notice the group puts another in its place"


def test_a_host_cut_off_and_a_host_killed_lose_nothing(lab: Lab) -> None:
    lab.boot()
    job, name = lab.start_job(24, 0.3)
    until(lambda: job.reached(8), "eight blocks")
    lab.network.cut("w1")
    until(lambda: job.reached(16), "more blocks without the first host")
    lab.network.mend("w1")
    lab.network.kill("w2")
    job.wait(SECONDS)
    assert lab.outcome(name)[:2] == (squares(24), 24)


def test_a_segment_job_survives_a_killed_host_with_the_same_labels(lab: Lab) -> None:
    lab.boot()
    job = [sys.executable, "-m", "tests.cloud.segment_job", SCHEDULER]
    place = f"s3://{lab.bucket}/segment-{uuid.uuid4().hex[:8]}"
    # a process of its own: the storage library's threads stay in the network where they began
    driver = lab.network.start("head", [*job, place], ENVIRONMENT | lab.tls.environment())
    log = lab.network.log("head")

    def propagated() -> int:
        assert driver.poll() is None, log.read_text()
        return log.read_text().count('"stage": "propagate"')

    until(lambda: propagated() >= 3, "three blocks")
    lab.network.kill("w2")
    assert driver.wait(SECONDS) == 0, log.read_text()
    told = json.loads(log.read_text().strip().splitlines()[-1])
    assert told.pop("objects") > 0
    assert told == {"there": "done", "here": "done", "same": True, "hosts": 2}


def test_idle_hosts_end_themselves_and_lower_the_capacity(lab: Lab) -> None:
    lab.boot("--idle", "0.05")
    for worker in lab.workers.values():
        assert worker.wait(SECONDS) == 0
    assert "left: idle" in lab.network.log("w1").read_text()
    assert lab.capacity() == []


def test_a_dead_head_ends_its_workers(lab: Lab) -> None:
    lab.boot("--wait", "0.1")
    lab.network.kill("head")
    for worker in lab.workers.values():
        assert worker.wait(SECONDS) == 1
    assert "left: scheduler-gone" in lab.network.log("w1").read_text()
    assert lab.capacity() == []
    lab.start_scheduler()


@pytest.mark.parametrize("armed", ["with nothing", "with another authority's certificate"])
def test_a_stranger_is_refused(lab: Lab, tmp_path: Path, armed: str) -> None:
    def join(address: str, security: Any) -> int:
        with Client(address, security=security, timeout=4, set_as_default=False) as client:
            return len(client.scheduler_info()["workers"])

    address, security = SCHEDULER.replace("tls", "tcp"), None
    if armed != "with nothing":
        other = issue(make_authority("lab"), "client").write(tmp_path / "tls")
        address, security = SCHEDULER, TlsFiles.in_folder(other).security()
    with pytest.raises(OSError, match=r"Timed out|closed|certificate"):
        lab.network.inside("stranger", lambda: join(address, security))
    ours = lab.tls.security()
    assert lab.network.inside("stranger", lambda: join(SCHEDULER, ours)) == 0


def test_no_secret_stands_in_arguments_or_logs(lab: Lab) -> None:
    lab.boot()
    running = subprocess.run(
        ["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True
    )
    logs = "".join(path.read_text() for path in lab.network.log("w1").parent.iterdir())
    key = (lab.folder / "client" / "key.pem").read_text().splitlines()[1]
    for text in (running.stdout, logs):
        assert "PRIVATE KEY" not in text
        assert key not in text


def test_nothing_of_it_reaches_the_world(lab: Lab) -> None:
    def routes() -> str:
        return Path("/proc/thread-self/net/route").read_text()

    lines = lab.network.inside("w1", routes).splitlines()[1:]
    assert lines
    assert not [line for line in lines if line.split()[1] == "00000000"], "a default route"
