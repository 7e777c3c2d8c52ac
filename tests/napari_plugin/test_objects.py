"""The table of objects and the tools on whole objects, without a window."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import numpy as np
import pytest

from napari_plugin import tools
from napari_plugin.objects import ObjectTableModel, text_of
from napari_plugin.session import Session, open_session
from tests.editing.making import quick_folder
from tests.napari_plugin.waiting import wait_for
from volseg.errors import InputError
from volseg.images.create import create_volume
from volseg.images.image import open_volume

SHAPE = (12, 80, 90)


def make(place: str) -> str:
    """Make a volume with an empty label image."""
    url = f"{place}/v.zarr"
    create_volume(url, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(2, 1, 1), levels=2)
    open_volume(url).create_labels("cells", chunks=(4, 32, 32))
    return url


@pytest.fixture
def url() -> Iterator[str]:
    """The volume in a folder."""
    folder = quick_folder()
    yield make(folder)
    shutil.rmtree(folder)


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    """The volume, open, with three objects that are not stored yet."""
    session = open_session(url, annotator="me", flush_after=None, refresh_s=None)
    editing = session.editing("cells")
    for label, size in ((1, 8), (2, 20), (3, 12)):
        editing.apply_mask(3, np.ones((size, size), bool), (label * 20, label * 20), label).result()
    yield session
    session.close()


def ids(model: ObjectTableModel) -> list[int]:
    """The ids of the rows as they stand."""
    return [row.id for row in model.rows()]


def test_rows_show_what_is_not_stored_yet_and_stay_when_it_is(session: Session) -> None:
    model = ObjectTableModel(session, "cells")
    model.refresh().result()
    before = {row.id: (row.voxels, row.bbox) for row in model.rows()}
    assert before == {
        1: (64, ((3, 4), (20, 28), (20, 28))),
        2: (400, ((3, 4), (40, 60), (40, 60))),
        3: (144, ((3, 4), (60, 72), (60, 72))),
    }
    session.editing("cells").flush().result()
    wait_for(lambda: all(row.annotator == "me" for row in model.rows()))
    assert {row.id: (row.voxels, row.bbox) for row in model.rows()} == before
    assert model.place_of(1) == (3, 23, 23)
    tools.delete(model.editing, [2]).result()
    wait_for(lambda: ids(model) == [1, 3])
    model.editing.undo().result()
    wait_for(lambda: ids(model) == [1, 2, 3])


def test_the_table_rests_when_nothing_happens(session: Session) -> None:
    model = ObjectTableModel(session, "cells")
    model.refresh().result()
    time.sleep(0.6)  # states are looked at meanwhile
    told: list[int] = []
    model.changed.connect(lambda: told.append(1))
    time.sleep(0.8)
    assert not told


def test_status_and_class_survive_and_todo_leads_on(session: Session, url: str) -> None:
    model = ObjectTableModel(session, "cells")
    model.refresh().result()
    assert model.next_todo() == 1
    model.set_status([1], "accepted")
    assert text_of(model.rows()[0], "status") == "accepted"  # at once
    assert model.next_todo() == 2
    model.set_status([2], "rejected").result()
    assert model.next_todo() == 3 and model.selected == (3,)
    model.set_class([1, 3], "nucleus").result()
    model.upsert(3, confidence=0.5, parent=1).result()
    assert model.classes == ["nucleus"] and model.class_of_key(1) == "nucleus"
    assert model.class_of_key(2) is None
    wait_for(lambda: model.rows()[2].class_ == "nucleus")
    session.close()
    rows = {row.id: row for row in open_volume(url).labels["cells"].objects.rows()}
    assert [rows[i].status for i in (1, 2, 3)] == ["accepted", "rejected", None]
    assert [rows[i].class_ for i in (1, 2, 3)] == ["nucleus", None, "nucleus"]
    assert (rows[3].confidence, rows[3].parent, rows[3].voxels) == (0.5, 1, 144)
    with pytest.raises(InputError, match="todo, accepted, rejected"):
        model.set_status([1], "fine")  # type: ignore[arg-type]


def test_order_filter_and_selection(session: Session) -> None:
    model = ObjectTableModel(session, "cells")
    model.refresh().result()
    model.sort("voxels", descending=True)
    assert ids(model) == [2, 3, 1]
    model.upsert(3, confidence=0.2).result()
    model.sort("confidence")
    assert ids(model) == [3, 1, 2]  # those without a value last
    model.set_status([1], "accepted").result()
    model.filter(statuses=["todo"])
    assert ids(model) == [3, 2]
    model.set_class([2], "mitochondrion").result()
    wait_for(lambda: model.row(2) is not None and model.rows()[-1].class_ == "mitochondrion")
    model.filter("mito")
    assert ids(model) == [2]
    model.filter("3")
    assert ids(model) == [3]
    told: list[tuple[int, ...]] = []
    model.selection_changed.connect(told.append)
    model.select([2, 3, 2, 0])
    model.select([2, 3])
    assert told == [(2, 3)]
    with pytest.raises(InputError, match="no column"):
        model.sort("size")


def test_merge_split_and_new_ids(session: Session) -> None:
    editing = session.editing("cells")
    assert tools.merge(editing, [2, 3]).result() == 2
    now = editing.editor[3]
    assert (now == 2).sum() == 544 and not (now == 3).any()
    parts = tools.split(editing, 2, [(3, 45, 45), (3, 65, 65)]).result()
    now = editing.editor[3]
    assert parts[0] == 2 and (now == parts[1]).sum() == 144 and (now == 2).sum() == 400
    assert tools.new_object(editing).result() > max(parts)
    editing.undo().result()
    editing.undo().result()
    assert (editing.editor[3] == 3).sum() == 144
    with pytest.raises(InputError, match="each of its parts"):
        tools.split(editing, 2, [(3, 45, 45)])


def test_interpolation_fills_between_painted_slices_and_spares_others(session: Session) -> None:
    editing = session.editing("cells")
    yy, xx = np.mgrid[:21, :21] - 10
    disk = yy**2 + xx**2 <= 100
    editing.apply_mask(2, disk, (10, 50), 9).result()
    small = yy**2 + xx**2 <= 36
    editing.apply_mask(8, small, (22, 62), 9).result()
    editing.apply_mask(5, np.ones((3, 3), bool), (20, 60), 4, protect=False).result()
    assert tools.interpolate(editing, 9).result() == [3, 4, 5, 6, 7]
    areas = [(editing.editor[z] == 9).sum() for z in range(2, 9)]
    assert areas[0] > areas[2] > areas[4] > areas[6]
    centre = np.argwhere(editing.editor[6] == 9).mean(axis=0)
    assert np.allclose(centre, (28, 68), atol=1)
    assert (editing.editor[5] == 4).sum() == 9  # another object in the way keeps its voxels
    editing.undo().result()
    assert not (editing.editor[3:8] == 9).any()
    assert isinstance(tools.interpolate(editing, 1).exception(), InputError)
