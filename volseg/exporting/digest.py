"""SHA-256 of files, of finished ones and of one that is still being filled."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PIECE = 2**22


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = TrailingDigest(path)
    return digest.finished()


class TrailingDigest:
    """Hashes a file behind those who fill it from front to back, while its bytes are still near.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path, self._place = path, 0
        self._digest = hashlib.sha256()

    def advance(self, end: int) -> None:
        """Hash on up to byte `end`; what lies before it must not change any more."""
        self._read(end - self._place)

    def finished(self) -> str:
        """Hash the rest, and return the SHA-256 in hexadecimal."""
        self._read(None)
        return self._digest.hexdigest()

    def _read(self, count: int | None) -> None:
        if count is not None and count <= 0:
            return
        with self._path.open("rb") as file:
            file.seek(self._place)
            while count is None or count > 0:
                piece = file.read(_PIECE if count is None else min(_PIECE, count))
                if not piece:
                    return
                self._digest.update(piece)
                self._place += len(piece)
                count = None if count is None else count - len(piece)
