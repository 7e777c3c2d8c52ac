"""The Dask side of a worker: a plugin that keeps the job's runner, and the task that runs one block on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker

if TYPE_CHECKING:
    from distributed import Scheduler, Worker

    from volseg.engine.block import Block
    from volseg.engine.worker import BlockRunner, Ended


class RunnerPlugin(WorkerPlugin):
    """Keeps a job's runner, and with it models and open volumes, for the life of a worker."""

    def __init__(self, runner: BlockRunner) -> None:
        self.runner = runner

    def setup(self, worker: Worker) -> None:
        """Called by Dask on every worker, also on those that join later."""

    def teardown(self, worker: Worker) -> None:
        """Called by Dask when the job ends: drop the models."""
        del self.runner


def run_block(plugin: str, block: Block, attempt: int) -> Ended:
    """The task: run one block with the runner of the named plugin."""
    worker: Any = get_worker()
    ended: Ended = worker.plugins[plugin].runner.run(block, attempt, worker.address)
    return ended


def tolerate_deaths(dask_scheduler: Scheduler) -> None:
    """Keep Dask from giving up on tasks whose workers die: the driver counts, and blames only started blocks."""
    dask_scheduler.allowed_failures = 1_000_000_000


def forget_names() -> None:
    """Clear this process's memory of task names; each is needed once, when its task is submitted."""
    from dask.utils import key_split

    key_split.cache_clear()


def forget_blocks(dask_scheduler: Scheduler) -> None:
    """Clear what the scheduler keeps of tasks that it has forgotten: their names, and a note of each for its spans.

    Dask has no setting for either. Spans are for a person who looks at a dashboard; that a task was submitted as a
    future is all that is lost of them.
    """
    forget_names()
    spans = getattr(dask_scheduler.extensions.get("spans"), "spans", {})
    for span in spans.values():
        metadata = getattr(span, "_metadata", None)
        if metadata:
            metadata["collections"].clear()
