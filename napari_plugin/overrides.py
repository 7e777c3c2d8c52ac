"""What depends on private parts of napari: a list of those parts, and labels edited on several levels.

Layers that show without waiting are in `onscreen`. `missing_parts` tells whether this napari has the parts; where not,
`layers` falls back to napari's own classes: complete reads that may wait, and labels that can't be edited.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.layers._scalar_field.scalar_field import ScalarFieldSlicingState
from napari.layers.labels._labels_constants import Mode
from napari.layers.labels._labels_mouse_bindings import draw
from napari.layers.labels.labels import _LabelsSlicingState
from napari.utils.notifications import show_info

from napari_plugin.onscreen import LazyImage, Stepped, at_once, coarse_index
from napari_plugin.pyramid import EditablePyramid
from napari_plugin.steps import Fill, Stamp, Step
from volseg.geometry import Region, coarsened, intersection, region_origin, slices

_FLAT = (
    "Painting, erasing and filling work in the 2D view: Ctrl+Y, or the cube below the list of layers, goes there. "
    "In 3D pick objects, and merge, delete or classify them."
)
__all__ = ["PARTS", "EditableLabels", "EditablePyramid", "LazyImage", "missing_parts"]

PARTS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "slicing state of images": (Image, "_get_layer_slicing_state", ("data", "cache")),
    "slicing state of labels": (Labels, "_get_layer_slicing_state", ("data", "cache")),
    "slice requests": (ScalarFieldSlicingState, "_make_slice_request_internal", ("slice_input",)),
    "moving along an axis": (Image, "_slice_dims", ("dims", "force")),
    "telling the screen": (Image, "_refresh_sync", ("thumbnail", "data_displayed")),
    "before drawing": (Image, "_update_draw", ()),
    "thumbnails": (Labels, "_update_thumbnail", ()),
    "kind of layer": (Labels, "_type_string", ()),
    "check of labels": (Labels, "_ensure_int_labels", ("data",)),
    "reset of editable": (Labels, "_reset_editable", ()),
    "painting": (
        Labels,
        "_paint_region_with_mask",
        ("slice_key", "mask", "new_label", "dims_to_paint", "refresh"),
    ),
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


def _draw_in_plane(layer: Any, event: Any) -> Iterator[None]:
    """Draw with the mouse where a plane is shown.

    In 3D napari would look for the voxel under the mouse by reading voxels along the ray, which waits for the store,
    and what is on the screen is too coarse to tell where a person means to paint.
    """
    if len(event.dims_displayed) == 3:
        show_info(_FLAT)
        return
    yield from draw(layer, event)


class EditableLabels(Stepped, Labels):
    """A multiscale labels layer over an `EditablePyramid`, painted at any zoom level.

    Strokes, fills and undo go to the label image's own thread; napari's own history is not used.
    """

    _drag_modes = {
        **getattr(Labels, "_drag_modes", {}),
        **dict.fromkeys((Mode.PAINT, Mode.ERASE, Mode.FILL), _draw_in_plane),
        Mode.PICK: _pick,
    }

    def __init__(self, data: EditablePyramid, **options: Any) -> None:
        self._steps: list[Step] = []
        self._block_history = False
        self._updated_slice: tuple[slice, ...] | None = None
        super().__init__(data, multiscale=True, **options)

    @property
    def _type_string(self) -> str:
        return "labels"

    def _get_layer_slicing_state(self, data: Any, cache: bool) -> Any:
        return at_once(_LabelsSlicingState)(self, data, cache)

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
        inner = slices(part, region_origin(shown))
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
        point = np.nan_to_num(coarse_index(point, spans, self.level_shapes[level])).astype(int)
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
            inner = slices(part, region_origin(region))
            where = tuple(inner[d - extra] for d in displayed)
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
