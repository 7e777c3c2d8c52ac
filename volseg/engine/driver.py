"""The driver of a run: keeps a bounded number of blocks in flight, counts attempts, quarantines, stops, resumes.

It knows nothing of what a block computes. Its memory is its window: blocks are enumerated lazily, and forgotten
when done.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from volseg.engine.block import Block, Failure, Stage
from volseg.engine.cancel import Cancel
from volseg.engine.executors import Attempt, Executor
from volseg.engine.ledger import Ledger
from volseg.engine.worker import Ended
from volseg.errors import (
    AccessDeniedError,
    BlocksFailedError,
    InterruptedRunError,
    LeaseHeldError,
    LeaseLostError,
    StorageFullError,
)
from volseg.progress import Progress, silent

log = logging.getLogger(__name__)

ATTEMPTS = 3
EARLY_STOP_BLOCKS = 20
FATAL = (StorageFullError, AccessDeniedError, LeaseHeldError, LeaseLostError)
"""Errors that every other block would meet too: the run stops at once."""


@dataclass
class StageCount:
    """How far a stage is: blocks done in this session, found done, quarantined; and the seconds that they took."""

    done: int = 0
    resumed: int = 0
    quarantined: int = 0
    attempts: int = 0
    compute_seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass
class RunState:
    """What the driver hands from stage to stage."""

    ledger: Ledger
    executor: Executor
    progress: Progress = silent
    cancel: Cancel = field(default_factory=Cancel)
    check: Callable[[], None] = lambda: None
    counts: dict[str, StageCount] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


class StageRun:
    """One stage under way, until every block that can run is done or quarantined.

    Parameters
    ----------
    stage
        Its `first` blocks and those that `ended` adds are run, except those whose marker exists.
    state
        The run's; counts and failures are added.
    """

    def __init__(self, stage: Stage, state: RunState) -> None:
        self.stage = stage
        self.state = state
        self.count = state.counts.setdefault(stage.name, StageCount())
        self.told = False
        self.ready: deque[Attempt] = deque()
        self.suspects: deque[Attempt] = deque()
        self.flying = 0
        self.alone = False
        self.known = state.ledger.done(stage.name)
        self.results: dict[str, dict[str, Any]] = {}
        if stage.reads_results:
            for m in state.ledger.markers(stage.name, self.known):
                self.results[Block(m.stage, m.block, inputs=m.inputs).key] = m.result
        self.waiting: Iterator[Block] = iter(stage.first(frozenset(self.known)))

    @property
    def label(self) -> str:
        """Name of the stage, and from which block on it goes, once some have ended."""
        ended = self._over()
        return f"{self.stage.name} from block {ended + 1}" if ended else self.stage.name

    def advance(self, blocks: int | None = None) -> bool:
        """Go on until so many blocks have ended; those that follow them are in flight then already.

        Parameters
        ----------
        blocks
            None: until the stage has ended.

        Returns
        -------
        more
            Whether the stage has not ended yet.

        Raises
        ------
        BlocksFailedError
            More than half of at least 20 ended blocks failed; nothing more is started.
        InterruptedRunError
            Cancelled (what was in flight has ended), or the scheduler is lost.
        StorageError, LeaseLostError
            One that every other block would meet too.
        """
        started = time.monotonic()
        until = None if blocks is None else self._over() + blocks
        try:
            while True:
                self._fill()
                if not self.told:  # only now is it known how much there is
                    self.told = True
                    self._tell("")
                if not self.flying:
                    break
                if until is not None and self._over() >= until:
                    return True
                for ended in self.state.executor.wait(1.0):
                    self.flying -= 1
                    self._take(ended)
                self.state.check()
        finally:
            self.count.wall_seconds += time.monotonic() - started
        self._stop_if_cancelled()
        self._tell("")
        return False

    # --- starting ----------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        if self.state.cancel.requested or (self.alone and self.flying):
            return
        self.alone = False
        slots = self.state.executor.slots(self.stage.uses_gpu)
        chosen: list[Attempt] = []
        while self.flying + len(chosen) < slots:
            following = self._following()
            if following is None:
                break
            chosen.append(following)
        if not self.flying and not chosen and self.suspects:
            self.alone = True
            chosen.append(self.suspects.popleft())
        if chosen:
            self.state.executor.submit(chosen, self.stage.uses_gpu)
            self.count.attempts += len(chosen)
            self.flying += len(chosen)

    def _following(self) -> Attempt | None:
        """The next block to start: successors before fresh ones, so that begun chains end and few are open."""
        while True:
            if self.ready:
                return self.ready.popleft()
            block = next(self.waiting, None)
            if block is None:
                return None
            self._enter(block)

    def _enter(self, block: Block) -> None:
        """Queue a block, or where it was done in an earlier session, what follows it."""
        found = [block]
        while found:
            one = found.pop()
            if one.key not in self.known:
                self.ready.append((one, 1))
                continue
            self.known.discard(one.key)
            self.count.resumed += 1
            found.extend(self.stage.ended(one, self.results.pop(one.key, {})))

    # --- ending ------------------------------------------------------------------------------------------------

    def _take(self, ended: Ended) -> None:
        if ended.status == "done":
            self.count.done += 1
            self.count.compute_seconds += ended.seconds
            for block in self.stage.ended(ended.block, ended.result or {}):
                self._enter(block)
            self._tell(ended.block.id)
        elif ended.status == "lost":
            raise InterruptedRunError(
                "the Dask scheduler is gone; finished blocks are kept. Continue with --resume"
            )
        else:
            self._take_failure(ended)

    def _take_failure(self, ended: Ended) -> None:
        if isinstance(ended.error, FATAL):
            raise ended.error
        name = f"{ended.block.stage}/{ended.block.id}"
        what = str(ended.error) if ended.error else f"its worker {ended.worker} died while it ran"
        log.warning("block %s, attempt %d of %d: %s", name, ended.attempt, ATTEMPTS, what)
        if ended.attempt < ATTEMPTS:
            again = (ended.block, ended.attempt + 1)
            if ended.status == "died" and self.state.executor.shares_processes:
                self.suspects.append(again)
            else:
                self.ready.append(again)
            return
        kind = type(ended.error).__name__ if ended.error else "WorkerDied"
        failure = Failure(
            ended.block.stage, ended.block.id, ended.attempt, what, kind, ended.worker, ended.trace
        )
        self.state.ledger.write_failure(failure)
        self.state.failures.append(failure)
        self.count.quarantined += 1
        self.stage.failed(ended.block)
        self._tell(f"quarantined {ended.block.id}")
        self._stop_early(failure)

    def _over(self) -> int:
        """Blocks of this session that ended for good."""
        return self.count.done + self.count.quarantined

    def _stop_early(self, last: Failure) -> None:
        over = self._over()
        if over >= EARLY_STOP_BLOCKS and 2 * self.count.quarantined > over:
            raise BlocksFailedError(
                f"stopped early: {self.count.quarantined} of the {over} blocks of stage "
                f"{self.stage.name!r} that ended have failed, the last one ({last.block}) with "
                f"{last.kind}: {last.error}. Mend the cause and continue with --resume"
            )

    def _stop_if_cancelled(self) -> None:
        if self.state.cancel.requested:
            raise InterruptedRunError(
                "interrupted; what was in flight has ended and is kept. Continue with --resume"
            )

    def _tell(self, message: str) -> None:
        done = self.count.done + self.count.resumed + self.count.quarantined
        expected = max(
            self.stage.total(), done + self.flying + len(self.ready) + len(self.suspects)
        )
        self.state.progress(self.stage.name, done, expected, message)


def describe(counts: dict[str, StageCount]) -> dict[str, Any]:
    """The counts as JSON values for reports."""
    return {name: vars(count).copy() for name, count in counts.items()}
