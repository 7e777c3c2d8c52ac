"""Edits that are not saved are seen whatever panel is open, and nothing closes over them; by real mouse and keys."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_plugin.layers import add_volume
from napari_plugin.quit_guard import QuitDialog
from napari_plugin.session import Session
from napari_plugin.unsaved_widget import UnsavedDialog, UnsavedSign, sign_of
from napari_plugin.widgets import desk_with_notices
from tests.editing.making import quick_folder
from tests.napari_plugin.person import (
    Person,
    at_work,
    counts,
    is_closed,
    shown_window,
    window_manager,
)
from tests.napari_plugin.window import wait_for
from volseg.editing import unsaved
from volseg.images.create import create_volume
from volseg.images.image import open_volume
from volseg.storage.local import LocalObjects

SHAPE = (6, 128, 128)


@pytest.fixture(scope="module", autouse=True)
def _looked_after() -> Iterator[None]:
    with window_manager():
        yield


@pytest.fixture
def url() -> Iterator[str]:
    """A volume with an empty label image, in a folder that may be moved."""
    folder = quick_folder()
    create_volume(
        f"{folder}/v.zarr", axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(2, 1, 1), levels=2
    )
    open_volume(f"{folder}/v.zarr").create_labels("cells", chunks=(2, 64, 64))
    yield f"{folder}/v.zarr"
    shutil.rmtree(folder)


class Place:
    """A window with the volume, and nobody's panel open."""

    def __init__(self, make_napari_viewer: Callable[..., Any], url: str) -> None:
        self.url = url
        self.viewer = shown_window(make_napari_viewer)
        self.desk = desk_with_notices(self.viewer)
        self.session: Session = add_volume(
            self.viewer, url, annotator="me", flush_after=0.2, refresh_s=None
        )
        self.layer = self.viewer.layers["cells"]
        self.editing = self.session.editing("cells")
        wait_for(lambda: self.editing.is_open)
        self.viewer.layers.selection.active = self.layer
        self.viewer.dims.set_current_step(0, 3)
        self.viewer.reset_view()
        self.layer.selected_label, self.layer.brush_size, self.layer.mode = 7, 6, "paint"
        sign = sign_of(self.viewer)
        assert sign is not None
        self.sign: UnsavedSign = sign
        self.person = Person(self.viewer)

    def stroke(self, y: int, start: int = 20, stop: int = 60) -> None:
        """Paint a line by hand."""
        self.person.paint(self.layer, [(3, y, x) for x in range(start, stop, 8)])

    def stored(self) -> np.ndarray:
        """The voxels in the store."""
        return np.asarray(open_volume(self.url).labels["cells"].levels[0])

    def waits_for_saved(self) -> None:
        """Wait until everything is stored."""
        self.person.wait(lambda: self.sign.text() == "✓ saved" and not self.editing.busy)


@pytest.fixture
def place(make_napari_viewer: Callable[..., Any], url: str) -> Iterator[Place]:
    """The volume in a window."""
    made = Place(make_napari_viewer, url)
    yield made
    made.session.close_quietly()


def test_a_conflict_is_told_without_a_panel_and_other_edits_go_on_being_saved(place: Place) -> None:
    other = open_volume(place.url).labels["cells"].edit("anna", flush_after=None)

    def work(person: Person) -> None:
        person.wait(lambda: place.sign.text() == "✓ saved")
        other[3, 38:44, 20:70] = 50
        other.flush()
        place.stroke(40)
        person.wait(lambda: "1 edit in conflict with anna" in place.sign.text())
        person.wait(lambda: place.layer.bounding_box.visible)
        person.wait(lambda: "keep yours, or keep theirs" in place.desk.notices[-1].text)
        for y in (8, 20, 56):  # above where napari shows the line that passes
            place.stroke(y)
        person.wait_for_store(lambda: (place.stored()[3, [8, 20, 56]] == 7).any(axis=1).all())
        assert (place.stored()[3, 38:44] != 7).all()
        person.see(lambda: place.viewer.dims.set_current_step(0, 0))
        person.click(person.middle(place.sign))
        person.press("Go there")
        person.wait(lambda: place.viewer.dims.current_step[0] == 3)
        person.press("Keep mine")
        place.waits_for_saved()
        person.wait_for_store(lambda: (place.stored()[3, 40, 24:56] == 7).all())
        person.wait(lambda: not place.layer.bounding_box.visible)
        person.press("Close", person.window(UnsavedDialog))

    at_work(place.person, work)
    other.close()
    assert len(place.desk.notices) == 1  # told once


def test_a_volume_that_went_away_is_told_and_no_ghost_is_made_of_it(place: Place) -> None:
    away = place.url + ".moved"

    def work(person: Person) -> None:
        Path(place.url).rename(away)
        place.stroke(40)
        person.wait(lambda: "1 edit not saved" in place.sign.text())
        assert place.desk.notices[-1].title.startswith("The volume went away")
        place.stroke(80)
        person.wait(lambda: "2 edits not saved" in place.sign.text())
        person.click(person.middle(place.sign))
        button = person.button("Try again now")
        person.press("Try again now")
        person.wait(lambda: "2 edits not saved" in place.sign.text())
        assert not Path(place.url).exists()
        assert person.button("Try again now") is button  # no other one came under the mouse
        Path(away).rename(place.url)  # the share is back
        place.waits_for_saved()
        assert (place.stored()[3, [40, 80], 30] == 7).all()
        person.press("Close", person.window(UnsavedDialog))

    at_work(place.person, work)


def test_quitting_with_a_full_disk_asks_and_the_copy_is_offered_at_the_next_start(
    place: Place, make_napari_viewer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def work(person: Person) -> None:
        with monkeypatch.context() as disk:
            disk.setattr(LocalObjects, "_staged", full)
            disk.setattr("volseg.editing.lifecycle.write_copy", full)
            place.stroke(40)
            person.wait(lambda: "1 edit not saved" in place.sign.text())
            assert "No space left" in place.desk.notices[-1].title
            person.to_canvas()
            person.key("ctrl+q")
            person.button("Close")
            person.key("ctrl+q")  # as napari's own question asks for
            person.press("Don't quit")
            person.key("alt+F4")
            person.press("Keep a copy and quit")
            dialog = person.window(QuitDialog)
            person.wait(lambda: "no copy of the edits can be kept" in dialog.problem.text())
            disk.setattr("volseg.editing.lifecycle.write_copy", unsaved.write_copy)
            person.press("Keep a copy and quit")
            person.wait(lambda: is_closed(place.viewer))

    at_work(place.person, work)
    place.session.close()
    assert not place.stored().any()

    again = Place(make_napari_viewer, place.url)

    def later(person: Person) -> None:
        person.wait(lambda: "1 edit kept on this machine" in again.sign.text())
        person.press("Take them up")
        again.waits_for_saved()
        assert counts(again.stored()) == {7: (again.stored() == 7).sum()} != {7: 0}
        person.press("Close", person.window(UnsavedDialog))

    at_work(again.person, later)
    assert not unsaved.local_copies(again.editing.labels)
    again.session.close()


def test_quitting_saves_what_can_be_saved_without_a_question(place: Place) -> None:
    def work(person: Person) -> None:
        place.stroke(40)
        person.to_canvas()
        person.key("alt+F4")
        person.press("Close")  # napari's own question
        person.wait(lambda: is_closed(place.viewer))

    at_work(place.person, work)
    assert (place.stored()[3, 40, 24:52] == 7).all()
