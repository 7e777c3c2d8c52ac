"""The lease of a label image: one running job at a time, told from its crashed predecessors by an epoch.

Safety rests on the epoch alone: workers compare it before each put, so a holder that was paused and wakes up writes
nothing. Heartbeats and process checks only decide how soon somebody else may take over.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from volseg.errors import (
    AlreadyWrittenError,
    ChangedError,
    LeaseHeldError,
    LeaseLostError,
    StorageError,
)
from volseg.processes import runs
from volseg.storage import Store

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

LEASES = "volseg/leases"
HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


@dataclass(frozen=True)
class LeaseRecord:
    """Who holds a label image. Kept after release, since epochs must never repeat.

    Parameters
    ----------
    epoch
        Grows by one with each holder.
    run
        Hash of the plan that the label image belongs to; empty for work without a plan.
    host
        Host name and, on Linux, boot and process namespace: equal only where `process` means the same.
    process
        Process id and start time, as ``"1234:567890"``.
    heartbeat
        Seconds since the epoch (holder's clock) of the last sign of life.
    held
        False once released.
    """

    epoch: int
    run: str
    host: str
    process: str
    heartbeat: float
    held: bool


def lease_key(label_name: str) -> str:
    """Key of a label image's lease in the volume's output store."""
    return f"{LEASES}/{label_name}.json"


def read_lease(store: Store, label_name: str) -> LeaseRecord | None:
    """The lease of a label image; None where no job ever held it."""
    data = store.get_or_none(lease_key(label_name))
    return None if data is None else LeaseRecord(**json.loads(data))


class EpochGuard:
    """A worker's side of the lease: picklable, compared before each put."""

    def __init__(self, store: Store, label_name: str, epoch: int) -> None:
        self.store = store
        self.label_name = label_name
        self.epoch = epoch

    def check(self) -> None:
        """Raise LeaseLostError where another job has taken the label image over."""
        record = read_lease(self.store, self.label_name)
        if record is None or record.epoch != self.epoch or not record.held:
            now = (
                "nobody"
                if record is None or not record.held
                else f"{record.process} on {record.host}"
            )
            raise LeaseLostError(
                f"the lease of label image {self.label_name!r} at {self.store.location} is no longer "
                f"this job's (epoch {self.epoch}; now held by {now}); nothing more was written. "
                "Continue with --resume once the other job has ended"
            )


class Lease:
    """Holds a label image, with a heartbeat, until it is given back; use `acquire`, as a context manager.

    Parameters
    ----------
    store
        The volume's output store.
    label_name
        The label image.
    record, etag
        What was written on acquiring.
    heartbeat_seconds
        Seconds between signs of life.
    previous
        The record of the former holder: which run the label image belongs to.
    """

    def __init__(
        self,
        store: Store,
        label_name: str,
        record: LeaseRecord,
        etag: str,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        previous: LeaseRecord | None = None,
    ) -> None:
        self.previous = previous
        self._store = store
        self._label_name = label_name
        self._record = record
        self._etag = etag
        self._every = heartbeat_seconds
        self._stop = threading.Event()
        self._lost: LeaseLostError | None = None
        name = _thread_name(store, label_name, record.epoch)
        self._thread = threading.Thread(target=self._beat, name=name, daemon=True)
        self._thread.start()

    @classmethod
    def acquire(
        cls,
        store: Store,
        label_name: str,
        run: str,
        *,
        break_lease: bool = False,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        stale_seconds: float = STALE_SECONDS,
    ) -> Lease:
        """Take the lease of a label image.

        Parameters
        ----------
        store
            The volume's output store.
        label_name
            The label image.
        run
            Hash of the plan that is about to run.
        break_lease
            Take it from whoever holds it.
        heartbeat_seconds, stale_seconds
            Seconds between signs of life, and without one until the holder counts as gone.

        Raises
        ------
        LeaseHeldError
            Another job holds it; the message names the holder.
        """
        key = lease_key(label_name)
        while True:
            found = store.get_with_etag(key)
            old = None if found is None else LeaseRecord(**json.loads(found[0]))
            if old is not None and old.held and not break_lease:
                _refuse_unless_free(old, run, label_name, store, stale_seconds)
            epoch = 1 if old is None else old.epoch + 1
            record = LeaseRecord(epoch, run, host_name(), process_name(), time.time(), held=True)
            try:
                if found is None:
                    etag = store.put_new(key, _encode(record))
                else:
                    etag = store.put_if(key, _encode(record), found[1])
            except (AlreadyWrittenError, ChangedError):
                break_lease = False  # somebody was faster: look again at who it is
                continue
            return cls(store, label_name, record, etag, heartbeat_seconds, old)

    @property
    def epoch(self) -> int:
        """The number of this holder."""
        return self._record.epoch

    def guard(self) -> EpochGuard:
        """What workers compare before each put."""
        return EpochGuard(self._store, self._label_name, self.epoch)

    def check(self) -> None:
        """Raise LeaseLostError where a heartbeat found the lease taken over."""
        if self._lost is not None:
            raise self._lost

    def release(self) -> None:
        """Stop the heartbeat and give the lease back; harmless where it was lost or the store fails."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._lost is None:
            try:
                self._write(replace(self._record, held=False, heartbeat=time.time()))
            except StorageError:
                return  # it goes stale by itself

    def forget(self) -> None:
        """Remove the lease record itself: only for a job that failed before it made anything."""
        self.release()
        if self._lost is None:
            self._store.delete(lease_key(self._label_name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _write(self, record: LeaseRecord) -> None:
        self._etag = self._store.put_if(lease_key(self._label_name), _encode(record), self._etag)
        self._record = record

    def _beat(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self._write(replace(self._record, heartbeat=time.time()))
            except ChangedError:
                if not self._recognise_own_write():
                    return
            except StorageError:
                continue  # the next beat tries again; a lost lease shows in the workers' checks

    def _recognise_own_write(self) -> bool:
        """After a put whose answer was lost the tag is another, but the record still names this holder."""
        found = self._store.get_with_etag(lease_key(self._label_name))
        record = None if found is None else LeaseRecord(**json.loads(found[0]))
        if found is not None and record is not None and record.epoch == self.epoch and record.held:
            self._etag = found[1]
            return True
        self._lost = LeaseLostError(
            f"the lease of label image {self._label_name!r} at {self._store.location} was taken over"
            + ("" if record is None else f" by process {record.process} on {record.host}")
            + "; this job stops. Continue with --resume once the other job has ended"
        )
        return False


def _refuse_unless_free(
    old: LeaseRecord, run: str, label_name: str, store: Store, stale_seconds: float
) -> None:
    age = time.time() - old.heartbeat
    here = old.host == host_name()
    lives = here and _holder_lives(old, store, label_name)
    patience = 10 * stale_seconds if lives else stale_seconds  # a busy process here may be late
    gone = (here and not lives) or age > patience
    if gone and old.run == run:
        return
    holder = f"process {old.process} on {old.host} (run {old.run[:12]}, last heard {age:.0f} s ago)"
    if gone:
        raise LeaseHeldError(
            f"label image {label_name!r} at {store.location} was left by {holder}, which ran another "
            "plan; continue that one with --resume, or take the label image with --break-lease"
        )
    raise LeaseHeldError(
        f"label image {label_name!r} at {store.location} is held by {holder}; wait for it to end, or "
        f"stop it. It counts as gone {stale_seconds:.0f} s after its last sign of life; "
        "--break-lease takes it at once"
    )


def _holder_lives(record: LeaseRecord, store: Store, label_name: str) -> bool:
    """Whether the holder, a process of this host, lives; in this very process, whether its heartbeat does.

    The latter matters where giving back failed: the next run of the same process must not wait for itself.
    """
    if record.process != process_name():
        return process_lives(record.process)
    name = _thread_name(store, label_name, record.epoch)
    return any(thread.name == name for thread in threading.enumerate())


def _thread_name(store: Store, label_name: str, epoch: int) -> str:
    return f"volseg-lease {store.location} {label_name} {epoch}"


def _encode(record: LeaseRecord) -> bytes:
    return json.dumps(asdict(record), sort_keys=True).encode()


@lru_cache(maxsize=1)
def host_name() -> str:
    """Names the host so that equal names mean that process ids can be compared."""
    parts = [socket.gethostname()]
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        parts.append(boot.read_text().strip()[:8])
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return "/".join(parts)


def process_name(pid: int | None = None) -> str:
    """Process id and start time, so that a reused id is not taken for the old process."""
    number = os.getpid() if pid is None else pid
    return f"{number}:{_start_time(number)}"


def process_lives(name: str) -> bool:
    """Whether the process of `process_name` still runs on this host."""
    pid = int(name.partition(":")[0])
    return runs(pid) and process_name(pid) == name


def _start_time(pid: int) -> str:
    """Start time in clock ticks since boot (field 22 of Linux's /proc/PID/stat); "0" elsewhere or for a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "0"
    fields = text.rpartition(")")[2].split()
    return "zombie" if fields[0] in "ZX" else fields[19]
