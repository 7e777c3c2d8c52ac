"""Hosts for real: network namespaces with addresses of their own, joined by a bridge, cut off from everything else."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest

PROJECT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
CLONE_NEWNET = 0x40000000
METADATA = "169.254.169.254"


def require_namespaces() -> None:
    """Skip, with the reason, where network namespaces can't be made."""
    if shutil.which("ip") is None:
        pytest.skip("no `ip`: install Debian's iproute2")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    name = f"vs-{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
    ip("netns", "del", name)


def ip(*arguments: str) -> str:
    """Run iproute2's `ip`."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


class Network:
    """Hosts on one bridge; nothing of it can reach or be reached from outside."""

    def __init__(self, folder: Path) -> None:
        self._id = uuid.uuid4().hex[:6]
        self._folder = folder
        self._switch = f"vs-{self._id}"
        self._hosts: dict[str, str] = {}
        self._processes: dict[str, list[subprocess.Popen[str]]] = {}
        ip("netns", "add", self._switch)
        ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self._switch, "link", "set", "br0", "up")

    def add(self, name: str, address: str) -> None:
        """Add a host, such as `add("head", "10.77.0.10")`."""
        space, port = f"{self._switch}-{name}", f"to-{name}"
        self._hosts[name] = space
        self._processes[name] = []
        ip("netns", "add", space)
        ip(
            "-n",
            self._switch,
            "link",
            "add",
            port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            space,
        )
        ip("-n", self._switch, "link", "set", port, "master", "br0", "up")
        ip("-n", space, "addr", "add", f"{address}/20", "dev", "eth0")
        ip("-n", space, "addr", "add", f"{METADATA}/32", "dev", "lo")
        for device in ("lo", "eth0"):
            ip("-n", space, "link", "set", device, "up")

    def start(
        self, host: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a program on a host; its output goes to a file of the host's name."""
        log = self.log(host, len(self._processes[host]))
        with log.open("w") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._hosts[host], *command],
                cwd=PROJECT,
                env=os.environ | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._processes[host].append(process)
        return process

    def inside(self, host: str, act: Callable[[], T], timeout: float = 120) -> T:
        """Call `act` in this process, but in a thread that belongs to the host's network.

        Threads that it starts belong there too.
        """
        outcome: Future[T] = Future()

        def enter() -> None:
            try:
                with open(f"/run/netns/{self._hosts[host]}") as space:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(space.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                outcome.set_result(act())
            except BaseException as error:
                outcome.set_exception(error)

        threading.Thread(target=enter, daemon=True).start()
        return outcome.result(timeout)

    def log(self, host: str, number: int = -1) -> Path:
        """Where a host's programs write, counted from 0; -1 is the last."""
        if number < 0:
            number += len(self._processes[host])
        return self._folder / f"{host}-{number}.log"

    def pids(self, host: str) -> list[int]:
        """Every program that runs on a host."""
        return [int(pid) for pid in ip("netns", "pids", self._hosts[host]).split()]

    def cut(self, host: str) -> None:
        """Pull a host's cable."""
        ip("-n", self._switch, "link", "set", f"to-{host}", "down")

    def mend(self, host: str) -> None:
        """Put it back."""
        ip("-n", self._switch, "link", "set", f"to-{host}", "up")

    def kill(self, host: str) -> None:
        """Pull a host's plug: every program on it is gone at once."""
        deadline = time.monotonic() + 20
        while pids := self.pids(host):
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            for process in self._processes[host]:
                process.poll()
            assert time.monotonic() < deadline, f"{host} does not die"
            time.sleep(0.05)

    def close(self) -> None:
        """End every program and remove every host."""
        for host, space in self._hosts.items():
            self.kill(host)
            for process in self._processes[host]:
                process.wait()
            ip("netns", "del", space)
        ip("netns", "del", self._switch)
