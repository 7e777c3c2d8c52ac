"""Dropping a volume: a real drop event on napari's window and on the panel, and the manifest that leads there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.napari_plugin.places import make_volume
from tests.napari_plugin.window import wait_for

MANIFEST = PROJECT / "napari_plugin" / "napari.yaml"


@pytest.fixture
def plugin(npe2pm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """volseg's manifest as napari sees it when it is installed."""
    from npe2 import PluginManifest

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    return npe2pm


def drop(widget: Any, *, urls: list[str] | None = None, text: str | None = None) -> bool:
    """Drag something over a widget and drop it there; return whether the widget takes it."""
    from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
    from qtpy.QtGui import QDragEnterEvent, QDropEvent
    from qtpy.QtWidgets import QApplication

    data = QMimeData()
    if urls is not None:
        data.setUrls([QUrl(one) if "://" in one else QUrl.fromLocalFile(f"{one}/") for one in urls])
    if text is not None:
        data.setText(text)
    how = (Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton)
    entering = QDragEnterEvent(QPoint(9, 9), *how, Qt.KeyboardModifier.NoModifier)
    entering.setAccepted(False)
    QApplication.sendEvent(widget, entering)
    dropping = QDropEvent(QPointF(9, 9), *how, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(widget, dropping)
    return bool(entering.isAccepted())


def test_the_manifest_passes_npe2s_own_command() -> None:
    npe2 = Path(sys.executable).with_name("npe2")
    done = subprocess.run(
        [npe2, "validate", str(MANIFEST)], capture_output=True, text=True, cwd=PROJECT, timeout=60
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "valid" in said, said


def test_a_folder_dropped_on_the_window_is_opened_for_editing(
    make_napari_viewer: Callable[..., Any], plugin: Any, tmp_path: Path
) -> None:
    from napari_plugin.desk import desk_of
    from napari_plugin.opening import Places

    url = str(tmp_path / "v.zarr")
    make_volume(url).create_labels("cells")
    viewer = make_napari_viewer(show=True)
    desk = desk_of(viewer)
    desk.places = Places(tmp_path / "places.json")
    assert drop(viewer.window._qt_viewer, urls=[url])
    wait_for(lambda: desk.session is not None)
    assert [layer.name for layer in viewer.layers] == ["v.zarr", "cells"]
    assert viewer.layers["cells"].editable and desk.notices == []
    session = desk.session
    assert session is not None and Path(session.url.removeprefix("file://")) == Path(url)
    desk.leave()
    session.close()


def test_an_address_dropped_on_the_panel_is_opened(
    make_napari_viewer: Callable[..., Any], plugin: Any, s3_url: str, tmp_path: Path
) -> None:
    from napari_plugin.desk import desk_of
    from napari_plugin.opening import Places

    make_volume(f"{s3_url}/v.zarr")
    viewer = make_napari_viewer(show=True)
    desk = desk_of(viewer)
    desk.places = Places(tmp_path / "places.json")
    _, panel = viewer.window.add_plugin_dock_widget("volseg", "Open volume")
    assert drop(panel, text=f"  {s3_url}/v.zarr\n")
    wait_for(lambda: desk.session is not None)
    session = desk.session
    assert session is not None and session.url == f"{s3_url}/v.zarr"
    assert desk.places.all()[0].url == f"{s3_url}/v.zarr"
    # what is no volume is told, and what was open stays
    assert drop(panel, urls=[str(tmp_path)])
    wait_for(lambda: bool(desk.notices))
    assert desk.session is session
    assert not drop(panel)
    desk.leave()
    session.close()
