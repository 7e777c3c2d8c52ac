"""Prompting in a window by real mouse and keys: marks land where the mouse is, and there is one current object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_plugin import desk as desk_module
from napari_plugin.layers import add_volume
from napari_plugin.overlap_widget import OverlapDialog
from napari_plugin.promptlayers import FLAT
from napari_plugin.widgets import desk_with_notices
from tests.napari_plugin.person import Person, at_work, counts, shown_window, window_manager
from tests.napari_plugin.places import Threshold, discs, make_volume
from tests.napari_plugin.window import wait_for
from volseg.images.image import open_volume


@pytest.fixture(scope="module", autouse=True)
def _looked_after() -> Iterator[None]:
    with window_manager():
        yield


@pytest.fixture
def opened_for(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have bright discs answer in the model's place; the time points for which it was opened."""
    times: list[int] = []

    def open_model(url: str, at: str | None, choice: Any) -> Threshold:
        times.append(choice.time)
        return Threshold(discs())

    monkeypatch.setattr(desk_module, "ModelProcess", open_model)
    return times


class Place:
    """A window in which a label image is prompted."""

    def __init__(self, make_napari_viewer: Callable[..., Any], url: str, **options: Any) -> None:
        self.url = url
        self.viewer = shown_window(make_napari_viewer)
        self.desk = desk_with_notices(self.viewer)
        self.session = add_volume(
            self.viewer, url, annotator="me", flush_after=0.2, refresh_s=None, **options
        )
        self.person = Person(self.viewer)

    def use(self, name: str = "cells") -> None:
        """Prompt in a label image, as on slice 3."""
        self.desk.use(name)
        wait_for(lambda: self.desk.prompting is not None and self.desk.name == name)
        wait_for(lambda: self.prompting.object_id is not None)
        self.layers = self.desk.layers
        self.editing = self.session.editing(name)
        self.labels = self.viewer.layers[name]
        self.layers.select()  # type: ignore[union-attr]
        self.go_to(3)

    def go_to(self, z: int) -> None:
        """Show a slice, all of it."""
        self.viewer.dims.set_current_step(self.viewer.dims.ndim - 3, z)
        self.viewer.reset_view()

    @property
    def prompting(self) -> Any:
        """The model behind the marks."""
        return self.desk.prompting

    def stored(self) -> np.ndarray:
        """The voxels in the store, once all is there."""
        self.person.wait(lambda: not self.editing.busy)
        return np.asarray(open_volume(self.url).labels[self.editing.name].levels[0])


@pytest.fixture
def place(
    make_napari_viewer: Callable[..., Any], tmp_path: Path, opened_for: list[int]
) -> Iterator[Place]:
    """Two discs, of which nothing is prompted."""
    url = str(tmp_path / "v.zarr")
    make_volume(url).create_labels("cells", channel=0)
    made = Place(make_napari_viewer, url)
    made.use()
    yield made
    made.desk.leave()
    made.session.close()


