"""What happens to one block on a worker: start note, computing, guarded writes, marker.

The same code runs in the driver's process (no cluster) and on Dask workers, where a plugin keeps one runner per job, so
that models and volumes are opened once per worker.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Block, Job, Marker, Output, Stage
from volseg.errors import VolsegError

if TYPE_CHECKING:
    from volseg.engine.lease import EpochGuard
    from volseg.engine.ledger import Ledger

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """How an attempt at a block ended.

    Parameters
    ----------
    block, attempt
        Which.
    status
        ``done``, ``failed`` (raised), ``died`` (the worker was lost while it ran) or ``lost`` (the
        scheduler is gone: nobody knows).
    result
        The marker's result, where done.
    seconds
        Between start and marker, where done.
    error
        What was raised, where failed.
    trace
        Its traceback as text.
    worker
        Where it ran.
    """

    block: Block
    attempt: int
    status: str
    result: dict[str, Any] | None = None
    seconds: float = 0.0
    error: BaseException | None = None
    trace: str = ""
    worker: str = ""


class BlockContext:
    """What a stage may do while it computes a block.

    Parameters
    ----------
    ledger
        Of the run.
    guard
        Compared before each put; None for work that holds no lease.
    resources
        Kept for the life of the worker: models, volumes.
    """

    def __init__(self, ledger: Ledger, guard: EpochGuard | None, resources: Resources) -> None:
        self.ledger = ledger
        self.guard = guard
        self.resources = resources
        self.outputs: list[Output] = []
        self.sources: list[dict[str, Any]] = []

    def check(self) -> None:
        """Raise LeaseLostError where another job has taken over; before every put."""
        if self.guard is not None:
            self.guard.check()

    def put(self, name: str, data: bytes) -> Output:
        """Store one of the block's results below the run's ``data`` folder and note it for the marker."""
        from volseg.storage import digest

        self.check()
        key = self.ledger.key(f"data/{name}")
        output = Output(key, len(data), self.ledger.store.put(key, data), digest(data))
        self.outputs.append(output)
        return output

    def get(self, name: str) -> bytes:
        """Read what an earlier block stored with `put`."""
        return self.ledger.store.get(self.ledger.key(f"data/{name}"))


class Resources:
    """Things that are opened once per worker and job; pickled, it starts empty."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type[Resources], tuple[()]]:
        return Resources, ()

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """The thing of this name, made on first use; by one thread only."""
        with self._lock:
            if name not in self._kept:
                self._kept[name] = make()
            return self._kept[name]


class BlockRunner:
    """Runs blocks of one job, one attempt at a time.

    Parameters
    ----------
    job
        The plan made executable.
    ledger
        Where markers go.
    guard
        The lease's guard, or None.
    session
        Names the driver's session; start notes of other sessions don't count.
    """

    def __init__(self, job: Job, ledger: Ledger, guard: EpochGuard | None, session: str) -> None:
        self.job = job
        self.ledger = ledger
        self.guard = guard
        self.session = session
        self._stages: dict[str, Stage] = {stage.name: stage for stage in job.stages}
        self._resources = Resources()

    def run(self, block: Block, attempt: int, worker: str) -> Ended:
        """Compute a block and mark it done; never raises what the block raises."""
        try:
            if not self.ledger.note_start(block, self.session, attempt, worker):
                return self._second_start(block, attempt)
            marker = (
                self.ledger.marker(block) if attempt > 1 else None
            )  # done, but its answer was lost
            marker = marker or self._compute(block, attempt, worker)
        except Exception as error:
            log.debug("block %s/%s failed", block.stage, block.id, exc_info=True)
            trace = traceback.format_exc(limit=-12)
            return Ended(
                block, attempt, "failed", error=portable(error), trace=trace, worker=worker
            )
        return _done(block, attempt, marker)

    def _compute(self, block: Block, attempt: int, worker: str) -> Marker:
        started = time.time()
        context = BlockContext(self.ledger, self.guard, self._resources)
        result = self._stages[block.stage].compute(block, context)
        context.check()
        marker = Marker(
            self.ledger.plan_hash,
            block.stage,
            block.id,
            block.inputs,
            result,
            tuple(context.outputs),
            tuple(context.sources),
            started,
            time.time(),
            worker,
            attempt,
            0 if self.guard is None else self.guard.epoch,
            self.session,
        )
        return self.ledger.mark(marker)

    def _second_start(self, block: Block, attempt: int) -> Ended:
        marker = self.ledger.marker(block)
        if marker is not None:
            return _done(block, attempt, marker)
        blamed = self.ledger.started_by(block, self.session, attempt)
        return Ended(block, attempt, "died", worker=blamed)


def _done(block: Block, attempt: int, marker: Marker) -> Ended:
    seconds = marker.ended - marker.started
    return Ended(block, attempt, "done", marker.result, seconds, worker=marker.worker)


def portable(error: Exception) -> Exception:
    """The error itself where it is volseg's own, else one of a built-in kind that every process can unpickle."""
    if isinstance(error, VolsegError):
        return error
    kind = MemoryError if isinstance(error, MemoryError) else RuntimeError
    return kind(f"{type(error).__name__}: {error}")
