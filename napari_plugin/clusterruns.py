"""Runs that go on elsewhere, followed on threads of their own: what they find is shown and brought into the labels."""

from __future__ import annotations

import hashlib
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from napari_plugin.cluster import Cluster, check_reachable
from napari_plugin.trackstore import Task, save_task
from napari_plugin.watching import CLUSTER_POLL_S, HERE_POLL_S, follow_cluster, follow_here
from volseg.errors import InterruptedRunError

if TYPE_CHECKING:
    from napari_plugin.gathering import Gathered
    from napari_plugin.interactive import Choice
    from napari_plugin.running import Running

_log = logging.getLogger(__name__)


class ClusterRuns:
    """Starts and follows runs elsewhere.

    Parameters
    ----------
    cluster
        The Prefect server; None: as Prefect's own settings say.
    poll_s
        Seconds between looks; None: as suits the place.
    """

    def __init__(self, cluster: Cluster | None = None, poll_s: float | None = None) -> None:
        self.cluster = cluster or Cluster()
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, running: Running, deployment: str, found: Gathered, choice: Choice) -> None:
        """Start new objects as a flow run and follow it; waits for the server, so not for the GUI thread.

        The flow makes a label image of its own, named after the prompts; its tracks come into the one that is edited.

        Raises
        ------
        InputError
            The volume is on this machine.
        ClusterError, NotThereError
            The server or the deployment is not there.
        """
        from napari_plugin.promptstore import as_set, save_selection

        labels = running.editing.labels
        request = running.request(found, choice)
        for place in (request["url"], request["labels_at"] or request["url"]):
            check_reachable(place)
        prompts = as_set(labels, found.new)
        digest = hashlib.sha256(prompts.to_json().encode()).hexdigest()[:8]
        name = f"{labels.name}-{digest}"
        choices = {k: v for k, v in request["choices"].items() if v is not None}
        parameters = choices | {
            "url": request["url"],
            "prompts": save_selection(labels, prompts, digest),
            "labels": name,
            "resume": True,
        }
        if request["labels_at"]:
            parameters["labels_at"] = request["labels_at"]
        flow_run = self.cluster.start(deployment, parameters)
        task = Task(
            flow_run,
            "cluster",
            found.ids,
            {"labels": name},
            flow_run=flow_run,
            annotator=running.editing.annotator,
            time=choice.time,
        )
        save_task(labels, task)
        running.opened(task)
        self.follow(running, task)

    def follow(self, running: Running, task: Task) -> None:
        """Follow a run on a thread of its own, until its tracks are in the labels."""
        thread = threading.Thread(
            target=self._follow, args=(running, task), daemon=True, name=f"volseg-run-{task.name}"
        )
        self._threads.append(thread)
        thread.start()

    def cancel(self, task: Task) -> None:
        """Ask for a run on the cluster to stop."""

        def ask() -> None:
            try:
                self.cluster.cancel(task.flow_run)
            except Exception as error:
                _log.warning("cancelling flow run %s: %s", task.flow_run, error)

        threading.Thread(target=ask, daemon=True, name="volseg-cancel").start()

    def close(self) -> None:
        """Stop following; the runs go on."""
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def _follow(self, running: Running, task: Task) -> None:
        volume = running.editing.labels.volume()
        told = (self._stop, running.found_piece, partial(running.progressed, run=task.name))
        try:
            if task.where == "cluster":
                poll_s = self._poll_s or CLUSTER_POLL_S
                poll_s = self._poll_s or CLUSTER_POLL_S
                tracks = follow_cluster(volume, task, self.cluster, *told, poll_s)
            else:
                here = follow_here(volume, task, *told, self._poll_s or HERE_POLL_S)
                if here is None:
                    running.go_on(task)
                    return
                tracks = here
            running.take(task, tracks)
        except InterruptedRunError as error:
            if not self._stop.is_set():
                running.ended(task, error)
        except Exception as error:
            running.ended(task, error)
