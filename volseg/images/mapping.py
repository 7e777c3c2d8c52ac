"""A function mapped over the blocks of a volume, here or on Dask workers, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.geometry import Grid, Triple

if TYPE_CHECKING:
    from distributed import Client

BLOCK_BYTES = 32 << 20
"""Most bytes of voxels that one block reads, unless a single storage object needs more."""
WINDOW = 2
"""Blocks in flight per worker."""


def block_multiple(grid: Grid, step: Triple, dtype: np.dtype[np.generic]) -> Triple:
    """Whole objects per block along z, y, x: as many as keep its finer voxels below BLOCK_BYTES, x first."""
    multiple = [1, 1, 1]
    size = int(np.prod(grid.chunk)) * int(np.prod(step)) * dtype.itemsize
    for axis in (2, 1, 0):
        most = max(1, BLOCK_BYTES // (size * int(np.prod(multiple))))
        multiple[axis] = min(most, grid.counts[axis])
    return (multiple[0], multiple[1], multiple[2])


def run_jobs(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    client: Client | None,
    threads: int,
) -> Iterator[Any]:
    """Yield the results as they come, with a bounded number of jobs in flight."""
    if client is not None:
        yield from _run_on_dask(function, jobs, client)
    elif threads < 2 or len(jobs) < 2:
        yield from (function(*job) for job in jobs)
    else:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(lambda job: function(*job), jobs)


def _run_on_dask(
    function: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], client: Client
) -> Iterator[Any]:
    from distributed import as_completed

    waiting = iter(jobs)
    width = max(1, WINDOW * len(client.scheduler_info(n_workers=-1)["workers"]))
    first = [client.submit(function, *job, pure=False) for _, job in zip(range(width), waiting)]  # noqa: B905
    running = as_completed(first)
    for future in running:
        yield future.result()
        future.release()
        job = next(waiting, None)
        if job is not None:
            running.add(client.submit(function, *job, pure=False))
