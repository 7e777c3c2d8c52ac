"""Local copies of edits that could not be made durable: written when an editor closes, taken up by the next one."""

from __future__ import annotations

import os
import re
from pathlib import Path

from volseg.editing.journal import Journal
from volseg.editing.record import Record, decode_record, encode_record
from volseg.errors import NotThereError


def default_folder() -> Path:
    """Return where local copies go unless told otherwise: the user's state folder of volseg."""
    from platformdirs import user_state_path

    return user_state_path("volseg") / "unsaved-edits"


def write_copy(folder: Path, label_name: str, record: Record) -> Path:
    """Write a record into a file of its own, durably, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", label_name)
    path = folder / f"{safe}-{record.uuid}.edits"
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as file:
        file.write(encode_record(record))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return path


def read_copy(path: Path, journal: Journal) -> Record:
    """Read a record from a file.

    Raises
    ------
    NotThereError
        If there is no such file.
    UnsupportedFormatError
        If it is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotThereError(f"{path} does not exist; expected a local copy of edits") from None
    return decode_record(data, journal.fetch, where=str(path))
