"""The whole way in a real window, with real mouse and key events, on S3: from opening to export."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_plugin.opening import Place, Places
from napari_plugin.trackstore import load_track
from napari_plugin.widgets import ExportWidget, PromptWidget, desk_with_notices
from tests.napari_plugin.places import discs, make_volume
from tests.napari_plugin.window import click, drag, press, serve, wait_for
from volseg.editing import history
from volseg.images.image import open_volume
from volseg.propagation.track import SliceKind

log = logging.getLogger(__name__)
soon = partial(wait_for, seconds=240)  # a model on a busy machine


@pytest.fixture
def url(s3_url: str) -> str:
    """The discs of `places` on S3, with their true labels."""
    volume = make_volume(f"{s3_url}/v.zarr")
    truth = volume.create_labels("truth")
    truth.write_objects(
        tuple((0, n) for n in volume.shape), np.where(discs() == 170, 1, 0).astype(np.uint32)
    )
    return f"{s3_url}/v.zarr"


def opened(make_napari_viewer: Callable[..., Any], url: str, tmp_path: Path) -> tuple[Any, Any]:
    """A window with the volume, opened as the panel does it."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1000, 700)
    desk = desk_with_notices(viewer)
    desk.places = Places(tmp_path / "places.json")
    desk.annotator = "annotator-1"
    desk.open(Place(url))
    soon(lambda: desk.session is not None)
    serve(0.2)
    viewer.reset_view()
    return viewer, desk


def go_to(viewer: Any, z: int) -> None:
    viewer.dims.set_point(0, z * 1.0)
    serve(0.05)


def stored(url: str) -> np.ndarray:
    return np.asarray(open_volume(url).labels["cells"].levels[0])


def synced(desk: Any) -> bool:
    state = desk.session.editing("cells").look()
    return bool(state.synced)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


@pytest.mark.parametrize("model", ["truth", pytest.param("nano", marks=pytest.mark.long)])
def test_the_whole_way(
    make_napari_viewer: Callable[..., Any], url: str, tmp_path: Path, model: str
) -> None:
    """With the true labels in the model's place, which takes no time; in the long mode with the embedded model."""
    from qtpy.QtCore import Qt

    truth = discs() == 170
    viewer, desk = opened(make_napari_viewer, url, tmp_path)
    panel = PromptWidget(viewer)
    viewer.window.add_dock_widget(panel, name="Prompt and propagate")
    oracle = {"kind": "oracle", "url": url, "name": "truth"}
    desk.choose(oracle if model == "truth" else model, 2.0)
    panel.make("cells")
    soon(lambda: desk.prompting is not None)
    soon(lambda: desk.prompting.object_id is not None)
    first = desk.prompting.object_id

    # click → mask → accept
    log.info("click → mask")
    go_to(viewer, 3)
    viewer.layers.selection.active = viewer.layers["cells"]
    press(viewer, "Q")
    assert desk.layers.active
    click(viewer, desk.layers.points, (3, 44, 55))
    soon(lambda: desk.prompting.shown.mask is not None)
    assert desk.prompting.shown.marks.points[0][:2] == pytest.approx((44, 55), abs=1)
    assert dice(desk.prompting.shown.mask.full((64, 80)), truth[3]) > 0.8
    soon(lambda: np.asarray(desk.layers.mask.data[3]).any())
    click(viewer, desk.layers.points, (3, 5, 5), modifier=Qt.KeyboardModifier.ShiftModifier)
    assert desk.prompting.shown.marks.points[1][2] == 0
    press(viewer, "U")
    assert len(desk.prompting.shown.marks.points) == 1
    soon(lambda: desk.prompting.shown.mask is not None)
    press(viewer, "K")
    soon(lambda: desk.prompting.book.slices_of(first) == [3])
    soon(lambda: synced(desk))
    assert dice(stored(url)[3] == first, truth[3]) > 0.8

    # propagate by key
    log.info("propagate by key")
    seen: list[int] = []
    desk.running.piece.connect(lambda i, track: seen.extend(track.slices))
    finished: list[Any] = []
    desk.running.finished.connect(lambda ids, count: finished.append((ids, count)))
    press(viewer, "G")
    soon(lambda: finished or desk.notices)
    assert not desk.notices, desk.notices
    soon(lambda: synced(desk))
    assert seen and finished[0][0] == (first,)
    found = stored(url) == first
    assert dice(found[:7], truth[:7]) > 0.8

    # correct a slice with the eraser where the model is least sure, and follow only the correction
    log.info("correct a slice")
    press(viewer, "H")
    track = desk.running.tracks[first]
    doubtful = [z for z in track.slices if track.kind(z) != SliceKind.SEED]
    least = min(doubtful, key=lambda z: (track.confidence(z), z))
    assert desk.prompting.z == least
    cells = viewer.layers["cells"]
    viewer.layers.selection.active = cells
    rows = np.nonzero(found[least])
    middle = (least, int(rows[0].mean()), int(rows[1].mean()))
    cells.mode = "erase"
    cells.brush_size = 5
    click(viewer, cells, middle)
    soon(lambda: synced(desk) and stored(url)[middle] != first)
    cells.mode = "pan_zoom"
    press(viewer, "G")
    soon(lambda: len(finished) == 2 or desk.notices)
    assert not desk.notices, desk.notices
    corrected = load_track(desk.session.editing("cells").labels, first)
    assert corrected is not None and corrected.kind(least) == SliceKind.SEED
    soon(lambda: synced(desk))
    assert stored(url)[middle] != first  # the correction stands

    # paint, undo
    log.info("paint, undo")
    cells.selected_label = first + 1
    cells.mode = "paint"
    go_to(viewer, 8)
    drag(viewer, cells, [(8, 50, 10), (8, 50, 18)])
    soon(lambda: synced(desk) and bool((stored(url)[8] == first + 1).any()))
    painted = stored(url)
    cells.mode = "pan_zoom"
    press(viewer, "Ctrl+Z")
    soon(lambda: synced(desk) and not (stored(url) == first + 1).any())
    before = stored(url)

    # close, reopen, redo
    log.info("close, reopen")
    session = desk.session
    viewer.layers.clear()
    soon(lambda: session.is_closed)
    session.close()
    desk.open(Place(url))
    soon(lambda: desk.session is not None and desk.session is not session)
    desk.use("cells")
    soon(lambda: desk.prompting is not None)
    assert desk.prompting.book.objects == [first]
    assert np.array_equal(stored(url), before)
    viewer.layers.selection.active = viewer.layers["cells"]
    press(viewer, "Ctrl+Shift+Z")
    soon(lambda: synced(desk) and np.array_equal(stored(url), painted))

    # export
    log.info("export")
    export = ExportWidget(viewer)
    export.format.setCurrentIndex(export.format.findData("tiff"))
    export.out.setText(str(tmp_path / "cells.tif"))
    export.export()
    soon(lambda: (tmp_path / "cells.tif").exists() or desk.notices)
    assert not desk.notices, desk.notices
    import tifffile

    assert np.array_equal(tifffile.imread(tmp_path / "cells.tif"), painted)

    # the journal tells all of it
    log.info("the journal")
    labels = open_volume(url).labels["cells"]
    kinds = [entry.kind for entry in history(labels)]
    for kind in ("prompt", "propagate", "undo", "redo"):
        assert kind in kinds, kinds
    desk.leave()
