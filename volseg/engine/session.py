"""One driver's session over a job: stages in order, session record, report; however it ends, the ledger tells.

A run is the work of one plan; it has one session, or several where it was interrupted.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from volseg.engine.block import Failure, Job
from volseg.engine.cancel import Cancel
from volseg.engine.driver import RunState, StageRun, describe
from volseg.engine.executors import Executor, InProcess, OnDask
from volseg.engine.lease import Lease
from volseg.engine.ledger import Ledger
from volseg.engine.worker import BlockRunner
from volseg.errors import BlocksFailedError, InterruptedRunError, VolsegError
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from distributed import Client

REPORT = "report.json"
Around = Callable[[str, Callable[[], None]], None]
Status = Literal["done", "incomplete", "stopped", "interrupted", "failed"]


BLOCKS_PER_GROUP = 256


def plainly(label: str, go: Callable[[], None]) -> None:
    """Run a group of blocks as it is."""
    go()


def _run_stage(stage: StageRun, around: Around) -> None:
    """A stage in groups of blocks. Between two groups the cluster goes on working: what follows is in flight."""
    more = True

    def go() -> None:
        nonlocal more
        more = stage.advance(BLOCKS_PER_GROUP)

    while more:
        around(stage.label, go)


@dataclass(frozen=True)
class SessionEnd:
    """How a session ended: ``done``, or ``incomplete`` where blocks were quarantined and the rest was finished."""

    status: Status
    report: dict[str, Any]
    failures: tuple[Failure, ...]


def run_session(
    job: Job,
    ledger: Ledger,
    *,
    lease: Lease | None = None,
    client: Client | None = None,
    progress: Progress = silent,
    cancel: Cancel | None = None,
    about: Callable[[], dict[str, Any]] = dict,
    around: Around = plainly,
) -> SessionEnd:
    """Run every stage of a job that is not done yet.

    Parameters
    ----------
    job
        The plan made executable; its plan is in the ledger already.
    ledger
        Of the plan.
    lease
        Held lease of the label image that the job writes; None where it writes none.
    client
        Dask client; None runs in this process.
    progress
        Told after every block.
    cancel
        Request to stop; Ctrl-C and SIGTERM set it too, in the main thread.
    about
        Gives further fields for the report, at the end.
    around
        Called as ``around(label, go)`` for each stage of each `BLOCKS_PER_GROUP` blocks, and calls ``go()``: to wrap
        them in an orchestrator's tasks. The label begins with the stage's name.

    Raises
    ------
    InterruptedRunError
        Stopped on request, or the scheduler was lost; resumable.
    BlocksFailedError
        Stopped early because most blocks failed.
    StorageError, LeaseLostError
        One that every block would meet.
    """
    session = f"{int(time.time()):x}-{uuid.uuid4().hex[:8]}"
    cancel = cancel or Cancel()
    record: dict[str, Any] = {"session": session, "started": time.time(), "status": "running"}
    ledger.write_json(f"sessions/{session}.json", record)
    ledger.clear_failures()
    executor = _executor(job, ledger, lease, client, session)
    state = RunState(ledger, executor, progress, cancel)
    if lease is not None:
        state.check = lease.check
    status: Status = "failed"
    error: BaseException | None = None
    try:
        with cancel.on_signals():
            for stage in job.stages:
                _run_stage(StageRun(stage, state), around)
        status = "incomplete" if state.failures else "done"
    except (InterruptedRunError, KeyboardInterrupt) as stopped:
        status, error = "interrupted", stopped
        raise
    except BlocksFailedError as stopped:
        status, error = "stopped", stopped
        raise
    except BaseException as failed:
        error = failed
        raise
    finally:
        executor.close(drop=error is not None)
        report = _report(job, state, record, status, error, about())
        _write_end(ledger, record, report, quietly=error is not None)
    return SessionEnd(status, report, tuple(state.failures))


def _executor(
    job: Job, ledger: Ledger, lease: Lease | None, client: Client | None, session: str
) -> Executor:
    runner = BlockRunner(job, ledger, None if lease is None else lease.guard(), session)
    return InProcess(runner) if client is None else OnDask(client, runner, session)


def _report(
    job: Job,
    state: RunState,
    record: dict[str, Any],
    status: Status,
    error: BaseException | None,
    about: dict[str, Any],
) -> dict[str, Any]:
    now = time.time()
    record |= {"ended": now, "status": status, "error": "" if error is None else str(error)}
    return {
        **about,
        "plan": job.hash,
        "status": status,
        "error": record["error"],
        "session": record["session"],
        "started": record["started"],
        "ended": now,
        "seconds": now - record["started"],
        "stages": describe(state.counts),
        "quarantined": [asdict(failure) for failure in state.failures],
    }


def _write_end(
    ledger: Ledger, record: dict[str, Any], report: dict[str, Any], *, quietly: bool
) -> None:
    """Write how it ended; where an error is on its way already, a second one of the store must not hide it."""
    with suppress(*((VolsegError, OSError) if quietly else ())):
        ledger.write_json(f"sessions/{record['session']}.json", record)
        ledger.write_json(REPORT, report)
        ledger.clear_starts()
