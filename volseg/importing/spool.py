"""Bytes that can't be read in place, brought to a temporary file: unpacked, or fetched from a
store.

Memory stays at one piece; the temporary folder goes with the `Spool`.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import IO, Any

from volseg.errors import NotThereError, UnsupportedFormatError
from volseg.importing.guard import reading, shown
from volseg.store.urls import Location, check_name, parse_url

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
    try:
        with gzip.GzipFile(fileobj=source) as packed, target.open("wb") as out:
            while left and (piece := packed.read(min(_PIECE, left))):
                out.write(piece)
                left -= len(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnsupportedFormatError(
            f"{shown(path)}: its packed data is truncated or damaged ({error})"
        ) from error
    if left:
        raise UnsupportedFormatError(
            f"{shown(path)}: truncated; {expected - left:,} of {expected:,} bytes are there"
        )
    return target


def fetch(location: Location, spool: Spool) -> Path:
    """Copy an object, or every object below a prefix, from a store to a temporary file or folder.

    Raises
    ------
    NotThereError
        If there is nothing at the location.
    """
    import obstore

    from volseg.store.failures import translated
    from volseg.store.objects import open_store
    from volseg.store.remote import open_obstore

    head, _, name = location.url.rpartition("/")
    parent = parse_url(head)
    with translated(location):
        store: Any = open_obstore(parent)
        try:
            return _download(obstore, store, name, spool.folder / check_name(location.name, "file"))
        except FileNotFoundError:
            pass
    folder = spool.folder / check_name(location.name, "folder")
    names = open_store(location).list_names() if location.scheme == "s3" else []
    if not names:
        raise NotThereError(f"{location}: there is nothing")
    folder.mkdir()
    with translated(location):
        below: Any = open_obstore(location)
        for one in names:
            _download(obstore, below, one, folder / check_name(one, "slice file"))
    return folder


def _download(obstore: Any, store: Any, key: str, target: Path) -> Path:
    answer = obstore.get(store, key)
    with target.open("wb") as out:
        for piece in answer.stream(min_chunk_size=_PIECE):
            out.write(piece)
    return target


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading bytes; errors as in `reading`."""
    with reading(path, "file"):
        return path.open("rb")
