"""Propagating without Qt: a real worker process, tracks as edits, corrections, doubts, runs that outlive napari."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_plugin.cluster import FlowState
from napari_plugin.clusterruns import ClusterRuns
from napari_plugin.interactive import Choice
from napari_plugin.local import LocalWorker
from napari_plugin.marks import Marks
from napari_plugin.promptbook import PromptBook
from napari_plugin.running import Running
from napari_plugin.session import Session
from napari_plugin.trackstore import Task, load_tasks, load_track
from tests.napari_plugin.places import discs, make_volume
from volseg.errors import BlocksFailedError, InputError, MemoryBudgetError
from volseg.images.image import open_volume
from volseg.prompts import parse_prompts
from volseg.propagation.window import MaskWindow

TRUTH = np.where(discs() == 200, 1, np.where(discs() == 170, 2, 0)).astype(np.uint32)
PROMPTS = {
    "format": "volseg-prompts",
    "version": 1,
    "layers": [{"name": "cells"}],
    "objects": [
        {"id": 1, "prompts": [{"z": 4, "points": [[20, 24, 1]]}]},
        {"id": 2, "prompts": [{"z": 3, "points": [[44, 55, 1]]}]},
    ],
}


def eventually(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


class Place:
    """A session over a volume whose true labels answer in the model's place."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = Session(open_volume(url), "annotator-1")
        self.editing = self.session.editing("cells")
        self.book = PromptBook(self.editing)
        self.book.ready.result(20)
        self.choice = Choice({"kind": "oracle", "url": url, "name": "truth"})
        self.running = Running(self.editing, self.book, lambda: self.choice)
        self.errors: list[BaseException] = []
        self.finished: list[tuple[Any, ...]] = []
        self.pieces: list[int] = []
        self.running.failed.connect(lambda error, doing: self.errors.append(error))
        self.running.finished.connect(lambda ids, count: self.finished.append((ids, count)))
        self.running.piece.connect(lambda i, track: self.pieces.extend(track.slices))

    def labels(self) -> np.ndarray:
        return np.asarray(self.editing.editor[...])

    def propagate(self) -> None:
        before = len(self.finished)
        self.running.propagate().result(60)
        eventually(lambda: len(self.finished) > before or self.errors)
        assert not self.errors, self.errors

    def close(self, *, kill: bool = True) -> None:
        self.running.close(kill=kill)
        self.session.close()


def make(url: str) -> str:
    """The volume, its true labels, and empty ones to be filled."""
    volume = make_volume(url)
    truth = volume.create_labels("truth")
    truth.write_objects(tuple((0, n) for n in TRUTH.shape), TRUTH)
    volume.create_labels("cells")
    return url


@pytest.fixture
def url(tmp_path: Path) -> str:
    return make(str(tmp_path / "v.zarr"))


@pytest.fixture
def place(url: str) -> Iterator[Place]:
    made = Place(url)
    yield made
    made.close()


def test_objects_are_followed_corrected_and_followed_again_only_where_it_matters(
    place: Place,
) -> None:
    place.book.add(parse_prompts(PROMPTS))
    place.propagate()
    assert place.finished == [((1, 2), 17)]
    assert sorted(set(place.pieces)) == list(range(10))  # slices were shown as they came
    assert place.running.preview.slices == []
    assert np.array_equal(place.labels(), TRUTH)
    rows = {row.id: row for row in place.editing.labels.objects.rows()}
    assert rows[1].confidence is not None and 0.5 < rows[1].confidence <= 1
    assert load_tasks(place.editing.labels) == []

    # nothing changed: nothing to do
    with pytest.raises(InputError, match="nothing to propagate"):
        place.running.propagate().result(60)
    place.errors.clear()

    # a person gives a slice of object 2 another shape: only the slices up to the old track are looked at
    square = np.zeros((64, 80), bool)
    square[34:54, 45:66] = True
    place.editing.apply_mask(
        5, square[34:54, 45:66], (34, 45), 2, protect=True, replace=True
    ).result(20)
    place.propagate()
    ids, count = place.finished[-1]
    assert ids == (2,) and count < 7
    labels = place.labels()
    assert np.array_equal(labels[5] == 2, square & (TRUTH[5] != 1))
    assert np.array_equal(labels[:3], TRUTH[:3]) and np.array_equal(labels == 1, TRUTH == 1)

    # one step of undo takes a propagation back, and then it is new again
    place.editing.undo().result(20)
    assert np.array_equal(place.labels(), TRUTH)
    place.editing.undo().result(20)
    assert not place.labels().any()
    place.propagate()
    assert place.finished[-1][0] == (1, 2)
    assert np.array_equal(place.labels(), TRUTH)


