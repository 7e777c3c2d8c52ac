"""The head node's programs in one container: Dask scheduler, Prefect server and worker.

Each is the stock program; this only gives them certificates and password, restarts what dies,
tells the bucket what goes on, and stops the instance when nobody has needed it for long.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volseg.cloud.activity import Activity
from volseg.cloud.certs import TlsFiles
from volseg.cloud.files import deploy_file
from volseg.cloud.lending import CLUSTER, LOOKING, STACK, needing
from volseg.errors import VolsegError

SCHEDULER_PORT = 8786
DASHBOARD = "127.0.0.1:8787"
PREFECT_API = "http://127.0.0.1:4200/api"
POOL = "cpu"
LOOK_S = 30.0

log = logging.getLogger(__name__)


@dataclass
class Program:
    """A program that is kept running.

    Parameters
    ----------
    name
        For the log.
    command
        Without any secret.
    environment
        Beside this process's own.
    after
        Started only once this returns true.
    once
        Not started again once it has succeeded.
    folder
        Where it runs; None: here.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    after: Callable[[], bool] = field(default=lambda: True)
    once: bool = False
    folder: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    not_before: float = 0.0
    pause_s: float = 1.0
    started: float = 0.0

    def tend(self, now: float) -> None:
        """Start it, or start it again after a pause that doubles while it keeps dying."""
        if self.process is not None:
            status = self.process.poll()
            if status is None or (self.once and status == 0):
                return
            self.pause_s = 1.0 if now - self.started > 300 else min(60.0, self.pause_s * 2)
            log.warning("%s ended (%s); again in %.0f s", self.name, status, self.pause_s)
            self.process, self.not_before = None, now + self.pause_s
        if now >= self.not_before and self.after():
            environment = os.environ | self.environment
            self.process = subprocess.Popen(
                self.command, env=environment, cwd=self.folder, start_new_session=True
            )
            self.started = now

    def stop(self, patience_s: float = 20.0) -> None:
        """End it, first by asking."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def head_programs(stack: str, address: str, tls: Path, password: str, state: Path) -> list[Program]:
    """Return the programs of a head node.

    Parameters
    ----------
    stack
        Name of the stack; flows find it and the scheduler's address in their environment.
    address
        On which the scheduler listens.
    tls
        Folder with the head's certificates.
    password
        Of Prefect's API, ``user:password``; goes into environments, never into arguments.
    state
        Folder for Prefect's database, on a disk that stays.
    """
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    cluster = f"tls://{address}:{SCHEDULER_PORT}"
    certificates = TlsFiles.in_folder(tls).environment()
    never = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1000000000"}
    scheduler = Program(
        "scheduler",
        [*dask, "--host", cluster, "--dashboard-address", DASHBOARD],
        certificates | never,
    )
    return [
        scheduler,
        *_prefect_programs(certificates | {CLUSTER: cluster, STACK: stack}, password, state),
    ]


def _prefect_programs(shared: dict[str, str], password: str, state: Path) -> list[Program]:
    """Server, worker, and once the deployments; `shared` is what flows find in their environment."""
    prefect = [sys.executable, "-m", "prefect"]
    flows = Path(__file__).resolve().parents[2]  # where the package `flows` lies too
    deployments = str(deploy_file("prefect.yaml"))
    quiet = {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    asking = {"PREFECT_API_URL": PREFECT_API, "PREFECT_API_AUTH_STRING": password}
    worker = quiet | shared | asking
    return [
        Program(
            "prefect server",
            [*prefect, "server", "start", "--host", "127.0.0.1"],
            quiet | {"PREFECT_SERVER_API_AUTH_STRING": password},
        ),
        Program(
            "prefect worker",
            [*prefect, "worker", "start", "--pool", POOL, "--type", "process"],
            worker,
            after=lambda: answers("flow_runs/count", {}, password),
        ),
        Program(
            "deployments",
            [*prefect, "--no-prompt", "deploy", "--all", "--prefect-file", deployments],
            worker | {"VOLSEG_FLOWS": str(flows)},
            after=lambda: answers(f"work_pools/{POOL}", None, password),
            once=True,
            folder=flows,
        ),
    ]


def answers(path: str, body: dict[str, Any] | None, password: str) -> bool:
    """Whether Prefect's server answers this with success."""
    try:
        _prefect(path, body, password)
    except OSError:
        return False
    return True


def running_flows(password: str) -> tuple[str, ...]:
    """Return the names of the flow runs that are running, sorted."""
    running = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    return tuple(sorted(run["name"] for run in _prefect("flow_runs/filter", running, password)))


def _prefect(path: str, body: dict[str, Any] | None, password: str) -> Any:
    request = urllib.request.Request(
        f"{PREFECT_API}/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(password.encode()).decode(),
        },
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        return json.loads(answer.read())


def look_at_scheduler(address: str, tls: Path) -> tuple[int, int, int]:
    """Return the number of workers, of tasks that run or wait, and of other clients.

    Raises
    ------
    OSError
        If the scheduler does not answer.
    """
    from distributed import Client

    security = TlsFiles.in_folder(tls).security()
    with Client(
        address, security=security, timeout=10, set_as_default=False, name=LOOKING
    ) as client:
        workers, tasks, clients = client.run_on_scheduler(_count)
        return int(workers), int(tasks), int(clients)


def _count(dask_scheduler: Any) -> tuple[int, int, int]:
    waiting = ("processing", "queued", "waiting", "no-worker")
    tasks = sum(task.state in waiting for task in dask_scheduler.tasks.values())
    return len(dask_scheduler.workers), tasks, needing(dask_scheduler)


class Head:
    """Keeps the programs of a head node running until it is told to stop, or idle for too long.

    Parameters
    ----------
    programs
        What to keep running, in the order of starting.
    look
        Returns what goes on.
    tell
        Is given that.
    idle_s
        Seconds without anything going on after which `run` ends; 0: never.
    look_s
        Seconds between two looks.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        look: Callable[[], Activity],
        tell: Callable[[Activity], None],
        *,
        idle_s: float = 0.0,
        look_s: float = LOOK_S,
    ) -> None:
        self._programs = programs
        self._look = look
        self._tell = tell
        self._idle_s = idle_s
        self._look_s = look_s
        self._stopping = threading.Event()
        self._busy = time.monotonic()

    def stop(self) -> None:
        """Make `run` end."""
        self._stopping.set()

    def run(self) -> str:
        """Run until stopped.

        Returns
        -------
        str
            ``signal`` or ``idle``.
        """
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        try:
            while not self._stopping.wait(0.5):
                now = time.monotonic()
                for program in self._programs:
                    program.tend(now)
                if self._idle_s and now - self._busy > self._idle_s:
                    return "idle"
            return "signal"
        finally:
            self._stopping.set()
            for program in reversed(self._programs):
                program.stop()
            watch.join(timeout=self._look_s)

    def _watch(self) -> None:
        while not self._stopping.wait(self._look_s):
            try:
                activity = self._look()
                if not activity.idle:
                    self._busy = time.monotonic()
                self._tell(activity)
            except (OSError, VolsegError) as error:
                # what can't be seen may be busy: never stop the head on that
                self._busy = time.monotonic()
                log.warning("can't tell what goes on: %s", error)
