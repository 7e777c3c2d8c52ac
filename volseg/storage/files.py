"""Single files on this machine that people name: where they lie, and writing one whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from volseg.errors import AccessDeniedError, ExistsError, InputError, NotThereError, explain
from volseg.storage.urls import parse_url


def file_to_write(name: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a file that is to be written, `~` and ``file://`` resolved.

    Parameters
    ----------
    name
        As a person gave it.

    Raises
    ------
    InputError
        If it is no place on this machine, has no folder yet, or is one.
    """
    path = parse_url(os.fspath(name)).local_path
    if path is None:
        raise InputError(f"{name}: expected a file on this machine")
    try:
        if path.is_dir():
            raise ExistsError(f"{path} is a folder; give the name of a file in it")
        if not path.parent.is_dir():
            raise NotThereError(
                f"{path}: there is no folder {path.parent}; make it first, or choose another place"
            )
    except OSError as error:  # a part of the path that can't be looked at
        raise explain(error) from error
    return path


def write_text(name: str | os.PathLike[str], text: str) -> Path:
    """Write a text file whole, by way of a temporary one beside it, and return its path.

    Raises
    ------
    InputError, StorageError
        If it can't be written there; what was there is still whole, and nothing else is left.
    """
    path = file_to_write(name)
    partial = path.with_name(f".volseg-partial-{secrets.token_hex(6)}")
    try:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(partial, path)
    except OSError as error:
        raise explain(error) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return path


def read_text(name: str | os.PathLike[str]) -> str:
    """Read a small text file (UTF-8) of a person's.

    Raises
    ------
    NotThereError, AccessDeniedError, InputError
        It is not there, may not be read, is a folder, or is no text.
    """
    path = Path(os.path.expanduser(name))
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThereError(f"no file at {path}") from error
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to read {path}") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, not a file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text file (UTF-8)") from error