def test_what_people_painted_is_the_prompt_and_other_objects_are_left_alone(place: Place) -> None:
    other = np.ones((10, 10), bool)
    place.editing.apply_mask(2, other, (40, 50), 77).result(20)
    place.book.add(parse_prompts({**PROMPTS, "objects": PROMPTS["objects"][1:]}))  # type: ignore[index]
    place.propagate()
    labels = place.labels()
    assert (labels[2, 40:50, 50:60] == 77).all()
    assert np.array_equal(labels[1] == 2, TRUTH[1] == 2)


def nothing_to_do(place: Place) -> bool:
    """Whether there is nothing to propagate."""
    try:
        place.running.propagate().result(60)
    except InputError as error:
        place.errors.clear()
        return "nothing to propagate" in str(error)
    return False


def test_a_deleted_object_does_not_come_back_and_a_deletion_that_is_undone_is_none(
    place: Place,
) -> None:
    place.book.add(parse_prompts(PROMPTS))
    place.propagate()
    place.editing.delete([2]).result(20)
    assert place.book.objects == [1] and set(place.running.tracks) == {1}
    assert nothing_to_do(place)
    assert not (place.labels() == 2).any()
    place.editing.undo().result(20)
    assert place.book.objects == [1, 2] and np.array_equal(place.labels(), TRUTH)
    assert nothing_to_do(place)
    # somebody else deletes it, from a program
    place.editing.flush().result(20)
    with open_volume(place.url).labels["cells"].edit("somebody") as other:
        other.delete(2)
    place.editing.refresh().result(20)
    assert place.book.objects == [1]
    assert nothing_to_do(place)
    assert np.array_equal(place.labels(), np.where(TRUTH == 2, 0, TRUTH))
    # begun anew it is an object again, and its old prompts stay away
    square = np.ones((6, 6), bool)
    place.editing.apply_mask(1, square, (41, 52), 2).result(20)
    place.book.keep(2, (0, 1), Marks(mask=MaskWindow.crop(square, (41, 52)))).result(20)
    assert place.book.slices_of(2) == [1]


def test_an_object_that_is_deleted_while_it_is_followed_stays_away(place: Place) -> None:
    place.book.add(parse_prompts(PROMPTS))
    place.propagate()
    tracks = place.running.tracks
    place.editing.delete([2]).result(20)
    task = Task("late", "here", (1, 2), {})
    place.running.take(task, tracks).result(20)
    assert not (place.labels() == 2).any() and (place.labels() == 1).any()


def test_a_merged_object_loses_nothing_with_the_next_propagation(place: Place) -> None:
    place.book.add(parse_prompts(PROMPTS))
    place.propagate()
    place.editing.merge([1, 2]).result(20)
    whole = (TRUTH > 0).astype(np.uint32)
    assert np.array_equal(place.labels(), whole)
    assert place.book.objects == [1] and place.book.slices_of(1) == [3, 4]
    assert nothing_to_do(place)
    # a correction of the whole is followed, and no slice of either part is lost
    extra = np.ones((4, 4), bool)
    place.editing.apply_mask(5, extra, (2, 2), 1).result(20)
    place.propagate()
    assert not (whole & (place.labels() != 1)).any()
    assert set(np.unique(place.labels())) == {0, 1}
    assert nothing_to_do(place)


