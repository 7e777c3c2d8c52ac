"""All that depends on private parts of napari: layers that show without waiting, and labels edited on several levels.

`missing_parts` tells whether this napari has them; where not, `layers` falls back to napari's own classes: complete
reads that may wait, and labels that can't be edited.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.layers._multiscale_data import MultiScaleData
from napari.layers._scalar_field.scalar_field import ScalarFieldSlicingState
from napari.layers.labels._labels_constants import Mode
from napari.layers.labels.labels import _LabelsSlicingState

from napari_plugin.editable import LabelTiles
from napari_plugin.levels import LevelView, showing
from napari_plugin.steps import Fill, Stamp, Step
from volseg.editing.editor import Editor
from volseg.errors import InputError
from volseg.volume.blocks import Region, coarsened, intersection, shifted, slices

PARTS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "slicing state of images": (Image, "_get_layer_slicing_state", ("data", "cache")),
    "slicing state of labels": (Labels, "_get_layer_slicing_state", ("data", "cache")),
    "slice requests": (ScalarFieldSlicingState, "_make_slice_request_internal", ("slice_input",)),
    "kind of layer": (Labels, "_type_string", ()),
    "check of labels": (Labels, "_ensure_int_labels", ("data",)),
    "reset of editable": (Labels, "_reset_editable", ()),
    "painting": (
        Labels,
        "_paint_region_with_mask",
        ("slice_key", "mask", "new_label", "dims_to_paint", "refresh"),
    ),
    "drawing": (Labels, "_draw", ("new_label", "last_cursor_coord", "coordinates")),
    "painted dimensions": (Labels, "_get_shape_and_dims_to_paint", ()),
    "check of coordinates": (
        Labels,
        "_validate_non_painted_coord",
        ("slice_coord", "dims_to_paint"),
    ),
    "protected ids": (Labels, "_get_preserve_labels_source_label", ("new_label",)),
    "begin of a stroke": (Labels, "_begin_stroke", ()),
    "end of a stroke": (Labels, "_commit_stroke", ()),
    "end without a stroke": (Labels, "_abort_stroke", ()),
    "partial refresh": (Labels, "_partial_labels_refresh", ()),
    "drag modes": (Labels, "_drag_modes", ()),
}
"""Private parts by what they are for: the class, the attribute, and parameters that it must take."""


def missing_parts() -> list[str]:
    """Return what this napari lacks of the private parts that the classes here build on; empty if nothing."""
    missing = []
    for what, (owner, name, parameters) in PARTS.items():
        found = getattr(owner, name, None)
        if found is None:
            missing.append(f"{what} ({owner.__name__}.{name})")
        elif parameters and callable(found):
            takes = inspect.signature(found).parameters
            missing += [
                f"{what} ({owner.__name__}.{name} takes no {p})"
                for p in parameters
                if p not in takes
            ]
    return missing


def _at_once(kind: type) -> type:
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
            values[0] = _coarse_index(values[0], spans, self.level_shapes[level])
            values[1:] /= spans
            return type(self.data_slice).from_array(values)

    class State(kind):
        _slice_request_class = Request

    return State


def _coarse_index(point: np.ndarray, spans: np.ndarray, shape: Any) -> np.ndarray:
    """Return the voxel of a level that a point of level 0 lies in; NaN stays."""
    index: np.ndarray = np.clip(np.floor((np.round(point) + 0.5) / spans), 0, np.asarray(shape) - 1)
    return index


def _pick(layer: Any, event: Any) -> None:
    """Select the id under the mouse, at the finest level that is in memory there; in 3D the first along the ray."""
    if len(event.dims_displayed) == 3:
        value = layer.get_value(
            event.position,
            view_direction=event.view_direction,
            dims_displayed=event.dims_displayed,
            world=True,
        )
        layer.selected_label = int((value[1] if isinstance(value, tuple) else value) or 0)
        return
    point = np.round(layer.world_to_data(event.position)).astype(int)
    if all(0 <= p < n for p, n in zip(point, layer.data.shape, strict=True)):
        time = int(point[0]) if layer.ndim == 4 else 0
        (z, y, x) = ((int(p), int(p) + 1) for p in point[-3:])
        layer.selected_label = int(layer.data.tiles.show_point(time, (z, y, x)))


class EditablePyramid(MultiScaleData):
    """What napari takes as multiscale data: levels by number; by any other key the voxels of level 0.

    Reading voxels waits for all edits before it; writing is queued. Axes are (t,) z, y, x.

    Parameters
    ----------
    tiles
        Of the label image.
    axes
        "tzyx" or "zyx".
    shapes
        Of the levels.
    """

    def __init__(self, tiles: LabelTiles, axes: str, shapes: Sequence[tuple[int, ...]]) -> None:
        self.tiles = tiles
        self.axes = axes
        super().__init__([LevelView(tiles, i, axes, shape) for i, shape in enumerate(shapes)])

    def __deepcopy__(self, memo: dict[int, Any]) -> EditablePyramid:
        return self  # napari copies layers

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer, slice)):
            return self._data[key]
        editing = self.tiles.editing
        if editing is None:
            return np.asarray(self._data[0])[key]
        return editing.submit(lambda editor: self._read(editor, key), "read").result()

    def __setitem__(self, key: Any, value: Any) -> None:
        value = np.array(value)
        self.tiles.edit.submit(lambda editor: self._write(editor, key, value), "assign")

    def _read(self, editor: Editor, key: Any) -> Any:
        if "t" not in self.axes:
            return editor[key]
        times = self._times(key)
        blocks = [self._at(editor, t)[key[1:]] for t in times]
        return blocks[0] if isinstance(key[0], (int, np.integer)) else np.stack(blocks)

    def _write(self, editor: Editor, key: Any, value: np.ndarray) -> None:
        if "t" not in self.axes:
            editor[key] = value
            return
        with editor.stroke("assign"):
            for at, t in enumerate(self._times(key)):
                whole = isinstance(key[0], (int, np.integer)) or value.ndim < self.ndim
                self._at(editor, t)[key[1:]] = value if whole else value[at]

    def _times(self, key: Any) -> Iterator[int]:
        if not isinstance(key, tuple) or not isinstance(key[0], (int, np.integer, slice)):
            raise InputError("labels with a time axis are indexed as [time, z, y, x]")
        first = key[0]
        if isinstance(first, slice):
            return iter(range(*first.indices(self._data[0].shape[0])))
        return iter([int(first)])

    @staticmethod
    def _at(editor: Editor, time: int) -> Editor:
        editor.time = time
        return editor


class LazyImage(Image):
    """An image layer whose slices are what is in memory; what is missing comes later."""

    @property
    def _type_string(self) -> str:
        return "image"

    def _get_layer_slicing_state(self, data: Any, cache: bool) -> Any:
        own = super()._get_layer_slicing_state(data, cache)
        return _at_once(type(own))(self, data, cache)


class EditableLabels(Labels):
    """A multiscale labels layer over an `EditablePyramid`, painted at any zoom level.

    Strokes, fills and undo go to the label image's own thread; napari's own history is not used.
    """

    _drag_modes = {**getattr(Labels, "_drag_modes", {}), Mode.PICK: _pick}

    def __init__(self, data: EditablePyramid, **options: Any) -> None:
        self._steps: list[Step] = []
        self._block_history = False
        self._updated_slice: tuple[slice, ...] | None = None
        super().__init__(data, multiscale=True, **options)

    @property
    def _type_string(self) -> str:
        return "labels"

    def _get_layer_slicing_state(self, data: Any, cache: bool) -> Any:
        return _at_once(_LabelsSlicingState)(self, data, cache)

    def _ensure_int_labels(self, data: Any) -> Any:
        return data if isinstance(data, EditablePyramid) else super()._ensure_int_labels(data)

    def _reset_editable(self) -> None:
        self.editable = self.data.tiles.editing is not None

    # --- what people do

    def undo(self) -> None:
        """Take back the last operation of the label image, in whatever session it was done."""
        self._end_stroke()
        self.data.tiles.edit.undo()

    def redo(self) -> None:
        """Do again what was last undone."""
        self._end_stroke()
        self.data.tiles.edit.redo()

    def fill(self, coord: Any, new_label: int, refresh: bool = True) -> None:
        """Give the region around a voxel another id; looked for on the label image's thread."""
        self._validate_label_in_range(new_label)
        _, painted = self._get_shape_and_dims_to_paint()
        point = [int(np.round(c)) for c in coord]
        self._validate_non_painted_coord(point, painted)
        if not self.editable or any(
            not 0 <= p < n for p, n in zip(point, self.data.shape, strict=True)
        ):
            return
        extra = self.ndim - 3
        step = Fill(
            time=point[0] if extra else 0,
            point=(point[-3], point[-2], point[-1]),
            value=int(new_label),
            axes=tuple(d - extra for d in painted if d >= extra),
            contiguous=self.contiguous,
            only=self._only(new_label),
        )
        self._add(step)

    def data_setitem(self, indices: Any, value: Any, refresh: bool = True) -> None:
        """Set single voxels, as one step of undo."""
        self.data[tuple(np.asarray(i) for i in indices)] = value

    def _draw(self, new_label: int, last_cursor_coord: Any, coordinates: Any) -> None:
        if self._slice_input.ndisplay == 2:  # in 3D napari looks at single voxels, which would wait
            super()._draw(new_label, last_cursor_coord, coordinates)

    def _paint_region_with_mask(
        self,
        slice_key: tuple[slice, ...],
        mask: np.ndarray,
        new_label: int,
        dims_to_paint: list[int],
        refresh: bool = True,
        region_data: np.ndarray | None = None,
    ) -> None:
        """Take a brush, a polygon or an encircled area: all of napari's painting comes through here."""
        if not self.editable:
            return
        mask = np.expand_dims(mask, tuple(d for d in range(self.ndim) if d not in dims_to_paint))
        times = range(slice_key[0].start, slice_key[0].stop) if self.ndim == 4 else range(1)
        region = tuple((s.start, s.stop) for s in slice_key[-3:])
        for at, time in enumerate(times):
            stamp = Stamp(
                time,
                (region[0], region[1], region[2]),
                np.array(mask[at] if self.ndim == 4 else mask, dtype=bool),
                int(new_label),
                self._only(new_label),
            )
            self.data.tiles.add_draft(stamp)
            self._add(stamp)
            self._draw_on_screen(stamp)
        if refresh:
            self._partial_labels_refresh()

    def _only(self, new_label: int) -> int | None:
        if not self.preserve_labels:
            return None
        return int(self._get_preserve_labels_source_label(new_label))

    # --- strokes

    def _add(self, step: Step) -> None:
        self._steps.append(step)
        if not self._block_history:
            self._end_stroke()

    def _end_stroke(self) -> None:
        steps, self._steps = self._steps, []
        if steps:
            kind = "fill" if isinstance(steps[0], Fill) else "paint" if steps[0].value else "erase"
            self.data.tiles.paint(steps, kind)

    @contextmanager
    def block_history(self) -> Iterator[None]:
        """Group painting into one step of undo."""
        before, self._block_history = self._block_history, True
        try:
            yield
        finally:
            self._block_history = before
            if not before:
                self._end_stroke()

    def _begin_stroke(self) -> None:
        self._block_history = True

    def _commit_stroke(self) -> None:
        self._block_history = False
        self._end_stroke()

    def _abort_stroke(self) -> None:
        self._block_history = False
        steps, self._steps = self._steps, []
        self.data.tiles.drop_drafts(steps)
        self.refresh(extent=False)

    # --- the screen

    def show_changes(self, time: int, region: Region) -> None:
        """Draw a changed region of level 0 anew, if it is on the screen; in the GUI thread."""
        found = self._on_screen()
        if found is None:
            self.refresh(extent=False)
            return
        level, now, block, shown, put = found
        part = intersection(coarsened(region, self.data.tiles.factors[level]), shown)
        if part is None or time != now:
            return
        inner = slices(shifted(part, [-a for a, _ in shown]))
        block[inner] = self.data.tiles.show(level, time, 0, part)
        put(part)
        self._partial_labels_refresh()

    def _draw_on_screen(self, stamp: Stamp) -> None:
        """Draw a stamp into the tile that is on the screen; what it hits is known better later."""
        found = self._on_screen()
        if found is None:
            return
        level, now, block, shown, put = found
        if stamp.time == now:
            part = stamp.apply(block, shown, self.data.tiles.factors[level])
            if part is not None:
                put(part)

    def _on_screen(
        self,
    ) -> tuple[int, int, np.ndarray, Region, Callable[[Region], None]] | None:
        """Return level, time, voxels (z, y, x, to be written to) and region on the screen, and how to draw a part.

        None where no slice is shown, or one that is not of z, y and x.
        """
        response = self._slice
        if not self._slicing_state.loaded or response.empty or not self.visible:
            return None
        displayed = list(self._slice_input.displayed)
        extra = self.ndim - 3
        level, raw = self._data_level, response.image.raw
        scale = np.asarray(response.tile_to_data.scale)
        factors = self.downsample_factors[level]
        if min(displayed) < extra or not np.allclose(scale[displayed], factors[displayed]):
            return None
        start = np.round(np.asarray(response.tile_to_data.translate) / scale).astype(int)
        spans = np.ones(self.ndim)
        spans[-3:] = self.data.tiles.levels[level].factors
        point = np.asarray(self.world_to_data(response.slice_input.world_slice.point))
        point = np.nan_to_num(_coarse_index(point, spans, self.level_shapes[level])).astype(int)
        ranges = [
            (int(start[d]), int(start[d]) + raw.shape[displayed.index(d)])
            if d in displayed
            else (int(point[d]), int(point[d]) + 1)
            for d in range(self.ndim)
        ]
        region: Region = (ranges[-3], ranges[-2], ranges[-1])
        block = raw.transpose(np.argsort(displayed))
        hidden = tuple(d - extra for d in range(extra, self.ndim) if d not in displayed)
        block = np.expand_dims(block, hidden)

        def put(part: Region) -> None:
            inner = shifted(part, [-a for a, _ in region])
            where = tuple(slice(*inner[d - extra]) for d in displayed)
            if self.contour == 0:
                response.image.view[where] = self.colormap._data_to_texture(raw[where])
            self._mark(dict(zip(displayed, where, strict=True)), raw.shape, displayed)

        return level, int(point[0]) if extra else 0, block, region, put

    def _mark(self, where: dict[int, slice], shape: tuple[int, ...], displayed: list[int]) -> None:
        """Have a part of the slice on the screen uploaded at the next partial refresh."""
        wide = int(self.contour)
        marked = [slice(0, 1)] * self.ndim
        before = self._updated_slice
        for at, d in enumerate(displayed):
            low, high = where[d].start - wide, where[d].stop + wide
            if before is not None:
                low, high = min(low, before[d].start), max(high, before[d].stop)
            marked[d] = slice(max(0, low), min(high, shape[at]))
        self._updated_slice = tuple(marked)
