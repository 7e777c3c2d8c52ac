"""Sessions: editors on threads of their own, a state that people see, what others do, an end without loss."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_plugin.layers import add_volume, session_of
from napari_plugin.session import EditState, Session, open_session
from tests.napari_plugin.waiting import wait_for
from volseg.errors import InputError
from volseg.images.create import create_volume
from volseg.images.image import open_volume

SHAPE = (8, 96, 96)


@pytest.fixture
def url(work_url: str) -> str:
    """A volume of two channels with an empty label image of each."""
    url = f"{work_url}/v.zarr"
    volume = create_volume(
        url,
        axes="czyx",
        shape=(2, *SHAPE),
        dtype="uint8",
        scale_um=(2.0, 1.0, 1.0),
        channels=["membrane", "nuclei"],
        levels=2,
    )
    for channel, name in enumerate(["cells", "nuclei"]):
        volume.create_labels(name, channel=channel, chunks=(2, 32, 32))
    return url


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    """The volume, open."""
    session = open_session(url, annotator="me", flush_after=None)
    yield session
    session.close()


def square(size: int = 20) -> np.ndarray:
    """A mask."""
    return np.ones((size, size), bool)


def test_masks_are_stored_and_taken_back_and_done_again_by_a_later_session(url: str) -> None:
    first = open_session(url, annotator="me", flush_after=None)
    editing = first.editing("cells")
    assert first.editing("cells") is editing
    editing.apply_mask(3, square(), (10, 12), 7).result()
    editing.undo().result()
    first.close()
    stored = np.asarray(open_volume(url).labels["cells"].levels[0])
    assert not stored.any()
    second = open_session(url, annotator="me", flush_after=None)
    second.editing("cells").redo().result()
    second.close()
    stored = np.asarray(open_volume(url).labels["cells"].levels[0])
    assert (stored[3, 10:30, 12:32] == 7).all() and (stored == 7).sum() == 400


def test_other_objects_are_protected_unless_asked_and_old_voxels_can_go(session: Session) -> None:
    editing = session.editing("cells")
    editing.apply_mask(3, square(), (0, 0), 1).result()
    editing.apply_mask(3, square(), (10, 10), 2).result()
    now = editing.editor[3]
    assert (now == 1).sum() == 400 and (now == 2).sum() == 300
    editing.apply_mask(3, square(), (10, 10), 2, protect=False).result()
    assert (editing.editor[3] == 2).sum() == 400
    editing.apply_mask(3, square(5), (50, 50), 2, replace=True).result()
    now = editing.editor[3]
    assert (now == 2).sum() == 25 and (now == 1).sum() == 300


def test_the_state_goes_from_unsaved_to_synced_and_changes_are_told(session: Session) -> None:
    editing = session.editing("cells")
    states: list[EditState] = []
    regions: list[Any] = []
    editing.state_changed.connect(states.append)
    session.changed.connect(lambda name, region: regions.append((name, region)))
    editing.apply_mask(3, square(), (10, 12), 7).result()
    wait_for(lambda: editing.state.unsaved == 1 and editing.state.working is None)
    assert str(editing.state) == "1 unsaved"
    assert regions == [("cells", ((3, 4), (10, 30), (12, 32)))]
    editing.flush().result()
    wait_for(lambda: editing.state.synced)
    assert str(states[-1]) == "synced"


def test_label_images_are_edited_apart(session: Session, url: str) -> None:
    session.editing("cells").apply_mask(1, square(), (0, 0), 1).result()
    session.editing("nuclei").apply_mask(1, square(), (0, 0), 2).result()
    session.editing("cells").undo().result()
    session.editing("cells").flush().result()
    session.editing("nuclei").flush().result()
    labels = open_volume(url).labels
    assert not np.asarray(labels["cells"].levels[0]).any()
    assert (np.asarray(labels["nuclei"].levels[0]) == 2).sum() == 400


def test_a_conflict_names_who_and_where_and_waits_for_a_choice(url: str) -> None:
    mine = open_session(url, annotator="me", flush_after=None)
    yours = open_session(url, annotator="you", flush_after=None)
    errors: list[Exception] = []
    mine.editing("cells").failed.connect(errors.append)
    assert not mine.editing("cells").editor[...].any()
    yours.editing("cells").apply_mask(3, square(), (0, 0), 5).result()
    yours.editing("cells").flush().result()
    editing = mine.editing("cells")
    editing.apply_mask(3, square(), (10, 10), 6).result()
    assert editing.flush().exception() is not None
    wait_for(lambda: bool(editing.state.conflicts))
    (clash,) = editing.state.conflicts
    assert (clash.annotator, clash.voxels) == ("you", 100)
    assert str(editing.state) == "conflict: 1 of 1 unsaved, with you"
    assert len(errors) == 1
    editing.resolve("theirs").result()
    wait_for(lambda: editing.state.synced)
    mine.close()
    yours.close()
    stored = np.asarray(open_volume(url).labels["cells"].levels[0])
    assert set(np.unique(stored)) == {0, 5}


def test_jobs_wait_for_each_other_and_the_caller_for_none(session: Session) -> None:
    editing = session.editing("cells")
    gate, order = threading.Event(), []
    slow = editing.submit(lambda editor: (gate.wait(20), order.append("slow")), "wait")
    quick = editing.submit(lambda editor: order.append("quick"), "go")
    assert not slow.done() and not quick.done()
    assert editing.state.unsaved >= 0  # never waits
    gate.set()
    quick.result(20)
    assert order == ["slow", "quick"]


def test_a_closed_session_says_so(url: str) -> None:
    session = open_session(url, annotator="me")
    editing = session.editing("cells")
    session.close()
    with pytest.raises(InputError, match="closed"):
        editing.undo()
    with pytest.raises(InputError, match="closed"):
        session.editing("nuclei")


def test_layers_know_their_session(url: str) -> None:
    viewer = ViewerModel()
    session = add_volume(viewer, url, annotator="me")
    assert [layer.name for layer in viewer.layers] == ["membrane", "nuclei", "cells", "nuclei [1]"]
    assert session_of(viewer) is session
    assert all(session_of(layer) is session for layer in viewer.layers)
    session.close()
    assert session_of(viewer) is None
    assert session_of(ViewerModel()) is None


def test_edits_that_cannot_be_stored_are_kept(tmp_path: Path) -> None:
    url = str(tmp_path / "v.zarr")
    create_volume(url, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1))
    open_volume(url).create_labels("cells", chunks=(2, 32, 32))
    mine = open_session(url, annotator="me", flush_after=None, local_folder=tmp_path / "kept")
    yours = open_session(url, annotator="you", flush_after=None)
    mine.editing("cells").apply_mask(3, square(), (0, 0), 6).result()
    yours.editing("cells").apply_mask(3, square(), (0, 0), 5).result()
    yours.close()
    with pytest.raises(Exception, match="restore"):
        mine.close()
    assert list((tmp_path / "kept").iterdir())


def test_opening_labels_tells_of_no_error(tmp_path: Path) -> None:
    """psygnal tries a compiled slot out by calling it, so that a signal must not be connected to another's `emit`."""
    from tests.napari_plugin.places import make_volume
    from volseg.images.image import open_volume

    make_volume(str(tmp_path / "v.zarr")).create_labels("cells")
    session = Session(open_volume(str(tmp_path / "v.zarr")), "annotator-1")
    told: list[object] = []
    session.failed.connect(told.append)
    session.editing("cells").flush().result(20)
    session.close()
    assert told == []