def test_new_and_corrected_objects_of_one_propagation_are_one_step_of_undo(place: Place) -> None:
    first = {**PROMPTS, "objects": PROMPTS["objects"][:1]}  # type: ignore[index]
    place.book.add(parse_prompts(first))
    place.propagate()
    erased = np.zeros((64, 80), bool)
    erased[:, :] = True
    place.editing.submit(lambda editor: editor.erase(9, erased, label=1), "erase").result(20)
    before = place.labels()
    place.book.add(parse_prompts({**PROMPTS, "objects": PROMPTS["objects"][1:]}))  # type: ignore[index]
    place.running.propagate().result(60)
    eventually(lambda: len(place.finished) == 3 or place.errors)
    assert not place.errors and (place.labels() == 2).any()
    after = place.labels()
    place.editing.undo().result(20)
    assert np.array_equal(place.labels(), before)
    place.editing.redo().result(20)
    assert np.array_equal(place.labels(), after)


def test_the_least_confident_slices_come_one_after_the_other(place: Place) -> None:
    assert place.running.least_confident() is None
    place.book.add(parse_prompts(PROMPTS))
    place.propagate()
    told = [place.running.least_confident(2) for _ in range(7)]
    values = [one.confidence for one in told if one is not None]
    assert len(values) == 7 and values[:6] == sorted(values[:6])
    assert told[6] == told[0]  # all were seen: from the start
    track = load_track(place.editing.labels, 2)
    assert track is not None and told[0] is not None
    assert told[0].confidence == min(track.confidence(z) for z in track.slices if z != 3)


def test_an_error_in_the_worker_reaches_the_person_as_itself(place: Place) -> None:
    place.choice = Choice("no-such-model")
    place.book.add(parse_prompts(PROMPTS))
    place.running.propagate().result(60)
    eventually(lambda: place.errors)
    assert "no model is called 'no-such-model'" in str(place.errors[0])
    assert isinstance(place.errors[0], InputError) and place.running.state.text == "failed"


def test_a_worker_that_dies_is_told_and_replaced(place: Place) -> None:
    place.book.add(parse_prompts(PROMPTS))
    place.propagate()
    events: list[dict[str, Any]] = []
    worker = LocalWorker(events.append)
    worker.send({"name": "x", "do": "no such thing"})
    eventually(lambda: any(e["event"] == "failed" for e in events))
    import os
    import signal

    worker._open.add("y")
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: any(e["name"] == "y" for e in events))
    assert "ended with status" in events[-1]["text"]
    worker.send({"name": "z", "do": "no such thing"})
    eventually(lambda: any(e["name"] == "z" for e in events))
    worker.close(kill=True)


def test_cancelling_stops_and_the_next_time_goes_on(place: Place) -> None:
    place.book.add(parse_prompts(PROMPTS))
    place.running.propagate().result(60)
    place.running.cancel()
    eventually(lambda: place.running.state.running == 0)
    if place.running.state.text == "stopped":  # else it was faster
        assert not place.labels().any() and not place.errors
        place.propagate()
    assert np.array_equal(place.labels(), TRUTH)


def test_a_run_outlives_napari_and_is_taken_up(url: str) -> None:
    first = Place(url)
    first.book.add(parse_prompts(PROMPTS))
    first.running.propagate().result(60)
    eventually(lambda: load_tasks(first.editing.labels))
    first.running._worker._on_event = lambda event: None  # napari is gone: nobody takes the end
    first.close(kill=False)
    second = Place(url)
    tasks = second.running.take_up(ClusterRuns(poll_s=0.05)).result(20)
    if tasks:  # else the first one had taken it before it was closed
        eventually(lambda: second.finished or second.errors)
        assert not second.errors and second.finished[0][0] == (1, 2)
    assert np.array_equal(second.labels(), TRUTH)
    eventually(lambda: not load_tasks(second.editing.labels))
    second.close()


