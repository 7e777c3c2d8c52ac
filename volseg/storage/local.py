"""Objects as files: atomic writes; conditional creates by lock and hard link, conditional updates by lock.

Where hard links don't exist, as on exFAT and some network shares, a create looks under the lock whether the file is
there, and renames. Every create takes the lock, so that both ways keep each other out.

No write is torn when a process dies. Conditional writes are brought to the disk before they count, with the folders
that they make; plain ones only where it is asked for, or later by `sync`, before something durable names them: a flush
right after each chunk would cost more than the chunk.

The entity tag of a file is its inode, modification time (ns) and size. Times are set by the writer and grow strictly
from one version of a file to the next, so that a reused inode never repeats a tag.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbits
from typing import BinaryIO

from volseg.errors import AlreadyWrittenError, ChangedError, NotThereError
from volseg.storage.locks import WINDOWS, locked
from volseg.storage.stat import Names, Stat

_TEMPORARY = re.compile(r".*#\d+")  # the form that obstore's LocalStore leaves out of listings too
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)
"""What file systems without hard links answer; EPERM is exFAT's word."""
_COARSENESS_NS = (1, 1_000, 10_000_000, 2_000_000_000)
"""How far apart times must be for file systems to tell them apart: most, SMB's, exFAT's, FAT's."""
PATIENCE_SECONDS = 5.0
"""How long a file that somebody has open is waited for, on Windows."""


