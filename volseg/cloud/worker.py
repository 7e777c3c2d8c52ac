"""One Dask worker in its own process: leaves when told, idle, or alone, and says why.

`python -m volseg.cloud.worker` is what `host` starts once per GPU; its exit status is its answer.
Nothing of AWS here.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Worker

LEFT = 0
"""Drained after a signal, retired by the scheduler, or idle: nothing of its work is lost."""
LOST = 3
"""The connection to the scheduler broke: try again."""
UNREACHABLE = 4
"""No scheduler answered in time."""

_LOST_REASONS = frozenset(
    {
        "worker-handle-scheduler-connection-broken",
        "worker-heartbeat-missing",
        "worker-heartbeat-error",
        "scheduler-close",  # the scheduler itself ends; another may come up at the same address
        "scheduler-remove-worker",  # it thinks that we are dead: too long without a heartbeat
    }
)
_LOOK_S = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerSettings:
    """How one worker process runs.

    Parameters
    ----------
    scheduler
        ``tcp://host:port`` or ``tls://host:port``.
    tls
        Folder with ``ca.pem``, ``cert.pem`` and ``key.pem``; None: named by the environment.
    name
        Shown by the scheduler.
    threads
        Tasks at a time.
    gpu
        Whether it offers the resource ``GPU=1``.
    scratch
        Folder for spilled data; None: Dask's choice.
    cache_dir, cache_bytes
        Folder on a local disk for copies of embeddings, and how many bytes of them; None: none, and the default.
        Told to the process by its environment.
    memory
        Limit such as ``"14GB"``; ``"auto"``: an equal share of the host's.
    idle_s
        Leave after so many seconds without a task; 0: never.
    wait_s
        How long to try to reach the scheduler, in seconds.
    drain_s
        How long tasks that run may go on once leaving, in seconds.
    host
        Address to listen on; None: the one that leads to the scheduler.
    """

    scheduler: str
    tls: Path | None = None
    name: str | None = None
    threads: int = 1
    gpu: bool = False
    scratch: Path | None = None
    cache_dir: Path | None = None
    cache_bytes: int | None = None
    memory: str = "auto"
    idle_s: float = 0.0
    wait_s: float = 600.0
    drain_s: float = 90.0
    host: str | None = None

    def arguments(self) -> list[str]:
        """Return the arguments of ``python -m volseg.cloud.worker``: paths, never a secret."""
        given = ["--scheduler", self.scheduler, "--threads", str(self.threads)]
        given += ["--idle", str(self.idle_s), "--wait", str(self.wait_s)]
        given += ["--drain", str(self.drain_s), "--memory", self.memory]
        for option, value in (
            ("--tls", self.tls),
            ("--name", self.name),
            ("--scratch", self.scratch),
            ("--host", self.host),
        ):
            given += [] if value is None else [option, str(value)]
        return given + (["--gpu"] if self.gpu else [])


async def run_worker(settings: WorkerSettings, leaving: asyncio.Event) -> int:
    """Run one worker until it leaves.

    Parameters
    ----------
    settings
        How it runs.
    leaving
        Set it to drain: no new task is taken, running ones end, results move elsewhere.

    Returns
    -------
    int
        `LEFT`, `LOST` or `UNREACHABLE`.
    """
    from distributed.core import Status

    deadline = time.monotonic() + settings.wait_s
    while True:
        worker = _make(settings)
        try:
            await asyncio.wait_for(_start(worker), max(1.0, deadline - time.monotonic()))
            break
        except (OSError, TimeoutError) as error:
            await _give_up(worker)
            if leaving.is_set():
                return LEFT
            if time.monotonic() >= deadline:
                log.error("no scheduler at %s: %s", settings.scheduler, error)
                return UNREACHABLE
            await asyncio.sleep(min(2.0, max(0.0, deadline - time.monotonic())))
    log.info("worker %s joined %s", worker.address, settings.scheduler)
    idle = _IdleClock(settings.idle_s)
    while worker.status not in (Status.closed, Status.failed):
        if worker.status == Status.running and (leaving.is_set() or idle.is_over(worker)):
            await drain(worker, settings.drain_s)
        await asyncio.sleep(_LOOK_S)
    reason = str(getattr(worker, "closed_because", ""))
    log.info("worker left: %s", reason)
    return LOST if reason in _LOST_REASONS else LEFT


async def drain(worker: Worker, drain_s: float) -> None:
    """Leave gracefully: take no new task, let running ones end, hand results over, then close.

    Tasks that were assigned but not started go to other workers at once, so nothing is done twice
    unless a running task needs longer than `drain_s`.

    Parameters
    ----------
    worker
        A running worker.
    drain_s
        How long to wait for running tasks, in seconds.
    """
    from distributed.core import Status

    log.info("draining %s", worker.address)
    # not "paused": the memory monitor would set a paused worker running again
    worker.status = Status.closing_gracefully
    deadline = time.monotonic() + drain_s
    while worker.state.all_running_tasks and time.monotonic() < deadline:
        if worker.status != Status.closing_gracefully:  # closed under us: the scheduler is gone
            return
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)  # the last task's answer is on its way
    # the results that only this worker holds move to others while the scheduler retires it
    limit = max(5.0, deadline - time.monotonic())
    try:
        await asyncio.wait_for(_hand_over(worker), limit)
    except (TimeoutError, OSError) as error:
        log.warning("%s could not hand over all results (%r)", worker.address, error)
    await worker.close(reason="drained", nanny=False)


async def _hand_over(worker: Worker) -> None:
    await worker.scheduler.retire_workers(
        workers=[worker.address],
        close_workers=False,
        remove=True,
        stimulus_id=f"volseg-drain-{time.time()}",
    )


class _IdleClock:
    """Measures how long a worker has had nothing to do."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since = time.monotonic()
        self._executed = 0

    def is_over(self, worker: Worker) -> bool:
        state = worker.state
        busy = state.all_running_tasks or state.ready or state.constrained
        if busy or state.executed_count != self._executed:
            self._executed = state.executed_count
            self._since = time.monotonic()
        return self._limit_s > 0 and time.monotonic() - self._since >= self._limit_s