def test_marks_land_where_the_mouse_is_whatever_the_view(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari_plugin.promptlayers.show_info", told.append)
    dims, points = place.viewer.dims, place.layers.points

    def marks() -> tuple[int, list[tuple[int, ...]]]:
        shown = place.prompting.shown.marks.points
        return place.prompting.z, [tuple(round(v) for v in one) for one in shown]

    def roll(person: Person, *keys: str) -> None:
        person.to_canvas()
        person.key(*keys)
        person.see(place.viewer.reset_view)

    def work(person: Person) -> None:
        person.click(person.place(points, (3, 20, 23)))
        assert person.see(marks) == (3, [(20, 23, 1)])
        person.click(person.place(points, (3, 50, 10)), "shift")
        assert person.see(marks) == (3, [(20, 23, 1), (50, 10, 0)])
        # transposed: y to the right, x down
        person.key("shift+u")
        roll(person, "ctrl+t")
        person.click(person.place(points, (3, 40, 60)))
        assert person.see(marks) == (3, [(40, 60, 1)])
        roll(person, "ctrl+t")
        # slices along another axis: another slice is under the mouse at each place
        roll(person, "ctrl+e")
        assert 0 in person.see(lambda: dims.displayed)
        hidden = person.see(lambda: next(a for a in range(3) if a not in dims.displayed))
        at = person.see(lambda: dims.current_step[hidden])
        voxel = [6, 30, 30]
        voxel[hidden] = at
        person.click(person.place(points, voxel))
        z, found = person.see(marks)
        assert z == 6 and found == [(voxel[1], voxel[2], 1)]
        person.drag([person.place(points, voxel), person.place(points, [8, *voxel[1:]])], "shift")
        person.wait_told(told, "slices along z")
        assert person.see(marks) == (z, found)
        for _ in range(2):  # once around
            roll(person, "ctrl+e")
        assert person.see(lambda: dims.displayed) == (1, 2)
        assert person.see(lambda: dims.current_step[0]) == 6  # there are the marks
        assert person.see(marks) == (z, found)
        # beside the image, and in 3D: refused
        person.click(person.place(points, (6, 70, 60)))
        person.wait_told(told, "no image under the mouse")
        roll(person, "ctrl+y")
        middle = person.middle(place.viewer.window._qt_viewer.canvas.native)
        person.click(middle)
        person.wait(lambda: told[-1] == FLAT)
        assert person.see(marks) == (z, found)
        roll(person, "ctrl+y")

    at_work(place.person, work)


def test_a_second_press_at_once_is_a_mark_and_a_stroke_like_the_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtWidgets import QApplication

    monkeypatch.setattr(place.person, "_settle", lambda *_: None)  # as fast as a hand
    between = QApplication.doubleClickInterval()
    QApplication.setDoubleClickInterval(5000)
    points, labels, camera = place.layers.points, place.labels, place.viewer.camera

    def marks() -> list[tuple[int, ...]]:
        return [tuple(round(v) for v in one) for one in place.prompting.shown.marks.points]

    def work(person: Person) -> None:
        zoom, at = person.see(lambda: camera.zoom), person.place(points, (3, 20, 23))
        person.click(at)
        person.click((at[0] + 3, at[1]))
        person.wait(lambda: len(marks()) == 2)
        person.drag([at, person.place(points, (3, 40, 60))], "shift")
        person.wait(lambda: place.prompting.shown.marks.box is not None)
        assert person.see(lambda: camera.zoom) == zoom

        def take_brush() -> None:
            place.viewer.layers.selection.active = labels
            labels.selected_label, labels.brush_size, labels.mode = 9, 3, "paint"

        person.see(take_brush)
        dab = person.place(labels, (3, 50, 10))
        person.click(dab)
        person.drag([dab, person.place(labels, (3, 50, 40))])
        assert person.see(lambda: camera.zoom) == zoom

    try:
        at_work(place.person, work)
    finally:
        QApplication.setDoubleClickInterval(between)
    wait_for(lambda: not place.editing.busy)
    assert (place.stored()[3, 50, 10:40] == 9).all()


def test_the_brush_works_on_the_object_that_is_prompted_and_taking_back_works_there(
    place: Place,
) -> None:
    prompting, labels, points = place.prompting, place.labels, place.layers.points

    def accepted(person: Person) -> int:
        person.wait(lambda: prompting.shown.mask is not None)
        object_id = person.see(lambda: prompting.object_id)
        person.key("k")
        person.wait(lambda: object_id in prompting.book)
        return object_id

    def work(person: Person) -> None:
        person.to_canvas()
        person.click(person.place(points, (3, 20, 23)))
        first = accepted(person)
        person.key("q")
        assert person.see(lambda: labels.selected_label) == first
        person.key_for("2", lambda: labels.mode == "paint")
        person.see(lambda: setattr(labels, "brush_size", 4))
        person.paint(labels, [(3, 5, x) for x in range(10, 40, 4)])
        person.wait_for_store(lambda: (place.stored()[3, 5, 14:34] == first).all())
        # the next object, before its mask is accepted
        person.key("n")
        person.wait(lambda: prompting.object_id not in (None, first))
        second = person.see(lambda: prompting.object_id)
        person.key("q")
        assert person.see(lambda: labels.selected_label) == second
        # another one, picked among the labels, is the one that is prompted then
        person.see(lambda: setattr(labels, "mode", "pick"))
        person.click(person.place(labels, (3, 20, 23)))
        assert person.see(lambda: (labels.selected_label, prompting.object_id)) == (first, first)
        # a mask that belongs to it, for a new object: asked, not stored
        person.key("n")
        person.wait(lambda: prompting.object_id not in (None, first))
        third = person.see(lambda: prompting.object_id)
        person.click(person.place(points, (3, 21, 24)))
        person.wait(lambda: prompting.shown.mask is not None)
        person.key("k")
        person.press("Don't accept it")
        assert set(counts(place.stored())) == {first}
        assert person.window(OverlapDialog) is None
        # taking back on the layer of prompts: the mark, the stroke, the acceptance with its prompts
        person.to_canvas()
        person.key("ctrl+z")
        assert person.see(lambda: prompting.shown.marks.empty)
        person.key("ctrl+z", "ctrl+z")
        person.wait(lambda: not prompting.book.objects)
        assert not place.stored().any() and third not in prompting.book

    at_work(place.person, work)
