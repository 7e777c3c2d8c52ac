"""Several hosts for real, in network namespaces, with TLS on: jobs across them, strangers, notices, dead hosts.

AWS is moto's server on one of them; every worker asks it for its certificates and lowers its capacity there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import dask
import pytest
from distributed import Client
from moto.server import ThreadedMotoServer
from moto.ssm import ssm_backends
from typer.testing import CliRunner

from tests.cloud.block_job import Job
from tests.cloud.command import make_app
from tests.cloud.fake_metadata import make_service
from tests.cloud.network import METADATA, Network, require_namespaces
from volseg.cloud.certs import TlsFiles, issue, make_authority
from volseg.cloud.stack import Stack

SECONDS = 240
REGION = "eu-west-1"
MACHINE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023"
LINUX = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
HEAD, AWS, SCHEDULER = "10.77.0.10", "10.77.0.20", "tls://10.77.0.10:8786"
WORKERS = {"w1": "10.77.0.31", "w2": "10.77.0.32"}
ENVIRONMENT = {
    "AWS_ENDPOINT_URL": f"http://{AWS}:5000",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",  # a cut cable is noticed this soon; the least Dask takes
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "OMP_NUM_THREADS": "1",
}
TIMEOUTS = {"distributed.comm.timeouts.tcp": "12s", "distributed.comm.timeouts.connect": "10s"}


def until(ready: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait for a condition, with a bound."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.1)


class Lab:
    """A stack on the network: AWS, head, workers."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.folder = folder
        self.workers: dict[str, subprocess.Popen[str]] = {}
        hosts = {"head": HEAD, "aws": AWS, **WORKERS, "stranger": "10.77.0.66"}
        for name, address in hosts.items():
            network.add(name, address)
        network.inside("aws", ThreadedMotoServer(AWS, 5000, verbose=False).start)
        known = ssm_backends["123456789012"][REGION]._parameters
        known[f"{MACHINE}/latest/ami-id"] = known[LINUX]
        for name in WORKERS:
            self.announce(name, {"placement/region": REGION})
            network.inside(name, lambda name=name: self._serve_metadata(name))  # type: ignore[misc]
        images = ["--image", "r/v:cpu", "--worker-image", "r/v:cuda", "--email", "a@b.org"]
        self.volseg("cloud", "up", "--stack", "lab", *images)
        told = self.volseg("cloud", "certs", "--stack", "lab", "--out", str(folder / "client"))
        assert "VOLSEG_TLS_KEY" in told
        self.bucket = network.inside("head", lambda: Stack("lab").status().bucket)
        self.tls = TlsFiles.in_folder(folder / "client")
        self.start_scheduler()

    def _serve_metadata(self, name: str) -> None:
        service = make_service(METADATA, 80, self.answers(name))
        threading.Thread(target=service.serve_forever, daemon=True).start()

    def volseg(self, *arguments: str) -> str:
        """Run `volseg` where the engineer would, in reach of AWS."""
        done = self.network.inside("head", lambda: CliRunner().invoke(make_app(), arguments))
        assert done.exit_code == 0, done.output
        return done.output

    def start_scheduler(self) -> None:
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", SCHEDULER]
        command += ["--dashboard-address", "127.0.0.1:8787"]
        self.network.start("head", command, ENVIRONMENT | self.tls.environment())
        log = self.network.log("head")
        until(lambda: "Scheduler at" in log.read_text(), "the scheduler")

    def capacity(self) -> list[str]:
        """Ids of the instances that are there to stay."""
        found = self.network.inside("head", lambda: Stack("lab").group.capacity())
        staying = sorted(member.instance for member in found.members if member.staying)
        assert found.desired == len(staying)
        return staying

    def boot(self, *options: str) -> None:
        """Ask for two instances and start on each what its user data starts."""
        self.volseg("cloud", "scale", "2", "--stack", "lab", "--yes")
        for name, instance in zip(WORKERS, self.capacity(), strict=True):
            self.announce(name, {"instance-id": instance, "placement/region": REGION})
            command = [sys.executable, "-m", "tests.cloud.command", "worker", SCHEDULER]
            command += ["--stack", "lab", *options]
            self.workers[name] = self.network.start(name, command, ENVIRONMENT)
        for name in WORKERS:
            log = self.network.log(name)
            until(lambda log=log: " joined " in log.read_text(), f"{name} to join, see {log}")  # type: ignore[misc]

    def answers(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def announce(self, name: str, answers: dict[str, str]) -> None:
        """Let a host's metadata service say this."""
        new = self.answers(name).with_suffix(".new")
        new.write_text(json.dumps(answers))
        new.replace(self.answers(name))

    def client(self) -> Client:
        return Client(SCHEDULER, security=self.tls.security(), timeout=30, set_as_default=False)

    def start_job(self, blocks: int, seconds: float) -> tuple[Job, str]:
        name = f"job-{uuid.uuid4().hex[:8]}"
        place = f"s3://{self.bucket}/{name}"
        job = self.network.inside("head", lambda: Job(self.client, place, blocks, seconds))
        return job, name

    def outcome(self, name: str) -> tuple[int, int, int]:
        """Sum of a job's results, number of blocks done, number of starts."""

        def read() -> tuple[int, int, int]:
            s3 = boto3.client("s3")
            found = s3.list_objects_v2(Bucket=self.bucket, Prefix=f"{name}/")["Contents"]
            keys = [stat["Key"] for stat in found]
            done = [key for key in keys if "/done/" in key]
            values = [int(s3.get_object(Bucket=self.bucket, Key=k)["Body"].read()) for k in done]
            return sum(values), len(done), len(keys) - len(done)

        return self.network.inside("head", read)

    def clear(self) -> None:
        """Pull the plug of the workers, so that the next test starts from none."""
        for name in WORKERS:
            self.network.mend(name)
            self.network.kill(name)
        if self.capacity():
            self.volseg("cloud", "scale", "0", "--stack", "lab", "--yes")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    require_namespaces()
    patch = pytest.MonkeyPatch()
    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)
    network = Network(tmp_path_factory.mktemp("logs"))
    try:
        with dask.config.set(TIMEOUTS):
            yield Lab(network, tmp_path_factory.mktemp("lab"))
    finally:
        network.close()
        patch.undo()


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
    driver = lab.network.start(
        "head", [*job, place], ENVIRONMENT | {"AWS_ALLOW_HTTP": "true"} | lab.tls.environment()
    )
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
