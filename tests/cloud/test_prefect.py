"""The whole of a stack as it runs on EC2, in network namespaces: `volseg cloud head` with Prefect behind its password.

A flow run, started through Prefect's API as an engineer would, asks for workers, runs across two hosts with TLS on,
survives that one is killed, and lets the workers go. Nobody without the password gets an answer.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest

from tests.cloud.lab import ENVIRONMENT, HEAD, SECONDS, WORKERS, Lab, started_lab, until
from volseg.cloud.stack import PREFECT, Stack
from volseg.errors import InputError

API = "http://127.0.0.1:4200/api"
STARTING = 480  # Prefect takes ten to twenty seconds of processor time to start, on a busy machine many times that


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A stack whose head runs everything."""
    with started_lab(tmp_path_factory, whole_head=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def volume(lab: Lab) -> Making:
    """What the flow will segment, made while Prefect starts."""
    return Making(lab, f"s3://{lab.bucket}/flow-{uuid.uuid4().hex[:8]}.zarr")


@pytest.fixture(scope="module")
def password(lab: Lab, volume: Making) -> str:
    """Of Prefect's API, once that answers and knows the deployments."""
    found: str = lab.network.inside("head", lambda: Stack("lab").vault.get(PREFECT))

    def deployed() -> bool:
        try:
            return bool(ask(lab, "deployments/name/segment_volume/volseg", found))
        except OSError:
            return False

    until(deployed, f"the deployments, see {lab.network.log('head')}", STARTING)
    return found


def ask(
    lab: Lab,
    path: str,
    password: str | None,
    body: dict[str, Any] | None = None,
    *,
    host: str = "head",
    api: str = API,
) -> Any:
    """Ask Prefect's API from a host; on the head as through a forwarded port.

    Its server answers 503 while its database is held by another request, and means: ask again. Prefect's own client
    does so too.
    """

    def act() -> Any:
        request = urllib.request.Request(
            f"{api}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        if password is not None:
            known = base64.b64encode(password.encode()).decode()
            request.add_header("Authorization", f"Basic {known}")
        for pause in (1, 2, 4, 8, 16):
            try:
                return _answer(request)
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
            time.sleep(pause)
        return _answer(request)

    return lab.network.inside(host, act)


def _answer(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


class Job:
    """`tests.cloud.flow_job` in reach of the bucket."""

    def __init__(self, lab: Lab, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.cloud.flow_job", *arguments]
        self._process = lab.network.start("aws", command, ENVIRONMENT)
        self._log = lab.network.log("aws")

    def told(self) -> dict[str, Any]:
        """Its last line, once it has ended."""
        assert self._process.wait(SECONDS) == 0, self._log.read_text()
        told: dict[str, Any] = json.loads(self._log.read_text().strip().splitlines()[-1])
        return told


class Making(Job):
    """A volume that is being written."""

    def __init__(self, lab: Lab, url: str) -> None:
        super().__init__(lab, "make", url)
        self.url = url


class Run:
    """One flow run."""

    def __init__(self, lab: Lab, password: str, parameters: dict[str, Any]) -> None:
        self._lab, self._password = lab, password
        deployment = ask(lab, "deployments/name/segment_volume/volseg", password)
        path = f"deployments/{deployment['id']}/create_flow_run"
        wanted = {
            "parameters": parameters,
            "state": {"type": "SCHEDULED"},
            "idempotency_key": uuid.uuid4().hex,  # asked again, it is the same run
        }
        made = ask(lab, path, password, wanted)
        self.id = made["id"]

    def state(self) -> str:
        found = ask(self._lab, f"flow_runs/{self.id}", self._password)
        return str(found["state_type"])

    def logs(self) -> list[str]:
        wanted = {"logs": {"flow_run_id": {"any_": [self.id]}}, "limit": 200}
        return [line["message"] for line in ask(self._lab, "logs/filter", self._password, wanted)]


@pytest.mark.parametrize("given", [None, "volseg:", "volseg:guessed"])
def test_nobody_without_the_password_is_answered(
    lab: Lab, password: str, given: str | None
) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(lab, "flow_runs/count", given, {})
    assert ask(lab, "flow_runs/count", password, {}) == 0


def test_from_another_host_there_is_no_way_to_it(lab: Lab, password: str) -> None:
    """It listens on the head itself only; people come through SSM's port forwarding."""
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask(lab, "health", password, host="stranger", api=f"http://{HEAD}:4200/api")


def test_a_flow_runs_across_hosts_and_survives_that_one_is_killed(
    lab: Lab, password: str, volume: Making
) -> None:
    url = volume.url
    run = Run(lab, password, volume.told() | {"workers": 2})
    until(lambda: len(lab.capacity()) == 2, "the flow to ask for two instances")
    assert run.state() == "RUNNING"

    # in the middle of it the stack is not taken down unasked
    def told() -> bool:
        status = lab.network.inside("head", lambda: Stack("lab").status())
        return any(what.startswith("flow run there-of-") for what in status.interrupts())

    until(told, "the head to tell of the flow")
    refused = lab.try_volseg("cloud", "down", "--stack", "lab")
    assert isinstance(refused.exception, InputError)
    assert "this interrupts: 2 worker instances, flow run there-of-" in refused.output

    lab.boot_asked()
    until(lambda: blocks(lab, url) >= 3, "three blocks")
    lab.network.kill("w2")
    until(lambda: run.state() not in ("RUNNING", "PENDING"), "the flow to end")
    assert run.state() == "COMPLETED", run.logs()

    result = Job(lab, "check", url).told()
    assert result["status"] == "done" and result["same"]
    assert result["objects"] > 0
    assert set(result["hosts"]) == set(WORKERS.values()), "the killed host had part in it"
    # the flow let its workers go: the living one ended itself
    assert lab.workers["w1"].wait(SECONDS) == 0
    assert "left: idle" in lab.network.log("w1").read_text()
    assert len(lab.capacity()) == 1, "only the killed host's, which moto does not know to be dead"
    lab.volseg("cloud", "scale", "0", "--stack", "lab", "--yes")


def blocks(lab: Lab, url: str) -> int:
    """How many blocks have markers."""
    import boto3

    bucket, _, key = url.removeprefix("s3://").partition("/")

    def count() -> int:
        found = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{key}/")
        return sum("/done/propagate/" in stat["Key"] for stat in found.get("Contents", []))

    return lab.network.inside("head", count)


def test_programs_that_die_come_back_and_no_secret_stands_in_arguments(
    lab: Lab, password: str
) -> None:
    def arguments() -> dict[int, str]:
        found = {}
        for pid in lab.network.pids("head"):
            try:
                with open(f"/proc/{pid}/cmdline") as file:
                    found[pid] = file.read().replace("\0", " ")
            except OSError:
                continue
        return found

    running = arguments()
    assert not [text for text in running.values() if password.split(":")[1] in text]
    schedulers = [pid for pid, text in running.items() if "dask_scheduler" in text]
    os.kill(schedulers[0], signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            assert lab.network.inside("head", lambda: lab.client().close()) is None
            break
        except OSError:
            assert time.monotonic() < deadline, "the scheduler does not come back"
            time.sleep(0.5)
    logs = lab.network.log("head").read_text()
    assert password.split(":")[1] not in logs
    assert "PRIVATE KEY" not in logs
