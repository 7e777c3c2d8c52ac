"""SHA-256 of files, of finished ones and of one that is still being filled."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType

_PIECE = 2**20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with TrailingDigest(path) as digest:
        return digest.finished()


class TrailingDigest:
    """Hashes a file behind those who fill it from front to back, while its bytes are still near.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._place = 0
        self._digest = hashlib.sha256()
        self._piece = memoryview(bytearray(_PIECE))
        self._file = os.open(path, os.O_RDONLY)

    def __enter__(self) -> TrailingDigest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def advance(self, end: int) -> None:
        """Hash on up to byte `end`; what lies before it must not change any more."""
        while self._place < end and self._step(min(_PIECE, end - self._place)):
            pass

    def finished(self) -> str:
        """Hash the rest, and return the SHA-256 in hexadecimal."""
        while self._step(_PIECE):
            pass
        return self._digest.hexdigest()

    def _step(self, most: int) -> int:
        count = os.preadv(self._file, [self._piece[:most]], self._place)
        self._digest.update(self._piece[:count])
        self._place += count
        return count
