"""Who is editing a label image right now: one small object per open editor, with a heartbeat.

Used only to decide who writes the checkpoint and what people are told; no edit depends on it.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass, field

from volseg.errors import LeaseHeldError
from volseg.processes import runs
from volseg.storage.objects import Store

STALE_SECONDS = 900.0
HEARTBEAT_SECONDS = 300.0


@dataclass(frozen=True)
class Session:
    """An open editor.

    Parameters
    ----------
    annotator
        Who edits.
    uuid, host, process
        Which editor.
    started, heartbeat
        Seconds since 1970.
    """

    annotator: str
    uuid: str = field(default_factory=lambda: uuid.uuid4().hex)
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    started: float = field(default_factory=time.time)
    heartbeat: float = field(default_factory=time.time)

    def lives(self, now: float) -> bool:
        """Tell whether the editor is (or may be) still open: on this host its process, elsewhere its heartbeat."""
        if self.host == socket.gethostname() and not runs(self.process):
            return False
        return now - self.heartbeat < STALE_SECONDS


class Sessions:
    """The sessions of one label image, in its journal's store."""

    def __init__(self, journal_store: Store) -> None:
        self._store = journal_store

    def write(self, session: Session) -> None:
        """Make a session known, or refresh its heartbeat."""
        self._store.put(f"sessions/{session.uuid}.json", json.dumps(asdict(session)).encode())

    def remove(self, session: Session) -> None:
        """Take a session away."""
        self._store.delete(f"sessions/{session.uuid}.json")

    def others(self, session: Session) -> tuple[list[Session], list[Session]]:
        """Return the other sessions that live, and those that ended without closing."""
        living: list[Session] = []
        crashed: list[Session] = []
        for stat in self._store.list("sessions"):
            data = self._store.get_or_none(stat.key)
            if data is None:
                continue
            other = Session(**json.loads(data))
            if other.uuid != session.uuid:
                (living if other.lives(time.time()) else crashed).append(other)
        return living, crashed


def refuse_open_editors(labels: Store) -> None:
    """Refuse to replace a label image that people have open: what they go on to draw would be lost.

    Parameters
    ----------
    labels
        Store of the label image's group.

    Raises
    ------
    LeaseHeldError
        With their names.
    """
    from volseg.editing.journal import FOLDER

    living, _ = Sessions(labels.sub(FOLDER)).others(Session("volseg"))
    if living:
        who = ", ".join(f"{one.annotator} on {one.host}" for one in living)
        raise LeaseHeldError(
            f"{labels.location} is being edited by {who}; it can be replaced when they have closed it"
        )
