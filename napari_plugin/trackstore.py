"""What propagation found of each object, beside the labels; and the runs that are under way, so that they are taken up.

A stored track is what stands in the labels: where people change them, the two differ, and that is how corrections
are found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from volseg.errors import InputError
from volseg.propagation.track import Track

if TYPE_CHECKING:
    from volseg.images.labels import Labels

TRACKS, TASKS = "volseg/tracks", "volseg/tasks"


def save_track(labels: Labels, object_id: int, track: Track, time: int = 0) -> None:
    """Store an object's track, or with an empty one remove it."""
    if len(track):
        labels.store.put(_track_key(object_id, time), track.to_bytes())
    else:
        labels.store.delete(_track_key(object_id, time))


def load_track(labels: Labels, object_id: int, time: int = 0) -> Track | None:
    """The stored track of an object; None where it was never propagated."""
    data = labels.store.get_or_none(_track_key(object_id, time))
    return None if data is None else Track.from_bytes(data)


def load_tracks(labels: Labels, time: int = 0) -> dict[int, Track]:
    """All stored tracks of a time point; none where a store can't list."""
    prefix = f"{TRACKS}/t{time:05d}"
    try:
        names = labels.store.list_names(prefix)
    except InputError:
        return {}
    found = {int(name): load_track(labels, int(name), time) for name in names if name.isdigit()}
    return {object_id: track for object_id, track in found.items() if track is not None}


def _track_key(object_id: int, time: int) -> str:
    return f"{TRACKS}/t{time:05d}/{object_id:010d}"


@dataclass(frozen=True)
class Task:
    """A run under way, as it is stored until its tracks are in the labels.

    Parameters
    ----------
    name
        Unique; for a run here the plan's hash.
    where
        ``here`` or ``cluster``.
    objects
        Ids.
    request
        What a worker needs to go on with it.
    plan
        Hash, once known.
    host, pid
        Of the worker, for runs here.
    flow_run
        Id of the flow run, for runs on the cluster.
    annotator
        Who started it.
    time
        Time point.
    """

    name: str
    where: Literal["here", "cluster"]
    objects: tuple[int, ...]
    request: Mapping[str, Any]
    plan: str = ""
    host: str = ""
    pid: int = 0
    flow_run: str = ""
    annotator: str = ""
    time: int = 0

    def with_plan(self, plan: str) -> Task:
        """The task once its plan is known."""
        return replace(self, plan=plan)


def save_task(labels: Labels, task: Task) -> None:
    """Note a run that was started."""
    labels.store.put(f"{TASKS}/{task.name}.json", json.dumps(asdict(task)).encode())


def drop_task(labels: Labels, name: str) -> None:
    """Forget a run: its tracks are in the labels, or nobody wants them."""
    labels.store.delete(f"{TASKS}/{name}.json")


def load_tasks(labels: Labels) -> list[Task]:
    """The runs whose tracks are not in the labels yet, also of former sessions."""
    try:
        names = labels.store.list_names(TASKS)
    except InputError:
        return []
    found = []
    for name in names:
        data = labels.store.get_or_none(f"{TASKS}/{name}")
        if data is not None:
            content = json.loads(data)
            content["objects"] = tuple(content["objects"])
            found.append(Task(**content))
    return found