def _make(settings: WorkerSettings) -> Worker:
    from distributed import Worker
    from distributed.core import Status

    class LeavingWorker(Worker):
        """Remembers the first reason for which it was closed."""

        closed_because: str = ""

        async def close(self, *args: Any, **options: Any) -> Any:
            if self.status == Status.closing_gracefully:  # by the scheduler or by `drain`
                self.closed_because = self.closed_because or "retired"
            self.closed_because = self.closed_because or str(options.get("reason", "closed"))
            return await super().close(*args, **options)

    options: dict[str, Any] = {}
    if settings.scheduler.startswith("tls://"):
        from volseg.cloud.certs import TlsFiles

        tls = settings.tls
        files = TlsFiles.from_environment() if tls is None else TlsFiles.in_folder(tls)
        options["security"] = files.security()
    if settings.gpu:
        options["resources"] = {"GPU": 1}
    if settings.scratch is not None:
        options["local_directory"] = str(settings.scratch)
    if settings.host is not None:
        options["host"] = settings.host
    return LeavingWorker(
        settings.scheduler,
        nthreads=settings.threads,
        name=settings.name,
        memory_limit=settings.memory,
        dashboard_address="127.0.0.1:0",  # its pages have no password
        dashboard=False,
        **options,
    )


async def _start(worker: Worker) -> None:
    try:
        await worker
    except RuntimeError as error:  # Dask wraps what keeps a server from starting
        raise (error.__cause__ or error) from None


async def _give_up(worker: Worker) -> None:
    try:
        await asyncio.wait_for(worker.close(reason="unreachable", nanny=False), 5)
    except (
        Exception
    ) as error:  # a half-started server fails in many ways, and is dropped in any case
        log.debug("closing a worker that never joined: %r", error)


# --- as a process --------------------------------------------------------------------------------


def _parse(arguments: list[str]) -> tuple[WorkerSettings, bool]:
    parser = argparse.ArgumentParser(prog="volseg.cloud.worker")
    parser.add_argument("--scheduler", required=True)
    parser.add_argument("--tls", type=Path)
    parser.add_argument("--name")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--memory", default="auto")
    parser.add_argument("--idle", dest="idle_s", type=float, default=0.0)
    parser.add_argument("--wait", dest="wait_s", type=float, default=600.0)
    parser.add_argument("--drain", dest="drain_s", type=float, default=90.0)
    parser.add_argument("--host")
    parser.add_argument("--tied", action="store_true", help="leave when standard input ends")
    found = vars(parser.parse_args(arguments))
    tied = bool(found.pop("tied"))
    return WorkerSettings(**found), tied


async def _main(settings: WorkerSettings, tied: bool) -> int:
    leaving = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leaving.set)
    if tied:
        loop.add_reader(sys.stdin.fileno(), _on_input, loop, leaving)
    return await run_worker(settings, leaving)


def _on_input(loop: asyncio.AbstractEventLoop, leaving: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):  # whoever started us is gone
        loop.remove_reader(sys.stdin.fileno())
        leaving.set()


def main(arguments: list[str] | None = None) -> int:
    """Run one worker with these arguments; returns its exit status."""
    settings, tied = _parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    return asyncio.run(_main(settings, tied))


if __name__ == "__main__":
    sys.exit(main())