class LocalObjects:
    """Objects below one folder. Raises OSError and volseg's conditional errors; `Store` translates the former.

    Parameters
    ----------
    root
        Absolute path of the folder; it need not exist before the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = long_path(root) if WINDOWS else root

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes and tag of one version of an object, None if it is not there."""
        try:
            with open(self._path(key), "rb") as file:
                state = os.fstat(file.fileno())
                return file.read(), _etag(state)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def head(self, key: str) -> Stat | None:
        """Return size, tag and time of an object, None if it is not there."""
        try:
            state = os.stat(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if _is_folder(state) else _stat(key, state)

    def put(self, key: str, data: bytes, *, durable: bool = False) -> str:
        """Write an object whole, replacing what was there; atomic, but else left to the system to bring to the disk."""
        path = self._path(key)
        with self._staged(key, data, durable=durable) as temporary, locked(path):
            return self._replace(temporary, path, durable=durable)

    def sync(self, keys: Iterable[str]) -> None:
        """Bring objects, or that there are none, and the folders above them to the disk."""
        folders: set[Path] = set()
        for key in keys:
            path = self._path(key)
            with suppress(FileNotFoundError, NotADirectoryError):
                _sync_file(path)
            folders.update(self._folders_of(path))
        for folder in sorted(folders, key=lambda one: -len(one.parts)):
            with suppress(FileNotFoundError, NotADirectoryError):
                _sync_folder(folder)

    def _folders_of(self, path: Path) -> list[Path]:
        """The folders from an object's own up to the root."""
        return [
            folder for folder in path.parents if folder == self.root or self.root in folder.parents
        ]

    def put_new(self, key: str, data: bytes) -> str:
        """Create an object; AlreadyWrittenError if it is there. Of concurrent callers exactly one succeeds."""
        path = self._path(key)
        with self._staged(key, data) as temporary, locked(path):
            now = time.time_ns()
            os.utime(temporary, ns=(now, now))
            etag = _etag(os.stat(temporary))
            try:
                _name_new(temporary, path)
            except FileExistsError:
                raise AlreadyWrittenError(f"{path} exists already") from None
            try:
                _sync_folder(path.parent)
            except OSError:  # not durable, so not created
                os.unlink(path)
                raise
            return etag

    def put_if(self, key: str, data: bytes, etag: str) -> str:
        """Replace the version `etag` of an object; ChangedError if another one is there."""
        path = self._path(key)
        found = self.head(key)
        if found is None or found.etag != etag:  # early, before anything is written
            raise ChangedError(f"{path} was changed by someone else since it was read")
        with self._staged(key, data) as temporary, locked(path):
            found = self.head(key)
            if found is None or found.etag != etag:
                raise ChangedError(f"{path} was changed by someone else since it was read")
            return self._replace(temporary, path, durable=True)

    def delete(self, key: str) -> None:
        """Delete an object, if it is there, and folders above it that this leaves empty."""
        path = self._path(key)
        if not path.parent.is_dir():
            return
        with locked(path), suppress(FileNotFoundError, IsADirectoryError):
            _patiently(lambda: os.unlink(path))
        self._prune(path.parent)

    def delete_all(self, prefix: str) -> None:
        """Delete every object below a prefix ("" for all), temporary files included, and the folders left empty."""
        top = self._path(prefix) if prefix else self.root
        if top.is_symlink() or top.is_file():
            with suppress(FileNotFoundError):
                os.unlink(top)
        for folder, folders, files in os.walk(top, topdown=False):
            for name in files:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))
            for name in folders:
                inner = os.path.join(folder, name)
                if os.path.islink(inner):
                    os.unlink(inner)
                else:
                    _remove_if_empty(inner)
        _remove_if_empty(top)
        if prefix:
            self._prune(top.parent)

    def list(self, prefix: str) -> Iterator[Stat]:
        """Yield every object below a prefix, sorted by key."""
        top = self._path(prefix) if prefix else self.root
        yield from self._walk(top, prefix + "/" if prefix else "")

    def list_names(self, prefix: str) -> Names:
        """Return the names one level below a prefix, sorted; folders and objects alike."""
        top = self._path(prefix) if prefix else self.root
        try:
            return sorted(name for name in os.listdir(top) if not _TEMPORARY.fullmatch(name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _walk(self, folder: Path | str, start: str) -> Iterator[Stat]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        # object stores sort keys as whole strings, in which "/" comes before letters, but after "-" and "."
        for entry in sorted(entries, key=lambda e: e.name + "/" if e.is_dir() else e.name):
            if _TEMPORARY.fullmatch(entry.name):
                continue
            if entry.is_dir():
                yield from self._walk(entry.path, f"{start}{entry.name}/")
            else:
                with suppress(FileNotFoundError):
                    yield _stat(start + entry.name, entry.stat())

    def _path(self, key: str) -> Path:
        return self.root / key

    @contextmanager
    def _staged(self, key: str, data: bytes, *, durable: bool = True) -> Iterator[Path]:
        """Write data to a temporary file beside its target; the file is gone afterwards, whatever happens."""
        path = self._path(key)
        temporary = path.with_name(f"{path.name}#{randbits(63) + 1}")
        handle = _open_new(temporary, durable)
        try:
            with open(handle, "wb") as file:
                _write(file, data, durable)
            yield temporary
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            self._prune(path.parent)
            raise
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    @staticmethod
    def _replace(temporary: Path, path: Path, *, durable: bool) -> str:
        """Rename under the lock; the new time is later than the old version's, so that tags never repeat."""
        now = time.time_ns()
        with suppress(FileNotFoundError):
            before = os.stat(path).st_mtime_ns
            if now - before < _COARSENESS_NS[-1]:
                now = max(now, _later_than(before, temporary))
        os.utime(temporary, ns=(now, now))
        etag = _etag(os.stat(temporary))
        _patiently(lambda: os.replace(temporary, path))
        if durable:
            _sync_folder(path.parent)
        return etag

    def _prune(self, folder: Path) -> None:
        while folder != self.root and self.root in folder.parents and _remove_if_empty(folder):
            folder = folder.parent


def _write(file: BinaryIO, data: bytes, durable: bool) -> None:
    file.write(data)
    file.flush()
    if durable:
        os.fsync(file.fileno())


def _open_new(path: Path, durable: bool) -> int:
    """Open a new file, making its folders; tried again if a concurrent delete removes a folder in between."""
    for _ in range(20):
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:
            _make_folder(path.parent, durable)
    raise NotThereError(f"{path.parent} is deleted as fast as it is made")


def _make_folder(folder: Path, durable: bool) -> None:
    """Make a folder and those above it; durable ones are brought to the disk in the folder that they lie in."""
    missing = [folder]
    while not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    folder.mkdir(parents=True, exist_ok=True)
    if durable:
        for made in reversed(missing):
            with suppress(FileNotFoundError):
                _sync_folder(made.parent)


def _name_new(temporary: Path, path: Path) -> None:
    """Give a file its name, under the lock; FileExistsError if the name is taken.

    A hard link fails then by itself, whatever other programs do, and so does a rename on Windows.
    """
    if hasattr(os, "link"):
        try:
            os.link(temporary, path)
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    os.rename(temporary, path)


def _later_than(before_ns: int, file: Path) -> int:
    """The next time after `before_ns` that the file system of `file` tells apart from it."""
    for step in _COARSENESS_NS:
        os.utime(file, ns=(before_ns + step, before_ns + step))
        if os.stat(file).st_mtime_ns > before_ns:
            break
    return before_ns + step


def _patiently(operation: Callable[[], None]) -> None:
    """Do something to a file that somebody may have open; Windows refuses it for as long."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return operation()
        except PermissionError:
            if not WINDOWS or time.monotonic() > until:
                raise
            time.sleep(0.01)


def long_path(path: Path) -> Path:
    """Return a path of Windows in the form that may have more than 260 letters."""
    text = str(path)
    if text.startswith("\\\\?\\"):
        return path
    if text.startswith("\\\\"):
        return type(path)("\\\\?\\UNC\\" + text[2:])
    return type(path)("\\\\?\\" + text)


def _remove_if_empty(folder: Path | str) -> bool:
    try:
        os.rmdir(folder)
    except OSError:
        return False
    return True


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    if WINDOWS:  # which brings names to the disk by itself
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except (
        OSError
    ) as error:  # some network file systems can't sync a folder; their rename is durable by itself
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _is_folder(state: os.stat_result) -> bool:
    return (state.st_mode & 0o170000) == 0o040000


def _etag(state: os.stat_result) -> str:
    return f'"{state.st_ino:x}-{state.st_mtime_ns:x}-{state.st_size:x}"'


def _stat(key: str, state: os.stat_result) -> Stat:
    modified = datetime.fromtimestamp(state.st_mtime_ns / 1e9, UTC)
    return Stat(key, state.st_size, _etag(state), modified)
