"""Dask clusters: a local one sized to this machine, or an address with TLS certificates from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volseg.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

    from volseg.jobs.plan import Plan

TLS_CA, TLS_CERT, TLS_KEY = "VOLSEG_TLS_CA", "VOLSEG_TLS_CERT", "VOLSEG_TLS_KEY"
DRIVER_BYTES = 1 << 30
"""Kept free of workers, for the driver and the system."""


@dataclass(frozen=True)
class Machine:
    """What this machine (or the container around us) has: cores, bytes of memory, GPUs."""

    cores: int
    memory: int
    gpus: int = 0


def this_machine() -> Machine:
    """Cores and memory as limited by cgroups and affinity; GPUs as the driver's device files show them."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return Machine(int(CPU_COUNT), int(MEMORY_LIMIT), len(_gpus()))


def worker_memory(machine: Machine, workers: int) -> int:
    """Bytes that each of `workers` local workers may use."""
    return max(0, machine.memory - DRIVER_BYTES) // max(1, workers)


@contextmanager
def open_cluster(
    cluster: str | None = None,
    *,
    workers: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
) -> Iterator[Client]:
    """Connect to a cluster for the life of a `with` block.

    Parameters
    ----------
    cluster
        None or ``"local"``: processes on this machine, one thread each. Else an address, ``tcp://host:port`` or
        ``tls://host:port``; for TLS the environment names the files: ``VOLSEG_TLS_CA``,
        ``VOLSEG_TLS_CERT``, ``VOLSEG_TLS_KEY``.
    workers
        Number of local workers; None: one per GPU, else one per core.
    plan
        What will run: no more local workers are started than the machine has memory for.
    memory
        Memory limit of each local worker in bytes; None: an equal share of the machine's.

    Yields
    ------
    distributed.Client

    Raises
    ------
    InputError
        An address of another form, no such scheduler, or a missing certificate.
    MemoryBudgetError
        Not even one block of the plan fits into this machine's memory.
    """
    if cluster is None or cluster == "local":
        if workers is not None and workers < 1:
            raise InputError(f"the number of workers must be at least 1, not {workers}")
        if plan is not None and memory is None:
            plan.check_budget(worker_memory(this_machine(), 1))
        with _local(workers, memory, 0 if plan is None else plan.memory_per_worker) as client:
            yield client
        return
    if not cluster.startswith(("tcp://", "tls://")):
        raise InputError(
            f"{cluster!r} is not a cluster; expected local, tcp://host:port or tls://host:port"
        )
    with _connected(cluster) as client:
        yield client


@contextmanager
def _local(workers: int | None, memory: int | None, needed: int) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster

    machine = this_machine()
    gpus = _gpus()
    count = workers or (len(gpus) or machine.cores)
    if needed and workers is None:
        count = max(1, min(count, worker_memory(machine, 1) // needed))
    limit = memory or worker_memory(machine, count)
    options: dict[str, Any] = {"resources": {"GPU": 1}} if gpus else {}
    with (
        dask.config.set(_LOCAL_SETTINGS | {"distributed.worker.preload": []}),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=limit,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
            silence_logs="ERROR",
            preload_nanny=None,
            env=_worker_environment(),
            **options,
        ) as local,
        Client(local) as client,
    ):
        yield client


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    from distributed import Client

    security = _security() if address.startswith("tls://") else None
    try:
        client = Client(address, security=security, timeout="20s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address}: {error}. Start one with `dask scheduler` or "
            "`volseg cloud up`, and check the address and certificates"
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=5)


_LOCAL_SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 1_000_000_000,
    "distributed.worker.use-file-locking": False,
    "distributed.worker.daemon": True,
    "distributed.comm.retry.count": 1,
    "distributed.admin.tick.limit": "60s",
}


def _worker_environment() -> dict[str, str]:
    """One thread each for the libraries below a worker, whose own threads are the workers."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {name: "1" for name in names} | {"MALLOC_TRIM_THRESHOLD_": "65536"}


def _security() -> Any:
    from distributed.security import Security

    files = {name: os.environ.get(name, "") for name in (TLS_CA, TLS_CERT, TLS_KEY)}
    for name, path in files.items():
        if not path:
            raise InputError(
                f"a tls:// cluster needs certificates: set {name} to a file "
                "(`volseg cloud certs` makes a set)"
            )
        if not Path(path).is_file():
            raise InputError(f"{name} names {path}, which is no file")
    return Security(
        tls_ca_file=files[TLS_CA],
        tls_client_cert=files[TLS_CERT],
        tls_client_key=files[TLS_KEY],
        require_encryption=True,
    )


def _gpus() -> list[str]:
    """Indices of the visible NVIDIA devices, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part for part in visible.split(",") if part.strip() and part.strip() != "-1"]
    devices = sorted(Path("/dev").glob("nvidia[0-9]*"), key=lambda path: int(path.name[6:]))
    return [str(i) for i in range(len(devices))]
