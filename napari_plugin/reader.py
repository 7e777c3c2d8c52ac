"""The reader of `*.zarr`: in a window volumes are opened on another thread, to be edited; in a script read lazily."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from napari_plugin.gui import in_gui
from napari_plugin.preload import load_layers
from napari_plugin.samples import URI, show_sample, touching_cells
from volseg.errors import InputError

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Any]] | None:
    """Return a reading function for an OME-Zarr image at a path or URL, None for anything else (npe2's contract).

    Parameters
    ----------
    path
        One path or URL. A list is several images: those are opened one by one by napari itself.
    """
    if not isinstance(path, str):
        return None
    if path == URI or (_window() is not None and "://" in path):
        return _read  # what is there is found out on another thread
    from volseg.images.image import open_volume

    try:
        open_volume(path)
    except InputError:
        return None
    return _read


def _read(path: str | list[str]) -> list[Any]:
    """Return layer data; in a window nothing, and add the layers when the volume is open."""
    viewer, url = _window(), str(path)
    if viewer is None:
        return _layers(url)

    def load() -> None:
        import napari_plugin.widgets  # noqa: F401 - imports for a second

        load_layers()
        in_gui(lambda: _show(viewer, url))

    threading.Thread(target=load, name="volseg-load", daemon=True).start()
    return [(None,)]  # napari's sign for "it is taken care of"


def _layers(url: str) -> list[LayerData]:
    from napari_plugin.layers import layers_of
    from volseg.images.image import open_volume

    return touching_cells() if url == URI else list(layers_of(open_volume(url)))


def _show(viewer: Any, url: str) -> None:
    from napari_plugin.opening import Place
    from napari_plugin.widgets import desk_with_notices

    if url == URI:
        show_sample(viewer)
    else:
        desk_with_notices(viewer).open(Place(url))


def _window() -> Any:
    """Return the viewer whose window people look at, None in a script without one."""
    if "qtpy" not in sys.modules or "napari" not in sys.modules:
        return None
    from napari import current_viewer
    from qtpy.QtWidgets import QApplication

    return current_viewer() if QApplication.instance() is not None else None
