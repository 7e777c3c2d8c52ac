"""Batches made ahead of the step that needs them: in processes of their own, or in a thread.

Whoever makes them, a batch depends on its number alone, and they come in the order of their numbers.
"""

from __future__ import annotations

import itertools
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

Make = Callable[[int], Any]


@dataclass(frozen=True)
class Elsewhere:
    """How processes of their own make batches.

    Attributes
    ----------
    open : callable
        Picklable; called once in each process, returns the function from a number to its batch. So the
        data lie where batches are made.
    processes : int
        How many; they take turns.
    ahead : int
        Batches that each keeps ready.
    """

    open: Callable[[], Make]
    processes: int = 1
    ahead: int = 2


class _Numbered(Dataset[Any]):
    """Opens what makes batches in the process that first asks for one."""

    def __init__(self, opener: Callable[[], Make]) -> None:
        self.opener = opener
        self.make: Make | None = None

    def __getitem__(self, number: int) -> Any:
        if self.make is None:
            self.make = self.opener()
        return self.make(number)


def stream(make: Make | Elsewhere, first: int, step: int = 1) -> Iterator[Any]:
    """Yield the batches of numbers ``first``, ``first + step``, ... made ahead; close it when done.

    Errors are raised here as what they were there. Processes end with this one, also when it is killed.

    Parameters
    ----------
    make : callable or Elsewhere
        A function is called in a thread of this process.
    """
    if not isinstance(make, Elsewhere):
        yield from prefetch(make, first, step=step)
        return
    loader = DataLoader(
        _Numbered(make.open),
        batch_size=None,
        sampler=itertools.count(first, step),
        num_workers=make.processes,
        prefetch_factor=make.ahead,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_interrupts,
        multiprocessing_context="spawn",
    )
    batches = iter(loader)
    try:
        yield from batches
    finally:
        del batches  # ends the processes


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_interrupts(_: int) -> None:
    """Let the parent decide what Ctrl-C means; the terminal sends it to all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def prefetch(make: Make, first: int, ahead: int = 3, *, step: int = 1) -> Iterator[Any]:
    """Yield ``make(first)``, ``make(first + step)``, ... made in a thread of its own; errors are
    raised here.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(ahead)
    stop = threading.Event()

    def offer(item: tuple[Any, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        number = first
        try:
            while offer((make(number), None)):
                number += step
        except BaseException as error:  # handed over, raised below
            offer((None, error))

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            batch, error = ready.get()
            if error is not None:
                raise error
            yield batch
    finally:
        stop.set()
        thread.join()
