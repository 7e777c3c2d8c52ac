"""Where blocks run: in this process, or on the workers of a Dask cluster. One interface for the driver.

The driver keeps a bounded number of blocks in flight; nothing here builds a graph.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from volseg.engine.block import Block
from volseg.engine.worker import BlockRunner, Ended
from volseg.errors import InputError, InterruptedRunError

if TYPE_CHECKING:
    from distributed import Client, Future

Attempt = tuple[Block, int]
"""A block, and which attempt at it this is, from 1."""

GPU = "GPU"
BLOCKS_PER_WORKER = 2
"""One computes while the next one's arguments are already there; more would be blamed together when a worker dies."""


FORGET_EVERY = 4096
"""Blocks after which Dask's memory of them is cleared; it would keep 0.4 KiB each of 100,000, and 0.2 of all."""


ASKED = 6
COMING_S = 5.0
"""How long a run waits for the first worker: one that its nanny is starting again is away for a moment."""


class Executor(Protocol):
    """Runs blocks somewhere and tells how they ended, in any order."""

    def slots(self, uses_gpu: bool) -> int:
        """How many blocks may be in flight now."""
        ...

    @property
    def shares_processes(self) -> bool:
        """Whether two blocks may run in one process at once, so that a death can't be blamed on one of them."""
        ...

    def submit(self, attempts: Sequence[Attempt], uses_gpu: bool) -> None:
        """Hand blocks over."""
        ...

    def wait(self, seconds: float) -> list[Ended]:
        """Blocks that ended, waiting up to `seconds` for the first."""
        ...

    def close(self, *, drop: bool) -> None:
        """Free what the run used; `drop` also gives up what is in flight."""
        ...


class InProcess:
    """Runs one block after the other in the calling thread."""

    shares_processes = False

    def __init__(self, runner: BlockRunner) -> None:
        self._runner = runner
        self._waiting: deque[Attempt] = deque()

    def slots(self, uses_gpu: bool) -> int:
        """One block at a time."""
        return 1

    def submit(self, attempts: Sequence[Attempt], uses_gpu: bool) -> None:
        """Keep the blocks until `wait`."""
        self._waiting.extend(attempts)

    def wait(self, seconds: float) -> list[Ended]:
        """Run one block."""
        block, attempt = self._waiting.popleft()
        return [self._runner.run(block, attempt, "in-process")]

    def close(self, *, drop: bool) -> None:
        """Nothing to free."""
        self._waiting.clear()


