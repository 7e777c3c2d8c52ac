"""What stands between a strange file and the rest: library errors become one clear error, sizes
are believed only as far as the file's own size makes them possible.
"""

from __future__ import annotations

import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from volseg.errors import InputError, NotThereError, UnsupportedFormatError, VolsegError

MAX_RATIO = 40_000
"""No codec in these formats packs better than this: zstd stores 128 KiB of one value in 4 bytes."""

_LOGGERS = ("tifffile", "pydicom", "nibabel", "nibabel.global", "PIL", "imagecodecs")


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a format's library raises while reading `path` into `UnsupportedFormatError`.

    Parameters
    ----------
    path : Path
    what : str
        The format, for the message ("TIFF").

    Raises
    ------
    NotThereError
        If the file is gone or must not be read.
    UnsupportedFormatError
        For any failure that comes from the file's content.
    """
    try:
        with _quiet():
            yield
    except VolsegError:
        raise
    except FileNotFoundError as error:
        raise NotThereError(f"{shown(path)}: there is no such file") from error
    except PermissionError as error:
        raise NotThereError(f"{shown(path)}: no permission to read it") from error
    except MemoryError as error:
        raise UnsupportedFormatError(
            f"{shown(path)}: the {what} asks for more memory than there is; it is damaged, "
            "or a part of it is too large to be decoded at once"
        ) from error
    except Exception as error:
        # Decoders fail with anything from struct.error to KeyError; all of it means a damaged file.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnsupportedFormatError(
            f"{shown(path)}: damaged, truncated or not a readable {what} "
            f"({type(error).__name__}: {printable(reason)})"
        ) from error


def check_size(path: Path, nbytes: int, file_bytes: int, *, compressed: bool) -> None:
    """Refuse a file that declares more data than its size can hold.

    Parameters
    ----------
    nbytes : int
        Bytes of the decoded image, by the header.
    file_bytes : int
        Size of the file.
    compressed : bool
        Whether the data may be smaller in the file than decoded.

    Raises
    ------
    UnsupportedFormatError
    """
    most = file_bytes * MAX_RATIO if compressed else file_bytes
    if nbytes > most:
        raise UnsupportedFormatError(
            f"{shown(path)}: the header announces {nbytes:,} bytes of image, but the file has only "
            f"{file_bytes:,} bytes; it is truncated or damaged"
        )


def existing(path: Path) -> Path:
    """Return the path if a file or folder lies there.

    Raises
    ------
    NotThereError
    UnsupportedFormatError
        If it is a pipe or device, which can't be read twice or may never end.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise NotThereError(f"{shown(path)}: there is no such file or folder") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UnsupportedFormatError(f"{shown(path)} is a pipe or device; give a file or a folder")
    return path


def shown(path: object) -> str:
    """A path as text that can always be printed (names need not be valid UTF-8)."""
    return printable(str(path))


def printable(text: str) -> str:
    """Text without lone surrogates and control characters."""
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in clean)


def whole_number(value: object, what: str) -> int:
    """A number of a header as int.

    Raises
    ------
    InputError
        If it isn't one, or is negative.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{what}: expected a whole number from 0, found {value!r}")
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own warnings out of the terminal; what matters becomes an error."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
