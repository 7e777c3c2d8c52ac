"""A Prefect server of its own for tests, with volseg's deployments and a process worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import PROJECT


@contextmanager
def prefect_server(folder: Path) -> Iterator[dict[str, str]]:
    """Start server and worker with this process's environment; yield theirs; end both."""
    port = free_port()
    values = os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "VOLSEG_FLOWS": str(PROJECT),
        "PYTHONPATH": str(PROJECT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(
            ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=values,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        worker = None
        try:
            wait_for(f"{values['PREFECT_API_URL']}/health")
            prefect(values, "work-pool", "create", "cpu", "--type", "process")
            prefect(
                values, "--no-prompt", "deploy", "--all", "--prefect-file", "deploy/prefect.yaml"
            )
            worker = subprocess.Popen(
                ["prefect", "worker", "start", "--pool", "cpu", "--type", "process"],
                env=values,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            yield values
        finally:
            for process in (worker, server):
                if process is not None:
                    _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children; Prefect's worker sometimes never ends by itself."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, seconds: float = 120) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def prefect(environment: dict[str, str], *arguments: str) -> str:
    """Run Prefect's command line; return what it said."""
    done = subprocess.run(
        ["prefect", *arguments],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
