"""Bytes that can't be read in place, brought to a temporary file: unpacked, or fetched from a
store.

Memory stays at one piece; the temporary folder goes with the `Spool`.
"""

from __future__ import annotations

import bz2
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

from volseg.errors import NoListingError, NotThereError, UnsupportedFormatError
from volseg.importing.guard import reading, shown
from volseg.storage.urls import Location

_PIECE = 2**22


class Spool:
    """A temporary folder; `close` removes it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="volseg-import-"))

    def close(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def unpack(source: IO[bytes], path: Path, expected: int, spool: Spool) -> Path:
    """Unpack gzip data to a temporary file.

    Parameters
    ----------
    source : binary file
        At the start of the gzip data.
    path : Path
        For messages.
    expected : int
        How many bytes the header announces; not more are written.

    Raises
    ------
    UnsupportedFormatError
        If there are fewer.
    """
    target = spool.folder / "unpacked"
    left = expected
    with target.open("wb") as out:
        for piece in unpacked(source, path):
            out.write(piece[:left])
            left -= min(left, len(piece))
            if not left:
                return target
    raise UnsupportedFormatError(
        f"{shown(path)}: truncated; {expected - left:,} of {expected:,} bytes are there"
    )


def unpacked(source: IO[bytes], path: Path, packing: str = "gzip") -> Iterator[bytes]:
    """Yield what is packed by gzip or bzip2, piece by piece.

    Raises
    ------
    UnsupportedFormatError
        If it is damaged.
    """
    try:
        with gzip.GzipFile(fileobj=source) if packing == "gzip" else bz2.BZ2File(source) as packed:
            while piece := packed.read(_PIECE):
                yield piece
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
        raise UnsupportedFormatError(
            f"{shown(path)}: its packed data is truncated or damaged ({error})"
        ) from error


def fetch(location: Location, spool: Spool) -> Path:
    """Copy an object, or every object below a prefix, from a store to a temporary file or folder.

    Raises
    ------
    NotThereError
        If there is nothing at the location.
    """
    from volseg.storage.objects import Store

    target = spool.folder / _file_name(location.name)
    if location.parent != location:
        try:
            Store(location.parent, read_only=True).download(location.name, target)
            return target
        except NotThereError:
            target.unlink(missing_ok=True)
    below = Store(location, read_only=True)
    try:
        names = below.list_names()
    except NoListingError:
        names = []
    if not names:
        raise NotThereError(f"{location}: there is nothing")
    target.mkdir()
    for name in names:
        below.download(name, target / _file_name(name))
    return target


def _file_name(name: str) -> str:
    """A name that any file system takes, another one for each name."""
    return quote(name, safe=" ()[]{},;+=@!&'$~")


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading bytes; errors as in `reading`."""
    with reading(path, "file"):
        return path.open("rb")
