"""The panels in a real window: opening, notices, export, report, keys and the sample, by the names in the manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_plugin.opening import Place, Places
from tests.conftest import PROJECT
from tests.napari_plugin.places import make_volume
from tests.napari_plugin.window import serve, wait_for
from volseg.errors import ExistsError
from volseg.images.image import open_volume

WHOLE = ((0, 10), (0, 64), (0, 80))


@pytest.fixture
def plugin(npe2pm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """volseg's manifest as napari sees it when it is installed."""
    from npe2 import PluginManifest

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    manifest = PluginManifest.from_file(PROJECT / "napari_plugin" / "napari.yaml")
    npe2pm.register(manifest)
    return npe2pm


def labelled(url: str) -> None:
    labels = make_volume(url).create_labels("cells")
    ids = np.zeros((10, 64, 80), np.uint32)
    ids[2:5, 10:30, 20:44] = 7
    labels.write_objects(WHOLE, ids)
    from volseg.images.scan import scan_objects

    labels.objects.replace(scan_objects(labels))


def test_panels_open_browse_export_and_report(
    make_napari_viewer: Callable[..., Any], plugin: Any, tmp_path: Path
) -> None:
    from qtpy.QtGui import QGuiApplication

    from napari_plugin.notices_widget import NoticeDialog
    from napari_plugin.widgets import desk_with_notices

    labelled(str(tmp_path / "lab" / "v.zarr"))
    viewer = make_napari_viewer(show=True)
    panels = {}
    for name in ("Open volume", "Prompt and propagate", "Export labels", "Keys", "Send feedback"):
        _, panels[name] = viewer.window.add_plugin_dock_widget("volseg", name)
    desk = desk_with_notices(viewer)
    assert all(getattr(one, "desk", desk) is desk for one in panels.values())

    # browsing a folder, then its volume
    opening = panels["Open volume"]
    opening.url.setEditText(str(tmp_path / "lab"))
    opening.browse_button.click()
    wait_for(lambda: opening.entries.count() == 1)
    opening.entries.itemActivated.emit(opening.entries.item(0))
    wait_for(lambda: desk.session is not None)
    assert [one.name for one in viewer.layers][-1] == "cells"
    assert desk.places.all()[0].name == "v.zarr"

    # an export in every format that the list offers would be long: one file, one folder, one refusal
    export = panels["Export labels"]
    for name, out in (("csv", tmp_path / "cells.csv"), ("png", tmp_path / "png")):
        export.format.setCurrentIndex(export.format.findData(name))
        export.out.setText(str(out))
        export.button.click()
        wait_for(lambda out=out: str(out.name) in export.status.text())
    assert "7" in (tmp_path / "cells.csv").read_text("utf-8")
    export.button.click()
    wait_for(lambda: bool(desk.notices))
    notice = desk.notices[-1]
    assert notice.title.startswith("This does not work as given: exporting cells")

    # the notice has its details on the clipboard
    dialog = next(
        one for one in viewer.window._qt_window.findChildren(NoticeDialog) if one.notice is notice
    )
    dialog.copy_button.click()
    copied = QGuiApplication.clipboard().text()
    assert ExistsError.__name__ in copied and notice.text in copied
    dialog.close()

    report = panels["Send feedback"]
    report.said.setPlainText("it does not export twice")
    report.save(str(tmp_path / "report.txt"))
    text = (tmp_path / "report.txt").read_text("utf-8")
    assert "it does not export twice" in text and "v.zarr" in text and "napari 0.9" in text
    assert "Propagating" in panels["Keys"].widget().text()
    session = desk.session
    desk.leave()
    session.close()


def test_what_can_not_be_opened_is_told(
    make_napari_viewer: Callable[..., Any], tmp_path: Path
) -> None:
    from napari_plugin.desk import desk_of

    viewer = make_napari_viewer()
    desk = desk_of(viewer)
    desk.places = Places(tmp_path / "places.json")
    desk.open(Place(str(tmp_path / "nowhere.zarr")))
    wait_for(lambda: bool(desk.notices))
    assert desk.notices[0].title.startswith("Not found: opening")
    desk.act("propagate")
    assert "choose a label image" in desk.notices[1].text
    assert desk.places.all() == []
    assert desk_of(viewer) is desk


def test_the_sample_opens_offline_with_prompts(
    make_napari_viewer: Callable[..., Any], plugin: Any
) -> None:
    from napari_plugin.desk import desk_of
    from napari_plugin.promptstore import load_objects

    viewer = make_napari_viewer()
    desk = desk_of(viewer)
    viewer.open_sample("volseg", "touching-cells")  # made beside the window, which goes on
    wait_for(lambda: {"cells", "truth"} <= {one.name for one in viewer.layers}, 60)
    assert desk.session is not None
    stored = load_objects(open_volume(desk.session.url).labels["cells"])
    truth = viewer.layers["truth"].data
    for one in stored.values():
        y0, x0, y1, x1 = one.prompts[0].box  # type: ignore[misc]
        part = truth[one.prompts[0].z, int(y0) : int(y1), int(x0) : int(x1)]
        assert (part == one.id).any()
    session = desk.session
    desk.use("cells")
    wait_for(lambda: desk.prompting is not None)
    assert desk.prompting.book.objects == sorted(stored)
    wait_for(lambda: desk.zoom > 1, 120)  # found beside the window, from the boxes
    assert desk.zooms.asked == "auto" and desk.choice().zoom == desk.zoom
    serve(0.1)
    desk.leave()
    session.close()
