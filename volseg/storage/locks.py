"""The lock of one file between processes: the kernel's, or a marker file where the kernel has none.

The kernel frees its locks when their holder dies. A marker names its holder: one on the same machine that is no more
is found out; any other is waited for, then told.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLock, Timeout, has_fcntl, lock_descriptor

from volseg.errors import StorageError

SUFFIX = "#0"
POLL_SECONDS = 0.002
MARKER_SECONDS = 60.0
WINDOWS = os.name == "nt"
_NO_KERNEL_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What file systems without locks answer: some network shares and some made of user programs."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which need not exist; no lock file is left behind.

    Raises
    ------
    StorageError
        If somebody on another machine holds a marker for longer than `MARKER_SECONDS`.
    OSError
        If neither kind of lock can be made here.
    """
    lock = path.with_name(path.name + SUFFIX)
    while True:
        if not (WINDOWS or has_fcntl):
            break
        try:
            handle, made = _open(lock)
        except FileNotFoundError:  # the folder went away: whatever was there is gone, make it again
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        try:
            if not _lock(handle, lock, made):
                break
            if _same_file(handle, lock):  # else the former holder unlinked it: it protects nothing
                try:
                    yield
                finally:
                    if not WINDOWS:
                        _unlink(lock)
                return
        finally:
            os.close(handle)
            if WINDOWS:  # which refuses while anybody has it open, and only then
                _unlink(lock)
    with _marked(lock):
        yield


def _open(lock: Path) -> tuple[int, bool]:
    """Open a lock file; tell whether it was made here."""
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(lock, os.O_RDWR | os.O_CREAT, 0o666), False


def _lock(handle: int, lock: Path, made: bool) -> bool:
    """Wait for the kernel's lock; False, and nothing left of ours, where this file system has none."""
    try:
        return lock_descriptor(handle, poll_interval=POLL_SECONDS)
    except OSError as error:
        if error.errno not in _NO_KERNEL_LOCKS:
            raise
        if made and _same_file(handle, lock):  # it would be taken for somebody's marker
            _unlink(lock)
        return False


@contextmanager
def _marked(lock: Path) -> Iterator[None]:
    """Hold a marker file, which exists for as long as the lock is held."""
    marker = SoftFileLock(lock, timeout=MARKER_SECONDS, poll_interval=POLL_SECONDS, mode=0o666)
    while True:
        try:
            with warnings.catch_warnings(action="ignore"):
                marker.acquire()
            break
        except FileNotFoundError:
            lock.parent.mkdir(parents=True, exist_ok=True)
        except Timeout:
            raise StorageError(
                f"{lock}: somebody else has held this lock for {MARKER_SECONDS:.0f} s; this disk has no locks that "
                "end with their holder. If nobody is at work here, delete that file"
            ) from None
    try:
        yield
    finally:
        marker.release()


def _unlink(lock: Path) -> None:
    with suppress(FileNotFoundError, *((PermissionError,) if WINDOWS else ())):
        os.unlink(lock)


def _same_file(handle: int, path: Path) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(handle)
    return (held.st_ino, held.st_dev) == (named.st_ino, named.st_dev)
