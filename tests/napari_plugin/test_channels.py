"""What belongs to a channel or a time point belongs to the one in view: new label images, the table, what is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_plugin.channels import channel_to_bind
from napari_plugin.layers import add_session
from napari_plugin.session import Session, open_session
from napari_plugin.sparse import SparseMasks
from napari_plugin.workbench import Workbench
from tests.napari_plugin.waiting import wait_for
from volseg.images.create import create_volume
from volseg.propagation.window import MaskWindow

SHAPE = (4, 32, 40)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Three time points of two channels, with a label image of each."""
    volume = create_volume(
        str(tmp_path / "v.zarr"),
        axes="tczyx",
        shape=(3, 2, *SHAPE),
        dtype="uint8",
        scale_um=(1, 0.5, 0.5),
        channels=["noise", "cells"],
    )
    for channel, name in enumerate(("dust", "nuclei")):
        volume.create_labels(name, channel=channel)
    opened = open_session(volume.location.url, annotator="me", flush_after=None, refresh_s=None)
    yield opened
    opened.close()


def test_new_labels_belong_to_the_channel_in_view(session: Session) -> None:
    viewer = ViewerModel()
    add_session(viewer, session)
    noise, cells, dust, nuclei = viewer.layers
    placed: dict[str, Any] = {"metadata": {"volseg": {"url": session.url, "prompts": "dust"}}}
    prompts = viewer.add_points(ndim=3, name="prompts", **placed)

    def bound(active: Any) -> int | None:
        viewer.layers.selection.active = active
        return channel_to_bind(viewer, session.url)

    assert [bound(one) for one in (noise, cells, dust, nuclei)] == [0, 1, 0, 1]
    assert bound(prompts) == 0  # they are of a label image, which is of a channel
    noise.visible = False
    assert bound(prompts) == 1  # that one is not seen any more
    noise.visible = True
    assert bound(None) == 1  # the one on top
    assert channel_to_bind(viewer, "file:///another.zarr") is None


def test_where_a_slider_chooses_the_channel_it_is_the_one_in_view(session: Session) -> None:
    viewer = ViewerModel()
    add_session(viewer, session, channel_slider=True)
    for channel in (1, 0):
        viewer.dims.set_current_step(0, channel)
        assert channel_to_bind(viewer, session.url) == channel


def test_the_table_lists_the_time_point_of_the_slider(session: Session) -> None:
    viewer = ViewerModel()
    add_session(viewer, session)
    editing = session.editing("nuclei")
    square = np.ones((5, 5), bool)
    for time, label in ((0, 5), (2, 7)):
        editing.apply_mask(3, square, (10, 10), label, time=time).result(20)
    viewer.layers.selection.active = viewer.layers["nuclei"]
    bench = Workbench(viewer)
    table = bench.objects
    assert table is not None

    def lists(time: int, ids: list[int]) -> None:
        viewer.dims.set_point(0, time)
        wait_for(lambda: [row.id for row in table.rows()] == ids)

    for time, ids in ((2, [7]), (0, [5]), (1, [])):
        lists(time, ids)
    editing.flush().result(20)
    lists(2, [7])
    table.set_status([7], "accepted").result(20)
    lists(0, [5])
    rows = {(row.time, row.id): row.status for row in editing.labels.objects.rows()}
    assert rows == {(0, 5): None, (2, 7): "accepted"}


def test_what_is_found_at_one_time_point_is_not_shown_at_another() -> None:
    masks = SparseMasks(SHAPE)
    masks.put(1, 9, MaskWindow.crop(np.ones((3, 3), bool), (2, 2)), time=2)
    assert masks.slices == [] and not np.asarray(masks.levels[0]).any()
    assert masks.show_time(2) and not masks.show_time(2)
    assert masks.slices == [1] and (np.asarray(masks.levels[0])[1, 2:5, 2:5] == 9).all()
    masks.remove(9)
    assert masks.slices == []