class OnDask:
    """Runs blocks on the workers of a Dask cluster.

    Parameters
    ----------
    client
        Connected client; stays open.
    runner
        Pickled to every worker, present and future, as a worker plugin.
    name
        Names the plugin; unique per session.
    worker_timeout
        Seconds without any worker after which the run stops (resumable).
    """

    def __init__(
        self, client: Client, runner: BlockRunner, name: str, *, worker_timeout: float = 300.0
    ) -> None:
        from volseg.engine.plugin import RunnerPlugin, tolerate_deaths

        self._client = client
        self._name = f"volseg-{name}"
        self._ended: queue.SimpleQueue[tuple[Future, Block, int]] = queue.SimpleQueue()
        self._flying: dict[str, Future] = {}
        self._count = 0
        self._forgotten = 0
        self._timeout = worker_timeout
        self._asked = 0.0
        self._alone_since: float | None = None
        self._threads: dict[str, int] = {}
        self._gpus: dict[str, float] = {}
        self._ask(lambda: client.register_plugin(RunnerPlugin(runner), name=self._name))
        self._ask(lambda: client.run_on_scheduler(tolerate_deaths))
        self._look_at_workers()

    @property
    def shares_processes(self) -> bool:
        """True where a worker has more than one thread."""
        return any(n > 1 for n in self._threads.values())

    def slots(self, uses_gpu: bool) -> int:
        """Two blocks per thread, or per GPU where the cluster has any."""
        if time.monotonic() - self._asked > 2.0:
            self._look_at_workers()
        if uses_gpu and self._gpus:
            return BLOCKS_PER_WORKER * max(1, int(sum(self._gpus.values())))
        return BLOCKS_PER_WORKER * max(1, sum(self._threads.values()))

    def submit(self, attempts: Sequence[Attempt], uses_gpu: bool) -> None:
        """One task per block, all in one message, since each costs as much; Dask never retries one by itself."""
        from volseg.engine.plugin import forget_blocks, forget_names, run_block

        first = self._count + 1
        self._count += len(attempts)
        keys = [
            f"{block.stage}-{block.id}-{attempt}-{self._name}-{number}"
            for number, (block, attempt) in enumerate(attempts, first)
        ]
        futures = self._client.map(
            run_block,
            [self._name] * len(keys),
            [block for block, _ in attempts],
            [attempt for _, attempt in attempts],
            key=keys,
            pure=False,
            retries=0,
            resources={GPU: 1} if uses_gpu and self._gpus else None,
        )
        for future, one in zip(futures, attempts, strict=True):
            self._flying[str(future.key)] = future
            self._listen(future, *one)
        if self._count - self._forgotten >= FORGET_EVERY:
            self._forgotten = self._count
            forget_names()
            self._ask(lambda: self._client.run_on_scheduler(forget_blocks))

    def _listen(self, future: Future, block: Block, attempt: int) -> None:
        future.add_done_callback(lambda done: self._ended.put((done, block, attempt)))

    def wait(self, seconds: float) -> list[Ended]:
        """Collect what ended; results are fetched together and released at once."""
        found: list[tuple[Future, Block, int]] = []
        try:
            found.append(self._ended.get(timeout=seconds))
            while True:
                found.append(self._ended.get_nowait())
        except queue.Empty:
            pass
        if self._client.status not in ("running", "connecting"):
            raise _scheduler_lost()
        results = self._fetch([future for future, _, _ in found])
        ended = []
        for future, block, attempt in found:
            one = results.get(str(future.key)) or self._collect(future, block, attempt)
            if one is None:
                self._listen(future, block, attempt)
                continue
            self._flying.pop(str(future.key), None)
            ended.append(one)
        return ended

    def close(self, *, drop: bool) -> None:
        """Take the plugin off the workers."""
        if drop and self._flying:
            self._client.cancel(list(self._flying.values()), force=True)
        self._flying.clear()
        if self._client.status == "running":
            with suppress(InterruptedRunError):  # what was done is done
                self._ask(lambda: self._client.unregister_worker_plugin(self._name))

    def _ask(self, question: Callable[[], Any]) -> None:
        """Ask all workers for something that may be asked again: one that dies meanwhile fails the whole question."""
        for attempt in range(ASKED):
            try:
                question()
                return
            except (OSError, TimeoutError) as error:
                if self._client.status != "running" or attempt == ASKED - 1:
                    raise _scheduler_lost() from error
                time.sleep(0.2 * 2**attempt)

    def _fetch(self, futures: list[Future]) -> dict[str, Ended]:
        """Results by key, in one request, of those that have any; what this misses is looked at one by one."""
        finished = [future for future in futures if future.status == "finished"]
        if len(finished) < 2:
            return {}
        try:
            ended = self._client.sync(
                lambda: self._client.gather(finished, asynchronous=True), callback_timeout=60
            )
        except Exception:
            return {}
        return {str(future.key): one for future, one in zip(finished, ended, strict=True)}

    def _collect(self, future: Future, block: Block, attempt: int) -> Ended | None:
        """Look at one that ended; None where its result died with a worker, and Dask has the block run again."""
        from distributed import KilledWorker

        if self._made_anew(future):
            return None
        if future.status in ("cancelled", "lost"):
            return Ended(block, attempt, "lost")
        try:
            ended = future.result(timeout=60)
        except KilledWorker as error:
            return Ended(block, attempt, "died", error=None, worker=str(error.last_worker))
        except Exception as error:
            if self._made_anew(future):
                return None
            if future.status in ("cancelled", "lost") or self._client.status != "running":
                return Ended(block, attempt, "lost")
            return Ended(
                block, attempt, "failed", error=RuntimeError(f"{type(error).__name__}: {error}")
            )
        assert isinstance(ended, Ended)
        return ended

    def _made_anew(self, future: Future) -> bool:
        return bool(future.status == "lost" and self._client.status == "running")

    def _look_at_workers(self) -> None:
        try:
            workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        except Exception as error:
            raise _scheduler_lost() from error
        self._asked = time.monotonic()
        self._threads = {name: info["nthreads"] for name, info in workers.items()}
        self._gpus = {
            name: info["resources"][GPU]
            for name, info in workers.items()
            if info.get("resources", {}).get(GPU)
        }
        if workers:
            self._alone_since = None
            return
        self._alone_since = self._alone_since or self._asked
        if self._asked - self._alone_since > self._timeout:
            raise InterruptedRunError(
                f"no worker has been connected to {self._client.scheduler.address} for "
                f"{self._timeout:.0f} s; start workers and continue with --resume"
            )


def memory_per_worker(client: Client) -> int:
    """Bytes that a task may use on the smallest worker: its memory limit per thread.

    Raises
    ------
    InputError
        No worker is connected, nor comes within `COMING_S`.
    """
    until = time.monotonic() + COMING_S
    while not (workers := client.scheduler_info(n_workers=-1)["workers"]):
        if time.monotonic() > until:
            raise InputError(
                f"the cluster {client.scheduler.address} has no workers; start some "
                "(`volseg worker ADDRESS`) and try again"
            )
        time.sleep(0.1)
    limits = [info["memory_limit"] // info["nthreads"] for info in workers.values()]
    return min(limits)


def _scheduler_lost() -> InterruptedRunError:
    return InterruptedRunError(
        "the Dask scheduler is gone; finished blocks are kept. Continue with --resume"
    )
