"""What `volseg worker` runs on a host: one worker process per GPU, restarted when it dies.

On EC2 (`guard` given) it also watches for spot notices and scale-in, and ends the instance when it
is no longer needed.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from volseg.cloud.worker import LEFT, LOST, UNREACHABLE, WorkerSettings

CRASHES = 5
"""More deaths than this within `CRASH_WINDOW_S` and a worker is given up."""
CRASH_WINDOW_S = 600.0
_LOOK_S = 0.1

log = logging.getLogger(__name__)


class Guard(Protocol):
    """What a host on EC2 asks and does; `fleet.Instance` is the real one."""

    def notice(self) -> str | None:
        """Why this host will soon be taken away, or None."""

    def end(self, why: str) -> None:
        """End this host, as `why` demands; called once, after the last worker left."""


@dataclass
class _Slot:
    """One worker's place: its settings and the process that fills it now."""

    settings: WorkerSettings
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    not_before: float = 0.0
    starts: int = 0
    deaths: list[float] = field(default_factory=list)
    ended: str | None = None


class Host:
    """The workers of one host.

    Parameters
    ----------
    settings
        Of each worker; name and GPU are filled in per worker.
    gpus
        Ids of the GPUs, one worker each; empty: `workers` without a GPU.
    workers
        Number of workers where there is no GPU.
    guard
        On EC2: watches for notices and ends the instance.
    look_at_notices_s
        Seconds between two looks at the notices.
    crash_pause_s
        Pause before the first restart after a crash, in seconds; doubles with each further one.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        gpus: Sequence[str] = (),
        workers: int = 1,
        guard: Guard | None = None,
        look_at_notices_s: float = 2.0,
        crash_pause_s: float = 1.0,
    ) -> None:
        base = settings.name or f"{socket.gethostname()}-{secrets.token_hex(3)}"
        places: list[str | None] = [*gpus] if gpus else [None] * workers
        self._slots = [_slot(settings, base, i, gpu) for i, gpu in enumerate(places)]
        self._guard = guard
        self._look_at_notices_s = look_at_notices_s
        self._crash_pause_s = crash_pause_s
        self._leaving: str | None = None

    def run(self) -> str:
        """Run until every worker has ended.

        Returns
        -------
        str
            Why: ``idle`` (idle or retired), ``signal``, ``spot``, ``scale-in``, ``scheduler-gone``
            or ``crashing``.
        """
        try:
            why = self._supervise()
        finally:
            self._end_all()
        log.info("host ends: %s", why)
        if self._guard is not None:
            self._guard.end(why)
        return why

    @contextmanager
    def obeying_signals(self) -> Iterator[None]:
        """Drain on SIGTERM and SIGINT; for the main thread of a process that does nothing else."""
        handlers = {
            number: signal.signal(number, lambda *_: self.leave("signal"))
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def leave(self, why: str) -> None:
        """Tell every worker to drain; the first reason counts."""
        if self._leaving is None:
            log.info("leaving: %s", why)
            self._leaving = why
        for slot in self._slots:
            if slot.process is not None and slot.process.poll() is None:
                slot.process.send_signal(signal.SIGTERM)

    def _supervise(self) -> str:
        next_look = 0.0
        while True:
            now = time.monotonic()
            for slot in self._slots:
                self._tend(slot, now)
            if all(slot.ended for slot in self._slots):
                return self._leaving or _worst([str(slot.ended) for slot in self._slots])
            if self._guard is not None and self._leaving is None and now >= next_look:
                why = self._guard.notice()
                if why is not None:
                    self.leave(why)
                next_look = time.monotonic() + self._look_at_notices_s
            time.sleep(_LOOK_S)

    def _tend(self, slot: _Slot, now: float) -> None:
        """Start, restart or give up one worker as its state demands."""
        if slot.ended:
            return
        if slot.process is None:
            if self._leaving is not None:
                slot.ended = self._leaving
            elif now >= slot.not_before:
                slot.process = _start(slot)
            return
        status = slot.process.poll()
        if status is None:
            return
        _close(slot)
        if status == LEFT:
            slot.ended = "idle"
        elif status == UNREACHABLE:
            slot.ended = "scheduler-gone"
        elif status == LOST:
            log.warning("%s lost the scheduler; looking for it again", slot.settings.name)
            slot.not_before = now + self._crash_pause_s
        else:
            self._count_death(slot, status, now)

    def _count_death(self, slot: _Slot, status: int, now: float) -> None:
        slot.deaths = [t for t in slot.deaths if now - t < CRASH_WINDOW_S] + [now]
        if len(slot.deaths) > CRASHES:
            log.error("%s died %d times; giving it up", slot.settings.name, len(slot.deaths))
            slot.ended = "crashing"
            return
        pause = min(60.0, self._crash_pause_s * 2 ** (len(slot.deaths) - 1))
        log.warning("%s died (%s); restart in %.0f s", slot.settings.name, _told(status), pause)
        slot.not_before = now + pause

    def _end_all(self) -> None:
        """Leave no process behind, also where supervising itself failed."""
        for slot in self._slots:
            if slot.process is not None:
                slot.process.kill()
                slot.process.wait()
                _close(slot)


def _slot(settings: WorkerSettings, base: str, index: int, gpu: str | None) -> _Slot:
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment.setdefault(name, str(settings.threads))
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    if settings.scratch is not None:  # fetched weights: once per host, on its fast disk
        environment.setdefault("XDG_CACHE_HOME", str(settings.scratch / "cache"))
    if settings.cache_dir is not None:
        environment |= _copies(settings.cache_dir, settings.cache_bytes)
    named = replace(settings, name=f"{base}-{index}", gpu=settings.gpu or gpu is not None)
    return _Slot(named, environment)


def _copies(folder: Path, most_bytes: int | None) -> dict[str, str]:
    """What tells a process to keep copies of embeddings on this host."""
    from volseg.features.local_copies import BYTES, DEFAULT_BYTES, FOLDER

    return {FOLDER: str(folder), BYTES: str(DEFAULT_BYTES if most_bytes is None else most_bytes)}


def _start(slot: _Slot) -> subprocess.Popen[bytes]:
    slot.starts += 1
    # a name of its own: the scheduler may not know yet that the worker before it is gone
    settings = replace(slot.settings, name=f"{slot.settings.name}.{slot.starts}")
    command = [sys.executable, "-m", "volseg.cloud.worker", "--tied", *settings.arguments()]
    # signals of the terminal reach this process, which passes them on once
    return subprocess.Popen(
        command, env=slot.environment, stdin=subprocess.PIPE, start_new_session=True
    )


def _close(slot: _Slot) -> None:
    process = slot.process
    if process is not None and process.stdin is not None:
        process.stdin.close()
    slot.process = None


def _worst(endings: list[str]) -> str:
    order: list[str] = ["crashing", "scheduler-gone", "idle"]
    return min(endings, key=order.index)


def _told(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"
