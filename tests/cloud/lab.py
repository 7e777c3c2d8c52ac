"""A stack on a made-up network: AWS is moto's server on one host, head and workers are real programs on others."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import dask
import pytest
from distributed import Client
from moto.server import ThreadedMotoServer
from moto.ssm import ssm_backends
from typer.testing import CliRunner, Result

from tests.cloud.block_job import Job
from tests.cloud.command import make_app
from tests.cloud.fake_metadata import make_service
from tests.cloud.network import METADATA, Network, require_namespaces
from volseg.cloud.certs import TlsFiles
from volseg.cloud.fleet import SCHEDULER as TOLD
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
    "AWS_ALLOW_HTTP": "true",  # the storage library's word for an endpoint without TLS
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
    """A stack on the network: AWS, head, workers.

    Parameters
    ----------
    network, folder
        Where it stands, and where its files lie.
    whole_head
        Run all of `volseg cloud head`, as the head node's container does, and not only its scheduler.
    """

    def __init__(self, network: Network, folder: Path, *, whole_head: bool = False) -> None:
        self.network = network
        self.folder = folder
        self.workers: dict[str, subprocess.Popen[str]] = {}
        hosts = {"head": HEAD, "aws": AWS, **WORKERS, "stranger": "10.77.0.66"}
        for name, address in hosts.items():
            network.add(name, address)
        network.inside("aws", ThreadedMotoServer(AWS, 5000, verbose=False).start)
        known = ssm_backends["123456789012"][REGION]._parameters
        known[f"{MACHINE}/latest/ami-id"] = known[LINUX]
        for name in ("head", *WORKERS):
            self.announce(name, {"placement/region": REGION, "local-ipv4": HEAD})
            network.inside(name, lambda name=name: self._serve_metadata(name))  # type: ignore[misc]
        images = ["--image", "r/v:cpu", "--worker-image", "r/v:cuda", "--email", "a@b.org"]
        self.volseg("cloud", "up", "--stack", "lab", *images)
        told = self.volseg("cloud", "certs", "--stack", "lab", "--out", str(folder / "client"))
        assert "VOLSEG_TLS_KEY" in told
        # moto gave the head an address of its own invention
        network.inside("head", lambda: Stack("lab").vault.put(TOLD, SCHEDULER, replace=True))
        self.bucket = network.inside("head", lambda: Stack("lab").status().bucket)
        self.tls = TlsFiles.in_folder(folder / "client")
        if whole_head:
            self.start_head()
        else:
            self.start_scheduler()

    def _serve_metadata(self, name: str) -> None:
        service = make_service(METADATA, 80, self.answers(name))
        threading.Thread(target=service.serve_forever, daemon=True).start()

    def volseg(self, *arguments: str) -> str:
        """Run `volseg` where the engineer would, in reach of AWS."""
        done = self.try_volseg(*arguments)
        assert done.exit_code == 0, done.output
        return done.output

    def try_volseg(self, *arguments: str) -> Result:
        """The same, where it may fail."""
        return self.network.inside("head", lambda: CliRunner().invoke(make_app(), arguments))

    def start_head(self) -> None:
        """Start what the head's user data starts."""
        command = [sys.executable, "-m", "tests.cloud.command", "cloud", "head", "--stack", "lab"]
        command += ["--bucket", str(self.bucket), "--look", "2"]
        command += ["--state", str(self.folder / "state")]
        # its worker asks for scheduled runs every ten seconds, else
        self.network.start("head", command, ENVIRONMENT | {"PREFECT_WORKER_QUERY_SECONDS": "1"})

    def start_scheduler(self) -> None:
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", SCHEDULER]
        command += ["--dashboard-address", "127.0.0.1:8787"]
        self.network.start("head", command, ENVIRONMENT | self.tls.environment())
        log = self.network.log("head")
        until(lambda: "Scheduler at" in log.read_text(), "the scheduler")

    def capacity(self) -> list[str]:
        """Ids of the instances that are there to stay, once they are as many as were asked for."""
        staying: list[str] = []

        def settled() -> bool:
            found = self.network.inside("head", lambda: Stack("lab").group.capacity())
            staying[:] = sorted(member.instance for member in found.members if member.staying)
            return bool(found.desired == len(staying))

        until(settled, "as many instances as were asked for")
        return staying

    def boot(self, *options: str) -> None:
        """Ask for two instances and start on each what its user data starts."""
        self.volseg("cloud", "scale", "2", "--stack", "lab", "--yes")
        self.boot_asked(*options)

    def boot_asked(self, *options: str) -> None:
        """Start on each instance that was asked for what its user data starts."""
        for name, instance in zip(WORKERS, self.capacity(), strict=True):
            self.announce(name, {"instance-id": instance, "placement/region": REGION})
            command = [sys.executable, "-m", "tests.cloud.command", "worker", "--stack", "lab"]
            command += options
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


@contextmanager
def started_lab(folders: pytest.TempPathFactory, *, whole_head: bool = False) -> Iterator[Lab]:
    """A lab on a network of its own, ended with it; skips where namespaces can't be made."""
    require_namespaces()
    patch = pytest.MonkeyPatch()
    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)
    network = Network(folders.mktemp("logs"))
    try:
        with dask.config.set(TIMEOUTS):
            yield Lab(network, folders.mktemp("lab"), whole_head=whole_head)
    finally:
        network.close()
        patch.undo()
