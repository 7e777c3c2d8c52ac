"""Propagating the prompted objects of one label image: here in a worker process, or on a cluster.

A model without Qt. New objects are followed through the whole volume, corrected ones only as far as the correction
reaches. Signals come from any thread; nothing here waits.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_plugin.gathering import Gathered, gather
from napari_plugin.interactive import Choice
from napari_plugin.local import Event, LocalWorker, error_of
from napari_plugin.promptbook import PromptBook
from napari_plugin.run_progress import RunProgress
from napari_plugin.sparse import SparseMasks
from napari_plugin.taking import Applied, apply_tracks, standing_tracks, store_free
from napari_plugin.trackstore import Task, drop_task, load_tasks, load_tracks, save_task, save_track
from napari_plugin.worker import unpacked
from volseg.editing.removal import last_of
from volseg.errors import InputError, InterruptedRunError
from volseg.propagation.track import SliceKind, Track

if TYPE_CHECKING:
    from napari_plugin.clusterruns import ClusterRuns
    from napari_plugin.editing import LabelEditing
    from volseg.editing import Editor


SHARES = 1000


@dataclass(frozen=True)
class RunState:
    """How far the runs are, for people."""

    running: int = 0
    stage: str = ""
    done: int = 0
    total: int = SHARES
    text: str = "nothing runs"


@dataclass(frozen=True)
class Doubt:
    """A slice that the model is not sure of: which one of how many, the least sure first."""

    object_id: int
    z: int
    confidence: float
    rank: int = 1
    count: int = 1

    def __str__(self) -> str:
        return (
            f"object {self.object_id}, slice {self.z}: confidence {self.confidence:.2f} "
            f"({self.rank} of {self.count}, least sure first)"
        )


class Running:
    """Runs of one label image.

    Parameters
    ----------
    editing
        The label image open for editing.
    book
        Its accepted prompts.
    choice
        Gives what the model looks at, when a run starts.
    worker
        Makes the local worker process.

    Attributes
    ----------
    changed
        Signal(RunState).
    piece
        Signal(object id, track): slices that were found just now; `preview` shows them.
    finished
        Signal(ids, slices): tracks are in the labels; how many slices were computed.
    failed
        Signal(exception, what was being done).
    """

    changed = Signal(RunState)
    piece = Signal(int, object)
    finished = Signal(tuple, int)
    failed = Signal(object, str)

    def __init__(
        self,
        editing: LabelEditing,
        book: PromptBook,
        choice: Callable[[], Choice],
        worker: Callable[[Callable[[Event], None]], LocalWorker] = LocalWorker,
    ) -> None:
        self.editing, self.book, self._choice = editing, book, choice
        self.preview = SparseMasks(editing.labels.shape)
        self._tracks: dict[int, dict[int, Track]] = {}  # by time and object
        self.state = RunState()
        self._worker = worker(self._on_event)
        self._lock = threading.RLock()
        self._progress = RunProgress()
        self._open: dict[str, Task] = {}
        self._slices: dict[str, Mapping[str, list[int]]] = {}
        self._seen: set[tuple[int, int]] = set()
        self._cluster: ClusterRuns | None = None
        self.ready: Future[dict[int, Track]] = editing.submit(
            lambda editor: self._tracks_at(editor, choice().time), "read what was propagated"
        )

    @property
    def tracks(self) -> dict[int, Track]:
        """What stands in the labels of every propagated object, at the time in view as far as it was read."""
        time = self._choice().time
        return standing_tracks(self._tracks.get(time, {}), self.book.removed(time))

    # --- what a person asks

    def propagate(self, ids: Iterable[int] | None = None) -> Future[Gathered]:
        """Follow objects here: new ones whole, those that were corrected since only where it matters.

        Parameters
        ----------
        ids
            Objects; all with prompts by default.

        Returns
        -------
        Future
            What was found to be done.
        """
        return self._begin(ids, self._send)

    def propagate_on(
        self, cluster: ClusterRuns, deployment: str, ids: Iterable[int] | None = None
    ) -> Future[Gathered]:
        """Follow new objects on a cluster; corrections are followed here: they are small."""

        def send(found: Gathered, choice: Choice) -> None:
            if found.new:
                cluster.start(self, deployment, found, choice)
            self._send(replace(found, new=()), choice)

        self._cluster = cluster
        return self._begin(ids, send)

    def cancel(self) -> None:
        """Stop all runs of this label image; what was found is kept for the next time."""
        with self._lock:
            names = list(self._open.values())
        for task in names:
            if task.where == "here":
                self._worker.send({"do": "cancel", "name": task.name})
            elif self._cluster is not None:
                self._cluster.cancel(task)

    def least_confident(self, object_id: int | None = None) -> Doubt | None:
        """The least sure slice that was not shown yet, of one object or of all; None where nothing was propagated."""
        with self._lock:
            found = [
                Doubt(i, z, track.confidence(z))
                for i, track in self.tracks.items()
                if object_id in (None, i)
                for z in track.slices
                if track.kind(z) != SliceKind.SEED
            ]
            fresh = [one for one in found if (one.object_id, one.z) not in self._seen]
            if found and not fresh:
                self._seen -= {(one.object_id, one.z) for one in found}
                fresh = found
            if not fresh:
                return None
            least = min(fresh, key=lambda one: (one.confidence, one.object_id, one.z))
            self._seen.add((least.object_id, least.z))
            return replace(least, rank=len(found) - len(fresh) + 1, count=len(found))

    def close(self, *, kill: bool = False) -> None:
        """Let go: a run goes on without napari, and is taken up when the volume is opened again."""
        if self._cluster is not None:
            self._cluster.close()
        self._worker.close(kill=kill)

    # --- beginning

    def _begin(
        self, ids: Iterable[int] | None, send: Callable[[Gathered, Choice], None]
    ) -> Future[Gathered]:
        wanted = None if ids is None else sorted(ids)
        choice = self._choice()

        def work(editor: Editor) -> Gathered:
            store_free(editor)  # so that the table knows who is left
            tracks = self._standing(editor, choice.time)
            chosen = self.book.objects if wanted is None else wanted
            found = gather(editor, self.book, chosen, tracks, choice.time)
            if found.empty:
                raise InputError(
                    "nothing to propagate: no object has new prompts or was corrected since"
                    if chosen
                    else "nothing to propagate: mark an object and accept its mask first"
                )
            send(found, choice)
            return found

        self._tell(text="looking for what is to be done")
        future = self.editing.submit(work, "look for what is to be propagated")
        future.add_done_callback(self._began)
        return future

    def _began(self, done: Future[Gathered]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._tell(text="nothing runs" if not self._open else self.state.text)
            self.failed.emit(error, "propagating")

    def _send(self, found: Gathered, choice: Choice) -> None:
        group = uuid.uuid4().hex  # one step of undo
        if found.new:
            request = self.request(found, choice) | {"do": "trace", "group": group}
            self._start(found.ids, request, choice.time)
        if found.corrected:
            request = self.request(found, choice) | {"do": "repropagate", "group": group}
            request["objects"] = found.packed_corrections()
            self._start(tuple(found.corrected), request, choice.time)

    def request(self, found: Gathered, choice: Choice) -> dict[str, Any]:
        """What a worker must know: places, prompts and choices, as JSON values."""
        labels = self.editing.labels
        volume = labels.volume()
        output = volume.output_store.location
        prompts = self.book.as_document(found.new or found.context)
        return {
            "url": volume.location.url,
            "labels_at": None if output == volume.location else output.url,
            "prompts": prompts,
            "choices": {
                "labels": labels.name,
                **choice.to_json(),
            },
        }

    def _start(self, ids: tuple[int, ...], request: dict[str, Any], time: int) -> None:
        task = Task(uuid.uuid4().hex, "here", ids, request, time=time)
        self.opened(task)
        self._worker.send({"name": task.name, **request})

    def opened(self, task: Task) -> None:
        """Note a run that was started."""
        with self._lock:
            self._open[task.name] = task
            self._progress.begin(task.name)
        self._tell(stage="", text="starting")

    # --- events of the worker process

    def _on_event(self, event: Event) -> None:
        task = self._open.get(event["name"])
        if task is None:
            return
        kind = event["event"]
        if kind == "progress":
            self.progressed(event["stage"], event["done"], event["total"], event["name"])
        elif kind == "planned":
            self._planned(task, event["plan"])
        elif kind == "piece":
            self.found_piece(event["object"], unpacked(event["track"]))
        elif kind == "done":
            self._slices[task.name] = event.get("slices", {})
            tracks = {int(i): unpacked(text) for i, text in event["tracks"].items()}
            self.take(task, tracks)
        elif kind == "cancelled":
            self.ended(task, InterruptedRunError("stopped; propagate again to go on"))
        else:
            self.ended(task, error_of(event))

    def progressed(self, stage: str, done: int, total: int, run: str) -> None:
        """Tell how far a run is.

        Parameters
        ----------
        stage
            What is being done.
        done, total
            Of the whole run; a total that is not known is 0.
        run
            Its name.
        """
        words = {"plan": "preparing", "correct": "following the correction"}
        with self._lock:
            if total:
                self._progress.at(run, done / total)
            text = f"{words.get(stage, stage)}: {self._progress}"
        self._tell(stage=stage, text=words[stage] if stage == "plan" else text)

    def found_piece(self, object_id: int, track: Track) -> None:
        """Show slices that were found."""
        with self._lock:
            times = [task.time for task in self._open.values() if object_id in task.objects]
        self.preview.put_track(object_id, track, times[0] if times else 0)
        self.piece.emit(object_id, track)

    def _planned(self, task: Task, plan: str) -> None:
        """Note the run beside the labels, so that it is taken up should napari close."""
        import socket

        known = replace(
            task.with_plan(plan),
            host=socket.gethostname(),
            pid=self._worker.pid,
            annotator=self.editing.annotator,
        )
        with self._lock:
            self._open[task.name] = known
        self.editing.submit(lambda editor: save_task(editor.labels, known), "note the run")

    # --- the end of a run

    def take(self, task: Task, tracks: Mapping[int, Track]) -> Future[None]:
        """Bring tracks into the labels, store them, and forget the run."""
        slices = self._slices.pop(task.name, {})
        known = self._open.get(task.name, task)

        def work(editor: Editor) -> None:
            before = self._standing(editor, task.time)
            wanted = {
                i: Applied(track, before.get(i, Track(track.shape)), _only(slices, i))
                for i, track in tracks.items()
                if i not in self.book.removed(task.time)  # deleted or merged while it ran
            }
            group = str(task.request.get("group", ""))
            stands = apply_tracks(editor, wanted, time=task.time, run=known.plan, group=group)
            self._keep(editor, stands, task.time)
            store_free(editor)
            self._note_confidence(editor, stands, task.time)
            drop_task(editor.labels, known.name)

        def after(done: Future[None]) -> None:
            error = None if done.cancelled() else done.exception()
            for i in tracks:
                self.preview.remove(i)
            self.ended(task, error)
            if error is None:
                count = sum(len(slices.get(str(i), t.slices)) for i, t in tracks.items())
                self.finished.emit(tuple(sorted(tracks)), count)

        self._tell(text="bringing it into the labels")
        future = self.editing.submit(work, f"propagation of {len(tracks)} objects")
        future.add_done_callback(after)
        return future

    def _standing(self, editor: Editor, time: int) -> dict[int, Track]:
        """Return the tracks as people's decisions left them, after a look at what they decided."""
        tracks = self._tracks_at(editor, time)
        self.book.look_for_removed(editor, tracks, time)
        return standing_tracks(tracks, self.book.removed(time))

    def _keep(self, editor: Editor, stands: Mapping[int, Track], time: int) -> None:
        """Store tracks; those of objects that were merged into them are in them now."""
        tracks, removed = self._tracks_at(editor, time), self.book.removed(time)
        for i, track in stands.items():
            for merged in [one for one in removed if one in tracks and last_of(removed, one) == i]:
                save_track(editor.labels, merged, Track(track.shape), time)
                del tracks[merged]
            save_track(editor.labels, i, track, time)
            with self._lock:
                tracks[i] = track
                self._seen = {place for place in self._seen if place[0] != i}

    def _note_confidence(self, editor: Editor, tracks: Mapping[int, Track], time: int) -> None:
        known = {row.id for row in editor.labels.objects.rows(time)}
        for i, track in tracks.items():
            if len(track) and i in known:
                mean = round(track.mean_confidence, 6)
                editor.labels.objects.set(i, time, confidence=mean)

    def ended(self, task: Task, error: BaseException | None) -> None:
        """Forget a run that has ended, and tell what went wrong."""
        with self._lock:
            self._open.pop(task.name, None)
            self._progress.end(task.name)
            left = len(self._open)
            if error is not None and not left:
                self._progress = RunProgress()
        if error is not None:
            for i in task.objects:
                self.preview.remove(i)
        stopped = isinstance(error, InterruptedRunError)
        text = "stopped" if stopped else "failed" if error is not None else "done"
        self._tell(stage="", text=text if not left else self.state.text)
        if error is not None and not stopped:
            self.failed.emit(error, "propagating")

    def _tell(self, **values: Any) -> None:
        with self._lock:
            done = round(SHARES * self._progress.share)
            self.state = replace(self.state, running=len(self._open), done=done, **values)
        self.changed.emit(self.state)

    # --- runs of former sessions

    def _tracks_at(self, editor: Editor, time: int) -> dict[int, Track]:
        if time not in self._tracks:
            self._tracks[time] = load_tracks(editor.labels, time)
        return self._tracks[time]

    def take_up(self, cluster: ClusterRuns | None = None) -> Future[list[Task]]:
        """Go on with the runs that former sessions started: finished ones come into the labels at once."""
        from napari_plugin.clusterruns import ClusterRuns

        runs = self._cluster = cluster or self._cluster or ClusterRuns()

        def work(editor: Editor) -> list[Task]:
            tasks = [one for one in load_tasks(editor.labels) if one.name not in self._open]
            for task in tasks:
                self.opened(task)
                runs.follow(self, task)
            return tasks

        return self.editing.submit(work, "look for runs under way")

    def go_on(self, task: Task) -> None:
        """Go on here with a run whose worker process is gone; what it did is not done again."""
        self._worker.send({"name": task.name, **task.request})


def _only(slices: Mapping[str, list[int]], object_id: int) -> frozenset[int] | None:
    """Return the slices of an object that a run computed anew, None where it is all of them."""
    found = slices.get(str(object_id))
    return None if found is None else frozenset(found)
