"""Layers that show at once what is in memory, and step through slices without holding up the window. Needs private
parts of napari; `overrides` lists them.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from napari.layers import Image

from napari_plugin.gui import Soon
from napari_plugin.levels import showing

_REST_S = 0.3


def at_once(kind: type) -> type:
    """Return a slicing state whose requests are answered from what is in memory."""

    class Request(kind._slice_request_class):  # type: ignore[name-defined]
        def __call__(self) -> Any:
            with showing():
                return super().__call__()

        def _thick_slice_at_level(self, level: int) -> Any:
            """Show the coarse slice that the point lies in; napari rounds to the one whose corner is nearest."""
            values = self.data_slice.as_array()
            spans = np.ones(values.shape[1])
            spans[-3:] = self.data_at_data_level.tiles.levels[level].factors
            values[0] = coarse_index(values[0], spans, self.level_shapes[level])
            values[1:] /= spans
            return type(self.data_slice).from_array(values)

    class State(kind):
        _slice_request_class = Request

    return State


def coarse_index(point: np.ndarray, spans: np.ndarray, shape: Any) -> np.ndarray:
    """Return the voxel of a level that a point of level 0 lies in; NaN stays."""
    index: np.ndarray = np.clip(np.floor((np.round(point) + 0.5) / spans), 0, np.asarray(shape) - 1)
    return index


class Stepped:
    """Parts a step along an axis in two: the new slice at once, and in the next turn of the event loop its drawing.

    So keys and mouse are served in between, several steps that come faster than the screen can draw are drawn once,
    and thumbnails wait until scrolling rests. Whoever draws meanwhile, or takes a screenshot, gets the new slice.
    """

    def __init__(self, *values: Any, **options: Any) -> None:
        self._from_plane: tuple[int, ...] | None = None
        self._untold = False
        self._stepped_at = 0.0
        self._next_turn = Soon(self._tell, 1)  # with 0 Qt would call it before it looks for input
        self._rest = Soon(self._rested, int(_REST_S * 1e3))
        super().__init__(*values, **options)

    def _slice_dims(self, dims: Any, force: bool = False) -> None:
        self._from_plane = None if force else self._axes_in_plane()
        try:
            super()._slice_dims(dims=dims, force=force)  # type: ignore[misc]
        finally:
            self._from_plane = None

    def _axes_in_plane(self) -> tuple[int, ...] | None:
        """Return the axes of the plane that is shown; None where a volume is."""
        shown = self._slice_input  # type: ignore[attr-defined]
        return tuple(shown.displayed) if shown.ndisplay == 2 else None

    def _refresh_sync(
        self, *, thumbnail: bool = False, data_displayed: bool = False, **what: Any
    ) -> None:
        if (
            data_displayed
            and self._from_plane is not None
            and self._from_plane == self._axes_in_plane()
        ):
            what["extent"] = False  # the same in every slice
            self._stepped_at = time.monotonic()
            if self._next_turn.ask() and self._rest.ask():
                self._untold = True
                thumbnail = data_displayed = False
        if data_displayed:
            self._untold = False
        super()._refresh_sync(thumbnail=thumbnail, data_displayed=data_displayed, **what)  # type: ignore[misc]

    def show_loaded(self) -> None:
        """Draw what came into memory; the thumbnail follows once nothing more comes."""
        self._stepped_at = time.monotonic()
        with self._list_untouched():
            self.refresh(extent=False, highlight=False, thumbnail=not self._rest.ask())  # type: ignore[attr-defined]

    def _update_draw(self, *values: Any, **options: Any) -> None:
        self._tell()
        super()._update_draw(*values, **options)  # type: ignore[misc]

    def _tell(self) -> None:
        if self._untold:
            with self._list_untouched():
                self._refresh_sync(data_displayed=True)

    def _list_untouched(self) -> Any:
        """Return a context in which the layer's events reach who asked for them by name, as the canvas does.

        The window's list of layers asks for all of them and would redraw its rows, in which nothing has changed.
        """
        return self.events.blocker()  # type: ignore[attr-defined]

    def _rested(self) -> None:
        if time.monotonic() - self._stepped_at < _REST_S:
            self._rest.ask()
        elif self.visible:  # type: ignore[attr-defined]
            self._update_thumbnail()  # type: ignore[attr-defined]


class LazyImage(Stepped, Image):
    """An image layer whose slices are what is in memory; what is missing comes later."""

    @property
    def _type_string(self) -> str:
        return "image"

    def _get_layer_slicing_state(self, data: Any, cache: bool) -> Any:
        own = super()._get_layer_slicing_state(data, cache)
        return at_once(type(own))(self, data, cache)