def test_a_run_whose_worker_is_gone_is_gone_on_with(url: str) -> None:
    first = Place(url)
    first.book.add(parse_prompts(PROMPTS))
    first.running.propagate().result(60)
    eventually(lambda: load_tasks(first.editing.labels))
    first.running._worker._on_event = lambda event: None
    first.close(kill=True)
    second = Place(url)
    second.running.take_up(ClusterRuns(poll_s=0.05)).result(20)
    eventually(lambda: second.finished or second.errors)
    assert not second.errors
    assert np.array_equal(second.labels(), TRUTH)
    second.close()


class PretendedCluster:
    """A Prefect server that runs the flow's engine at once, in this process."""

    place = "http://nowhere/api"

    def __init__(self, end: str = "COMPLETED") -> None:
        self.end, self.asked, self.parameters = end, 0, {}  # type: ignore[var-annotated]

    def start(self, deployment: str, parameters: Any) -> str:
        from volseg.pipelines.segmentation import PlannedOracle, make_plan, run

        self.parameters = dict(parameters)
        if self.end == "COMPLETED":
            plan = make_plan(
                open_volume(parameters["url"]),
                parameters["prompts"],
                labels=parameters["labels"],
                model=PlannedOracle.model_validate(parameters["model"]),
            )
            run(plan)
        return "3f9d7a54-0000-4000-8000-000000000001"

    def state(self, flow_run: str) -> FlowState:
        self.asked += 1
        return FlowState("RUNNING" if self.asked < 3 else self.end, "as the server says")

    def cancel(self, flow_run: str) -> None:
        self.end = "CANCELLED"


def test_a_run_on_the_cluster_comes_into_the_labels(s3_url: str) -> None:
    place = Place(make(f"{s3_url}/v.zarr"))
    place.book.add(parse_prompts(PROMPTS))
    runs = ClusterRuns(PretendedCluster(), poll_s=0.02)  # type: ignore[arg-type]
    place.running.propagate_on(runs, "segment_volume/volseg").result(120)
    eventually(lambda: place.finished or place.errors)
    assert not place.errors, place.errors
    assert np.array_equal(place.labels(), TRUTH)
    assert runs.cluster.parameters["labels"].startswith("cells-")  # type: ignore[attr-defined]
    assert load_tasks(place.editing.labels) == []
    place.close()


def test_a_place_that_a_cluster_cannot_see_is_refused(place: Place) -> None:
    place.book.add(parse_prompts(PROMPTS))
    runs = ClusterRuns(PretendedCluster())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is on this machine"):
        place.running.propagate_on(runs, "segment_volume/volseg").result(60)


def test_a_flow_run_that_failed_says_so(url: str, place: Place) -> None:
    import threading

    from napari_plugin.watching import follow_cluster

    task = Task("x", "cluster", (1,), {"labels": "cells-none"}, flow_run="x")
    failing = PretendedCluster("CRASHED")
    said: list[str] = []
    with pytest.raises(BlocksFailedError, match="ended as CRASHED: as the server says"):
        follow_cluster(
            place.session.volume,
            task,
            failing,  # type: ignore[arg-type]
            threading.Event(),
            lambda i, track: None,
            lambda stage, done, total: said.append(stage),
            0.01,
        )
    assert said[0] == "running"


def test_errors_of_the_worker_keep_their_class() -> None:
    from napari_plugin.local import error_of

    told = {"kind": "MemoryBudgetError", "text": "too large", "trace": "Traceback …"}
    error = error_of(told)
    assert isinstance(error, MemoryBudgetError) and error.remote_trace == "Traceback …"  # type: ignore[attr-defined]
    assert isinstance(error_of({"kind": "KeyError", "text": "'x'"}), RuntimeError)
