"""Copies of embeddings on a fast disk of this machine, in front of a store that is far away.

They are hints: what is missing, damaged or out of date is read from the store again, and a disk that fails or is full
only makes the work slower.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from volseg.errors import InputError

logger = logging.getLogger(__name__)

FOLDER = "VOLSEG_CACHE_DIR"
"""Environment variable: where copies lie; without it there are none."""
BYTES = "VOLSEG_CACHE_BYTES"
"""Environment variable: how many bytes of them."""
DEFAULT_BYTES = 100 * 10**9
_SHARE = 16  # the folder is looked through once for so great a part of its bound


class LocalCopies:
    """Files named by cache and object, the longest unused going first; processes may share the folder.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    most_bytes : int
        What the files may take; with several processes each may exceed it by a sixteenth for a moment.
    """

    def __init__(self, folder: Path, most_bytes: int = DEFAULT_BYTES) -> None:
        self._folder, self._most = folder, most_bytes
        self._unseen = most_bytes  # so that the first file counts what earlier processes left
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> LocalCopies | None:
        """Return those that the environment asks for, None where it does not.

        Raises
        ------
        InputError
            If the number of bytes is none.
        """
        folder = environment.get(FOLDER)
        if not folder:
            return None
        text = environment.get(BYTES) or str(DEFAULT_BYTES)
        if not text.isascii() or not text.isdigit():
            raise InputError(f"{BYTES}={text!r}: expected a number of bytes, such as 100000000000")
        return cls(Path(folder), int(text))

    def get(self, key: str, name: str) -> bytes | None:
        """Return the copy of an object of a cache, None where there is none."""
        path = self._path(key, name)
        try:
            data = path.read_bytes()
            os.utime(path)  # used just now
        except OSError:
            return None
        return data

    def put(self, key: str, name: str, data: bytes) -> None:
        """Keep a copy, whole or not at all; older ones make room."""
        if len(data) > self._most:
            return
        path = self._path(key, name)
        partial = path.with_name(f"{uuid.uuid4().hex}.part")
        try:
            self._make_room(len(data))
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            os.replace(partial, path)
        except OSError as error:
            logger.warning("no copy of an embedding in %s: %s", self._folder, error)
            with suppress(OSError):
                partial.unlink()

    def drop(self, key: str, name: str) -> None:
        """Delete a copy that turned out to be worth nothing."""
        with suppress(OSError):
            self._path(key, name).unlink()

    def _path(self, key: str, name: str) -> Path:
        return self._folder / f"{key}-{name.replace('/', '-')}"

    def _make_room(self, size: int) -> None:
        """Delete the longest unused files once those written since the last look may exceed the bound."""
        with self._lock:
            self._unseen += size
            if self._unseen <= self._most // _SHARE:
                return
            files = sorted(self._files())
            surplus = sum(held for _, held, _ in files) + size - self._most * (_SHARE - 1) // _SHARE
            for _, held, path in files:
                if surplus <= 0:
                    break
                with suppress(OSError):
                    os.unlink(path)
                surplus -= held
            self._unseen = 0

    def _files(self) -> list[tuple[float, int, str]]:
        """When each file was last used, its bytes and its path."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process deleted it
                    state = entry.stat()
                    found.append((state.st_mtime, state.st_size, entry.path))
        return found
