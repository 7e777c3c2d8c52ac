"""Dask clusters: a local one sized to this machine, or an address with TLS certificates from the environment."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from volseg.engine.devices import local_gpus
from volseg.errors import InputError
from volseg.processes import apart, kill_with_children

if TYPE_CHECKING:
    from distributed import Client

TLS_CA, TLS_CERT, TLS_KEY = "VOLSEG_TLS_CA", "VOLSEG_TLS_CERT", "VOLSEG_TLS_KEY"
DRIVER_BYTES = 1 << 30
"""Kept free of workers, for the driver and the system."""
WORKER_START_S = 5.0
"""What local workers take until they compute: Dask, torch and a model are loaded by a fresh process."""


class Work(Protocol):
    """What a cluster asks about the work that it is opened for; a plan answers it."""

    @property
    def memory_per_worker(self) -> int:
        """Bytes that a worker needs for its largest block."""

    @property
    def seconds_at_most(self) -> float:
        """Seconds that the work takes on one worker, at most."""

    def check_budget(self, worker_bytes: int) -> None:
        """Refuse workers of so many bytes with `MemoryBudgetError` where not even one block fits."""


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

    return Machine(int(CPU_COUNT), int(MEMORY_LIMIT), len(local_gpus()))


def worker_memory(machine: Machine, workers: int) -> int:
    """Bytes that each of `workers` local workers may use."""
    return max(0, machine.memory - DRIVER_BYTES) // max(1, workers)


def is_worth_workers(work: Work, cluster: str | None, workers: int | None) -> bool:
    """Return whether work should go to workers: they were asked for, or it takes longer than they take to start."""
    asked = cluster not in (None, "local") or workers is not None
    return asked or work.seconds_at_most > WORKER_START_S


@contextmanager
def open_cluster(
    cluster: str | None = None,
    *,
    workers: int | None = None,
    work: Work | None = None,
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
    work
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
        Not even one block of the work fits into this machine's memory.
    """
    if cluster is None or cluster == "local":
        if workers is not None and workers < 1:
            raise InputError(f"the number of workers must be at least 1, not {workers}")
        if work is not None and memory is None:
            work.check_budget(worker_memory(this_machine(), 1))
        with _local(workers, memory, 0 if work is None else work.memory_per_worker) as client:
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
    gpus = local_gpus()
    count = workers or (len(gpus) or machine.cores)
    if needed and workers is None:
        count = max(1, min(count, worker_memory(machine, 1) // needed))
    limit = memory or worker_memory(machine, count)
    with (
        _quiet_logs(),
        dask.config.set(_SCHEDULER_SETTINGS),
        LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs="ERROR"
        ) as local,
        Client(local, set_as_default=False) as client,
        TemporaryDirectory(prefix="volseg-workers-") as folder,
        local_workers(local.scheduler_address, count, limit, folder, gpus) as processes,
    ):
        _wait_for(client, count, processes)
        yield client


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Our own scheduler's comings and goings are nobody's business, whatever log handlers others installed."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def local_workers(
    address: str, count: int, memory: int, folder: str, gpus: Sequence[str] = ()
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Worker processes on this machine, each under a nanny that restarts it; ended with the `with` block.

    They are processes of their own kind and session, not children by `multiprocessing`: so a script needs no main
    guard, and Ctrl-C in a terminal reaches the driver alone, which lets them finish what is in flight.

    Parameters
    ----------
    address
        Of the scheduler; when it goes away, they end.
    count
        Number of workers.
    memory
        Memory limit of each, bytes.
    folder
        For what Dask spills.
    gpus
        Devices that the workers take in turn; empty for none.

    Yields
    ------
    list of Popen
        One per nanny process.
    """
    command = [
        sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1",
        "--memory-limit", str(memory), "--no-dashboard", "--local-directory", folder,
        "--death-timeout", "60", "--host", "127.0.0.1",
    ]  # fmt: skip
    environment = os.environ | _worker_environment()
    processes = []
    try:
        if gpus:
            for i in range(count):
                visible = environment | {"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]}
                processes.append(_start([*command, "--resources", "GPU=1"], visible))
        else:
            processes.append(_start([*command, "--nworkers", str(count)], environment))
        yield processes
    finally:
        _end(processes)


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        **apart(),
    )  # fmt: skip


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Nothing is in flight any more, or it was given up: nannies and workers go."""
    for process in processes:
        kill_with_children(process)
    for process in processes:
        process.wait()


def _wait_for(client: Client, count: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + 120
    while len(client.scheduler_info(n_workers=-1)["workers"]) < count:
        if any(process.poll() is not None for process in processes):
            raise InputError("the local workers ended as soon as they were started; see above")
        if time.monotonic() > until:
            raise InputError(f"{count} local workers did not start within 120 s")
        time.sleep(0.05)


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


_SCHEDULER_SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 1_000_000_000,
    "distributed.admin.tick.limit": "60s",
    # what Dask keeps of itself for its dashboard would grow for a quarter of an hour, and costs time on every core
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.log-length": 120,
    "distributed.admin.low-level-log-length": 20,
}


def _worker_environment() -> dict[str, str]:
    """One thread each for the libraries below a worker, quiet logs, and the driver's import path."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    package = str(Path(__file__).resolve().parents[2])
    path = [package, *(part for part in sys.path if part and part != package)]
    return dict.fromkeys(names, "1") | {
        "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "60s",
        "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__LOG_LENGTH": "120",
        "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "20",
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
        "DASK_LOGGING__DISTRIBUTED": "critical",
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "PYTHONPATH": os.pathsep.join(path),
    }


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
