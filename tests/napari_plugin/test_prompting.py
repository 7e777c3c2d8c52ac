"""Prompting without Qt: marks, masks at once, candidates, acceptance into the labels, stored prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from napari_plugin.acceptance import Overlap
from napari_plugin.marks import Marks
from napari_plugin.promptbook import PromptBook
from napari_plugin.prompting import Prompting
from napari_plugin.promptstore import load_objects
from napari_plugin.session import LabelEditing, Session
from napari_plugin.slicing import SliceModel
from tests.napari_plugin.places import Threshold, discs, make_volume
from volseg.errors import InputError, PromptError
from volseg.images.image import open_volume
from volseg.prompts import load_prompts, parse_prompts
from volseg.propagation.window import MaskWindow


def eventually(true: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class Place:
    """A session, its label image, a model and its prompting."""

    def __init__(self, url: str) -> None:
        self.url = url
        volume = make_volume(url)
        volume.create_labels("cells")
        self.session = Session(open_volume(url), "annotator-1")
        self.editing: LabelEditing = self.session.editing("cells")
        self.predictor = Threshold(discs())
        self.model = SliceModel(lambda: self.predictor, rest_s=0.05)
        self.prompting = Prompting(self.editing, self.model)
        self.errors: list[BaseException] = []
        self.prompting.failed.connect(lambda error, doing: self.errors.append(error))
        self.prompting.book.ready.result(20)

    def mask(self) -> MaskWindow:
        eventually(lambda: self.prompting.shown.mask is not None)
        assert self.prompting.shown.mask is not None
        return self.prompting.shown.mask

    def accept(self) -> int:
        done = self.prompting.accept()
        assert isinstance(done, Future)
        done.result(20)
        assert self.prompting.object_id is not None
        return self.prompting.object_id

    def close(self) -> None:
        self.model.close()
        self.session.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(str(tmp_path / "v.zarr"))
    yield made
    made.close()


def test_a_click_shows_a_mask_and_acceptance_puts_it_into_the_labels(place: Place) -> None:
    prompting = place.prompting
    prompting.look_at(2)
    prompting.add_point(20, 22)
    truth = np.zeros((64, 80), bool)
    y, x = np.mgrid[:64, :80]
    truth[np.hypot(y - 20, x - 22) < 9] = True
    assert np.array_equal(place.mask().full((64, 80)), truth)
    object_id = place.accept()
    assert np.array_equal(place.editing.editor[2] == object_id, truth)
    place.editing.flush().result(20)
    stored = load_objects(place.editing.labels)[object_id]
    assert stored.prompts[0].points == ((20.0, 22.0, 1),)


def test_candidates_are_cycled_and_another_one_than_the_first_is_stored_as_a_mask(
    place: Place,
) -> None:
    prompting = place.prompting
    prompting.look_at(1)
    prompting.add_point(44, 55)
    first = place.mask()
    assert len(prompting.shown.candidates) == 3
    prompting.cycle()
    second = place.mask()
    assert second.area != first.area
    object_id = place.accept()
    stored = load_objects(place.editing.labels)[object_id].prompts[0]
    assert stored.points == () and stored.mask is not None
    assert np.array_equal(stored.mask.decode(), second.full((64, 80)))
    prompting.cycle(-1)
    assert prompting.shown.choice == 0


def test_negative_points_alone_ask_nothing_and_marks_are_taken_back_one_by_one(
    place: Place,
) -> None:
    prompting = place.prompting
    prompting.add_point(20, 20, inside=False)
    assert not prompting.shown.waiting and prompting.accept() is None
    prompting.add_point(20, 20)
    prompting.set_box((10.2, 10.4), (30, 31))
    assert prompting.shown.marks.box == (10.0, 10.0, 31.0, 32.0)
    prompting.take_back()
    assert prompting.shown.marks.box is None and len(prompting.shown.marks.points) == 2
    prompting.clear()
    assert prompting.shown.marks.empty
    prompting.set_box((10, 10), (10, 40))
    assert isinstance(place.errors[-1], InputError)


def test_marks_outside_the_slice_are_brought_to_its_edge() -> None:
    marks = Marks().with_point(-5, 200, True).with_box((-4, -4), (300, 300)).clipped((64, 80))
    assert marks.points == ((-0.5, 79.49, 1),)
    assert marks.box == (0.0, 0.0, 64.0, 80.0)
    prompt = marks.prompt(3, 0, (64, 80))
    assert Marks.of(prompt) == marks


def test_objects_and_slices_keep_their_marks(place: Place) -> None:
    prompting = place.prompting
    prompting.look_at(3)
    prompting.add_point(20, 23)
    place.mask()
    first = place.accept()
    prompting.next_object()
    eventually(lambda: prompting.object_id not in (None, first))
    prompting.add_scribble([(44, 50), (44, 60)], radius=2)
    place.mask()
    second = place.accept()
    assert second != first
    prompting.look_at(5)
    assert prompting.shown.marks.empty
    prompting.look_at(3)
    assert len(prompting.shown.marks.scribbles) == 1
    prompting.select_object(first)
    assert prompting.shown.marks.points == ((20.0, 23.0, 1),)
    prompting.look_at(8)
    prompting.mark_end()
    assert prompting.book.slices_of(first) == [3, 8]
    kept = prompting.book.prompt_set()
    assert [one.id for one in kept.objects] == sorted([first, second])
    assert kept.objects[0].prompts[-1].ends


def test_a_new_object_has_an_id_that_no_prompt_has(place: Place) -> None:
    eventually(lambda: place.prompting.object_id)
    taken = place.prompting.object_id or 0
    head = {"format": "volseg-prompts", "version": 1, "layers": [{"name": "cells"}]}
    point = {"z": 1, "points": [[44.0, 55.0, 1]]}
    objects = [{"id": taken + i, "prompts": [point]} for i in range(3)]
    place.prompting.book.add(parse_prompts({**head, "objects": objects}))
    place.prompting.next_object()
    eventually(lambda: place.prompting.object_id)
    assert place.prompting.object_id == taken + 3


def test_next_object_without_marks_keeps_the_id(place: Place) -> None:
    eventually(lambda: place.prompting.object_id)
    first = place.prompting.object_id
    place.prompting.next_object()
    assert place.prompting.object_id == first


def test_the_painted_mask_becomes_the_prompt(place: Place) -> None:
    prompting = place.prompting
    eventually(lambda: prompting.object_id)
    object_id = prompting.object_id or 0
    prompting.look_at(4)
    prompting.use_mask().result(20)
    eventually(lambda: place.errors)
    drawn = np.ones((6, 7), bool)
    place.editing.apply_mask(4, drawn, (30, 10), object_id).result(20)
    prompting.use_mask().result(20)
    eventually(lambda: prompting.shown.mask is not None)
    assert prompting.shown.marks.mask is not None and place.mask().box == (30, 10, 36, 17)
    place.accept()
    prompts = load_objects(place.editing.labels)[object_id].prompts
    assert prompts[0].mask is not None


def test_prompts_come_back_when_opened_again_and_can_be_replayed(
    place: Place, tmp_path: Path
) -> None:
    place.prompting.look_at(2)
    place.prompting.add_point(20, 22)
    place.mask()
    object_id = place.accept()
    place.editing.flush().result(20)
    path = tmp_path / "prompts.json"
    place.prompting.book.prompt_set().dump(path)
    with_session = Session(open_volume(place.url), "annotator-2")
    try:
        book = PromptBook(with_session.editing("cells"))
        book.ready.result(20)
        assert book.objects == [object_id]
        again = load_prompts(path)
        assert again == book.prompt_set()
    finally:
        with_session.close()


def test_a_prompts_file_is_taken_over_and_a_wrong_one_refused(place: Place) -> None:
    head = {"format": "volseg-prompts", "version": 1}
    point = {"z": 1, "points": [[44.0, 55.0, 1]]}
    objects = [{"id": 90, "layer": "cells", "prompts": [point]}]
    layers = [{"name": "cells"}, {"name": "others"}]
    book = place.prompting.book
    assert book.add(parse_prompts({**head, "layers": layers, "objects": objects})) == [90]
    place.editing.flush().result(20)
    assert list(load_objects(place.editing.labels)) == [90]
    other = parse_prompts(
        {
            **head,
            "layers": [{"name": "a"}, {"name": "b"}],
            "objects": [{**objects[0], "layer": "b"}],
        }
    )
    with pytest.raises(PromptError, match="no layer 'cells'"):
        book.add(other)
    outside = [{"id": 1, "layer": "cells", "prompts": [{**point, "z": 99}]}]
    beyond = parse_prompts({**head, "layers": layers, "objects": outside})
    with pytest.raises(PromptError, match="beyond the stack"):
        book.add(beyond)


def test_the_slice_in_view_is_embedded_once_scrolling_rests(place: Place) -> None:
    for z in range(6):
        place.model.look_at(z)
    eventually(lambda: place.predictor.embedded)
    time.sleep(0.1)
    assert place.predictor.embedded == [5]


def test_a_prompt_goes_before_embedding_and_errors_reach_the_person(tmp_path: Path) -> None:
    def broken() -> Threshold:
        raise InputError("no model here")

    model = SliceModel(broken, rest_s=0.0)
    errors: list[BaseException] = []
    model.failed.connect(errors.append)
    model.look_at(1)
    eventually(lambda: errors)
    with pytest.raises(InputError, match="no model here"):
        model.call(lambda predictor: None).result(10)
    assert len(errors) == 1  # not again and again
    model.close()
    assert model.call(lambda predictor: None).cancelled()


def test_taking_an_acceptance_back_takes_its_prompts_back(place: Place) -> None:
    prompting = place.prompting
    prompting.look_at(2)
    prompting.add_point(20, 22)
    place.mask()
    first = place.accept()
    prompting.look_at(4)
    prompting.add_point(20, 24)
    place.mask()
    place.accept()
    assert prompting.book.slices_of(first) == [2, 4]
    prompting.undo()
    eventually(lambda: prompting.book.slices_of(first) == [2])
    eventually(lambda: prompting.shown.marks.empty)
    prompting.undo()
    eventually(lambda: first not in prompting.book)
    place.editing.flush().result(20)
    assert load_objects(place.editing.labels) == {}
    prompting.redo()
    eventually(lambda: prompting.book.slices_of(first) == [2])
    place.editing.flush().result(20)
    assert [p.z for p in load_objects(place.editing.labels)[first].prompts] == [2]
    # another mask on the same slice, taken back, leaves the one before
    prompting.look_at(2)
    prompting.set_box((10, 10), (32, 34))
    place.mask()
    place.accept()
    prompting.undo()
    eventually(lambda: prompting.book.marks(first, (0, 2)).points == ((20.0, 22.0, 1),))


def test_a_mask_that_others_own_is_asked_about_instead_of_stored_as_a_sliver(place: Place) -> None:
    prompting = place.prompting
    questions: list[tuple[Overlap, Callable[[str], None]]] = []
    prompting.look_at(2)
    prompting.add_point(20, 22)
    area = place.mask().area
    first = place.accept()

    def again() -> tuple[int, Future[None]]:
        prompting.next_object()
        eventually(lambda: prompting.object_id not in (None, first))
        prompting.add_point(21, 23)
        place.mask()
        done = prompting.accept()
        assert done is not None and prompting.object_id is not None
        return prompting.object_id, done

    # nobody to answer: refused, and nothing is stored
    second, done = again()
    with pytest.raises(InputError, match=f"100 % of the mask of object {second} .* object {first}"):
        done.result(20)
    assert second not in prompting.book

    prompting.asked.connect(lambda overlap, answer: questions.append((overlap, answer)))
    second, done = again()
    eventually(lambda: questions)
    overlap, answer = questions.pop()
    assert (overlap.owners, overlap.rest, overlap.area) == ({first: area}, 0, area)
    answer("no")
    eventually(done.cancelled)
    ids = place.editing.editor[2]
    assert second not in prompting.book and (ids == first).sum() == area

    prompting.accept()
    eventually(lambda: questions)
    questions.pop()[1]("take")
    eventually(lambda: second in prompting.book)
    assert (place.editing.editor[2] == second).sum() == area
    assert not (place.editing.editor[2] == first).any()

    third, done = again()
    eventually(lambda: questions)
    questions.pop()[1]("other")
    done.result(20)
    assert prompting.object_id == second and third not in prompting.book
    assert prompting.book.marks(second, (0, 2)).points == ((21.0, 23.0, 1),)
