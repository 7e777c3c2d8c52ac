"""Following runs that go on elsewhere: on a cluster, or in the worker process of another napari. All of it waits."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_plugin.tracing import pieces_of
from volseg.errors import BlocksFailedError, InterruptedRunError, NotThereError, VolsegError
from volseg.processes import runs

if TYPE_CHECKING:
    from napari_plugin.cluster import Cluster
    from napari_plugin.trackstore import Task
    from volseg.images.image import Volume
    from volseg.propagation.track import Track

OnPiece = Callable[[int, "Track"], None]
OnProgress = Callable[[str, int, int], None]
CLUSTER_POLL_S, HERE_POLL_S = 2.0, 0.5


class Pieces:
    """What a run has found so far, from its ledger, each piece once.

    Parameters
    ----------
    volume
        The image.
    plan
        Hash of the run's plan.
    """

    def __init__(self, volume: Volume, plan: str) -> None:
        from volseg.engine.ledger import Ledger

        self.ledger = Ledger(volume.output_store, plan)
        self._seen: set[str] = set()

    def look(self, on_piece: OnPiece, on_progress: OnProgress) -> None:
        """Hand over what came since the last look."""
        for stage in ("seed", "propagate"):
            done = self.ledger.done(stage)
            for key in sorted(done - self._seen):
                self._seen.add(key)
                for object_id, track in pieces_of(self.ledger, key.partition("@")[0]).items():
                    on_piece(object_id, track)
            if done:
                on_progress(stage, len(done), 0)

    @property
    def is_done(self) -> bool:
        """Whether the run has ended well."""
        report = self.ledger.read_json("report.json")
        return report is not None and report.get("status") == "done"


def finished_tracks(volume: Volume, plan: str) -> dict[int, Track] | None:
    """The tracks of a run, None while it is not done."""
    from volseg.pipelines.segmentation.plan import Plan
    from volseg.pipelines.segmentation.tracks import read_tracks

    pieces = Pieces(volume, plan)
    if not pieces.is_done:
        return None
    return read_tracks(volume, Plan.from_json(pieces.ledger.read_plan()))


def follow_here(
    volume: Volume,
    task: Task,
    stop: threading.Event,
    on_piece: OnPiece,
    on_progress: OnProgress,
    poll_s: float = HERE_POLL_S,
) -> dict[int, Track] | None:
    """Follow a run of a worker process that was started by another napari.

    Returns
    -------
    dict or None
        Its tracks; None where that process is gone before it was done (or the run is another machine's), so that
        somebody has to go on with it.
    """
    pieces = Pieces(volume, task.plan)
    while True:
        alive = is_alive(task)  # asked first: it may end between the two questions
        found = finished_tracks(volume, task.plan)
        if found is not None:
            return found
        if not alive:
            return None
        pieces.look(on_piece, on_progress)
        if stop.wait(poll_s):
            raise InterruptedRunError("napari closes; the run goes on")


def is_alive(task: Task) -> bool:
    """Whether the worker process of a run here is at work (of other machines nobody knows)."""
    return task.host == socket.gethostname() and bool(task.pid) and runs(task.pid)


def follow_cluster(
    volume: Volume,
    task: Task,
    cluster: Cluster,
    stop: threading.Event,
    on_piece: OnPiece,
    on_progress: OnProgress,
    poll_s: float = CLUSTER_POLL_S,
) -> dict[int, Track]:
    """Follow a flow run until it has ended.

    Returns
    -------
    dict
        Object id → track.

    Raises
    ------
    InterruptedRunError
        It was cancelled, or `stop` is set.
    BlocksFailedError
        It failed; the message is Prefect's.
    """
    from volseg.pipelines.segmentation import stored_plan
    from volseg.pipelines.segmentation.tracks import read_tracks

    name = str(task.request["labels"])
    pieces: Pieces | None = None
    while True:
        state = cluster.state(task.flow_run)
        if pieces is None:
            plan = _plan_or_none(volume, name)
            pieces = None if plan is None else Pieces(volume, plan.hash)
        if pieces is None:
            on_progress(state.kind.lower(), 0, 0)
        else:
            pieces.look(on_piece, on_progress)
        if state.kind == "COMPLETED":
            return read_tracks(volume, stored_plan(volume, name))
        if state.kind == "CANCELLED":
            raise InterruptedRunError("the run on the cluster was cancelled; what it did is kept")
        if state.ended:
            raise BlocksFailedError(
                f"flow run {task.flow_run} at {cluster.place} ended as {state.kind}: {state.message}"
            )
        if stop.wait(poll_s):
            raise InterruptedRunError("napari closes; the run goes on")


def _plan_or_none(volume: Volume, name: str) -> Any | None:
    from volseg.pipelines.segmentation import stored_plan

    try:
        return stored_plan(volume, name)
    except (NotThereError, VolsegError):
        return None
