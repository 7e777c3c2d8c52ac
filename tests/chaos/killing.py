"""SIGKILL at a named step of a block's life: armed from outside around the store's writes, one kill per file of memory.

The steps of a block are its writes: start note, data, label objects, marker. Nothing in the product knows of this.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

from volseg.storage import Store

WRITES = ("put", "put_new", "put_if")
STEPS = {
    "start note of a seed": r"/started/.*/seed/",
    "seeds": r"/data/seeds/",
    "start note of a window": r"/started/.*/propagate/",
    "piece of a track": r"/data/pieces/",
    "marker of a window": r"/done/propagate/",
    "track": r"/data/tracks/",
    "marker of a settled group": r"/done/settle/",
    "label object": r"/labels/cells/0/",
    "marker of labels": r"/done/compose/",
    "table": r"/labels/cells/volseg/objects",
    "marker of the table": r"/done/objects/",
}

AMONG_EDITORS = {
    "record of the run": r"/labels/cells/volseg/journal/records/",
    "marker of the record": r"/done/record/",
    "label object": r"/labels/cells/0/",
    "coarser object": r"/labels/cells/1/",
    "marker of labels": r"/done/compose/",
    "table": r"/labels/cells/volseg/objects",
}
"""Steps of a run into labels that exist."""


@dataclass(frozen=True)
class Kill:
    """Who dies where: before or after the n-th write to a URL that `pattern` fits, once per `memory` file.

    `target` is a process id; None: the process that writes.
    """

    pattern: str
    when: str
    memory: str
    nth: int = 1
    target: int | None = None

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)

    @property
    def happened(self) -> bool:
        """Whether it was carried out."""
        return Path(self.memory).exists()

    def carry_out(self) -> None:
        """Kill, unless that was done already."""
        try:
            os.close(os.open(self.memory, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(self.target or os.getpid(), signal.SIGKILL)


def arm(kill: Kill) -> Callable[[], None]:
    """Wrap this process's store writes; returns what takes it off again."""
    seen = [0]
    plain = {name: getattr(Store, name) for name in WRITES}
    for name, write in plain.items():
        setattr(Store, name, _wrapped(write, kill, seen))

    def disarm() -> None:
        for name, write in plain.items():
            setattr(Store, name, write)

    return disarm


def _wrapped(write: Callable[..., str], kill: Kill, seen: list[int]) -> Callable[..., str]:
    def armed(self: Store, key: str, *rest: Any, **named: Any) -> str:
        hit = re.search(kill.pattern, f"{self.location.url}/{key}") is not None
        seen[0] += hit
        now = hit and seen[0] >= kill.nth
        if now and kill.when == "before":
            kill.carry_out()
        etag = write(self, key, *rest, **named)
        if now and kill.when == "after":
            kill.carry_out()
        return etag

    return armed


class ArmedWorker(WorkerPlugin):
    """Arms every worker of a cluster, also restarted ones, until it is taken off."""

    def __init__(self, kill: Kill) -> None:
        self.kill = kill

    def setup(self, worker: Any) -> None:
        """Called on each worker."""
        self.disarm = arm(self.kill)

    def teardown(self, worker: Any) -> None:
        """Called on each worker."""
        self.disarm()
