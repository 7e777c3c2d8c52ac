"""Local copies of edits that could not be made durable: written when an editor closes, taken up by the next one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from volseg.editing.journal import Journal
from volseg.editing.record import Record, decode_record, encode_record
from volseg.errors import NotThereError, VolsegError

if TYPE_CHECKING:
    from volseg.images.labels import Labels

SUFFIX = ".edits"


@dataclass(frozen=True)
class LocalCopy:
    """Edits of a label image that an earlier editor could not store.

    Parameters
    ----------
    path
        The file.
    annotator, time
        Who kept it, and when (UTC).
    operations, voxels
        How much it holds.
    """

    path: Path
    annotator: str
    time: datetime
    operations: int
    voxels: int

    def __str__(self) -> str:
        edits = "1 edit" if self.operations == 1 else f"{self.operations} edits"
        when = self.time.astimezone().strftime("%Y-%m-%d %H:%M")
        return f"{edits} ({self.voxels} voxels) of {self.annotator}, {when}"


def default_folder() -> Path:
    """Return where local copies go unless told otherwise: the user's state folder of volseg."""
    from platformdirs import user_state_path

    return user_state_path("volseg") / "unsaved-edits"


def write_copy(folder: Path, label_name: str, record: Record) -> Path:
    """Write a record into a file of its own, durably, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", label_name)
    path = folder / f"{safe}-{record.uuid}{SUFFIX}"
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


def local_copies(labels: Labels, folder: Path | None = None) -> list[LocalCopy]:
    """Return the local copies of a label image's edits, oldest first; files that can't be read are left out.

    A copy belongs to the label image that it names, and to one that was moved since: it has a sign of the session.

    Parameters
    ----------
    labels
        The label image.
    folder
        Where copies lie; None: the usual place.
    """
    journal = Journal(labels.store)
    found = []
    for path in sorted((folder or default_folder()).glob(f"*{SUFFIX}")):
        try:
            record = read_copy(path, journal)
            if _belongs(record, labels, journal):
                found.append(_copy_of(path, record))
        except (VolsegError, OSError):
            continue
    return sorted(found, key=lambda copy: copy.time)


def _belongs(record: Record, labels: Labels, journal: Journal) -> bool:
    if record.where == labels.location.url:
        return True
    return journal.store.exists(f"sessions/{record.session}.json")


def _copy_of(path: Path, record: Record) -> LocalCopy:
    voxels = sum(operation.voxels for operation in record.operations)
    when = datetime.fromtimestamp(record.time, UTC)
    return LocalCopy(path, record.annotator, when, len(record.operations), voxels)
