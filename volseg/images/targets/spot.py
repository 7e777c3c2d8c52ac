"""A thing's place together with the trash beside it, and the entries of a trash."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from volseg.images.targets.contents import Contents
from volseg.images.targets.edits import LabelWork
from volseg.images.targets.places import TRASH
from volseg.storage import Location, Store

LABELS_TRASH = "volseg/trash"
"""Where a volume keeps its replaced label images: among the records that other readers pass over."""
ENTRY = "entry.json"


@dataclass(frozen=True)
class Spot:
    """Where a thing lies, and where its trash is.

    Parameters
    ----------
    root
        Folder or prefix that both lie below.
    name
        Of the thing below it, as "brain.zarr" or "labels/cells"; "" where it fills an empty folder.
    trash
        Where it goes when it is replaced, and where the new one is made.
    is_file
        It is one file, with its manifest beside it.
    beside
        Name of a folder that belongs to the file and lies beside it.
    """

    root: Location
    name: str
    trash: Location
    is_file: bool = False
    beside: str | None = None

    @property
    def target(self) -> Location:
        """Where the thing lies."""
        return below(self.root, self.name) if self.name else self.root


def spot_of(target: Location, there: Contents, *, is_file: bool = False) -> Spot:
    """Return the spot of a volume, a file or a folder: its trash lies beside it; of an empty folder, in it."""
    path = target.local_path
    if path is not None and there.kind == "nothing" and path.is_dir():
        return Spot(target, "", below(target, TRASH))
    if path is not None:
        root = Location("file://" + quote(os.fsencode(path.parent)))
        return Spot(root, path.name, below(root, TRASH), is_file)
    parent, _, name = target.url.rpartition("/")
    return Spot(Location(parent), name, below(Location(parent), TRASH), is_file)


def spot_of_labels(root: Store, name: str) -> Spot:
    """Return the spot of a label image in an image, or in the place for its labels."""
    return Spot(root.location, f"labels/{name}", below(root.location, LABELS_TRASH))


def below(location: Location, name: str) -> Location:
    """Return the location of a name (or a relative key) that is there already, whatever characters it has."""
    tail = name if location.scheme == "s3" else quote(os.fsencode(name))
    return Location(f"{location.url.rstrip('/')}/{tail}")


# --- who makes it ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Maker:
    """The process that makes a new thing; told from a later one of the same number by its start."""

    host: str
    process: int
    started: float

    def is_gone(self) -> bool | None:
        """Tell whether the process has ended; None where that can't be known, on another host."""
        import psutil

        if self.host != socket.gethostname():
            return None
        try:
            there = psutil.Process(self.process)
            return (
                abs(there.create_time() - self.started) > 1
                or there.status() == psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return True


def this_process() -> Maker:
    """Return this process as a maker."""
    return _maker(os.getpid())


@lru_cache(maxsize=1)
def _maker(process: int) -> Maker:
    import psutil

    return Maker(socket.gethostname(), process, psutil.Process(process).create_time())


# --- entries ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One replacement: what it made, and what it keeps of the thing that it replaced.

    Parameters
    ----------
    id
        Name of its folder in the trash.
    name
        Of the thing, as in `Spot`.
    kind
        What kind of thing was replaced, as in `Contents`.
    begun
        Seconds since 1970.
    maker
        Whose replacement it is.
    objects, size
        Of the old thing: number of objects, bytes.
    labels
        Label images and people's edits in it.
    state
        "making"; "moving" once the old thing is kept and the new one whole; "replaced".
    """

    id: str
    name: str
    kind: str
    begun: float
    maker: Maker
    objects: int = 0
    size: int = 0
    labels: tuple[LabelWork, ...] = field(default=())
    state: str = "making"

    @classmethod
    def new(cls, spot: Spot, old: Contents) -> Entry:
        """Return the entry of a replacement that begins."""
        now = time.time()
        stamp = f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        facts = (old.kind, now, this_process(), old.objects, old.size, old.labels)
        return cls(stamp, spot.name, *facts)

    def in_state(self, state: str) -> Entry:
        """Return the entry in another state."""
        return replace(self, state=state)

    def to_json(self) -> bytes:
        """Return the entry as it is stored."""
        return json.dumps({"format": "volseg-trash", "version": 1, **asdict(self)}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Entry | None:
        """Return a stored entry; None for what is none."""
        try:
            said: dict[str, Any] = json.loads(data)
            if said.pop("format") != "volseg-trash" or said.pop("version") != 1:
                return None
            said["maker"] = Maker(**said["maker"])
            said["labels"] = tuple(
                LabelWork(**{**one, "annotators": tuple(one["annotators"])})
                for one in said["labels"]
            )
            return cls(**said)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def entries_in(trash: Location) -> list[Entry]:
    """Return the entries of a trash, oldest first."""
    store = Store(trash)
    found = []
    for name in sorted(store.list_names()):
        data = store.get_or_none(f"{name}/{ENTRY}")
        entry = None if data is None else Entry.from_json(data)
        if entry is not None and entry.id == name:
            found.append(entry)
    return found
