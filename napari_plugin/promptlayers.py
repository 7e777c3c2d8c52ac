"""The layers of prompting: marks as points and shapes, the mask and what is being propagated as labels. No widgets.

The layer of prompts is what a person selects to prompt; its mouse and keys are the tools. Everything shown here comes
from the models and is drawn anew when they change.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info

from napari_plugin.marks import Marks
from napari_plugin.sparse import SparseMasks
from volseg.errors import InputError

if TYPE_CHECKING:
    from napari_plugin.prompting import Prompting
    from napari_plugin.running import Running
    from volseg.images.labels import Labels

PROMPTS, SHAPES, MASK, FOUND = "prompts", "prompt shapes", "mask", "propagating"
INSIDE, OUTSIDE, SHOWN = "#30d158", "#ff453a", "#40c8ff"
MARK_PX = (8, 14)  # marks on the screen, however far it is zoomed
CLICK_PX = 4.0  # a press that moves less is a click
LARGEST_PLANE = 4096 * 4096  # larger slices are shown by levels
MASK_ID = 1
Place = tuple[float, float, float]
"""z, y, x in voxels of level 0."""
FLAT = "Marks are placed in the 2D view: Ctrl+Y, or the cube below the list of layers, goes there; nothing was marked"
ALONG_Z = "Ctrl+E rolls the axes until slices along z are shown"


class PromptLayers:
    """The layers of one label image's prompting in a viewer.

    Parameters
    ----------
    viewer
        The viewer.
    prompting, running
        The models.
    """

    def __init__(self, viewer: Any, prompting: Prompting, running: Running) -> None:
        from napari.layers import Labels, Points, Shapes
        from napari.utils import CyclicLabelColormap
        from napari.utils.colormaps.standardize_color import transform_color

        self.viewer, self.prompting, self.running = viewer, prompting, running
        self._drawn: Marks | None = None  # the box or scribble under the mouse
        self._point_colors: list[str] = []
        self._shape_looks: tuple[list[str], list[str]] = ([], [])
        labels = prompting.editing.labels
        factors = _factors(labels)
        self._masks = SparseMasks(labels.shape, factors, np.dtype(np.uint8))
        running.preview.use_levels(factors)
        placed = {
            "scale": labels.scale,
            "translate": labels.levels[0].translation,
            "units": ("micrometer",) * 3,
            "axis_labels": ("z", "y", "x"),
            "metadata": {"volseg": {"url": labels.volume_location.url, "prompts": labels.name}},
        }
        self.found = Labels(_data(running.preview), name=FOUND, opacity=0.45, **placed)
        # a colour for each id would be looked up by what numba compiles in the GUI thread; here is one id
        seen = CyclicLabelColormap(colors=transform_color(["transparent", SHOWN]))
        self.mask = Labels(_data(self._masks), name=MASK, opacity=0.5, colormap=seen, **placed)
        self.shapes = Shapes(None, ndim=3, name=SHAPES, **placed)
        self.points = Points(None, ndim=3, name=PROMPTS, size=6, border_width=0.1, **placed)
        self.points.out_of_slice_display = False
        self.points.canvas_size_limits = MARK_PX
        for layer in (self.found, self.mask):
            layer.editable = False
        self.points.mouse_drag_callbacks.append(self._on_drag)

    @property
    def all(self) -> tuple[Any, ...]:
        """The layers, lowest first."""
        return self.found, self.mask, self.shapes, self.points

    @property
    def active(self) -> bool:
        """Whether the person is prompting."""
        return self.viewer.layers.selection.active is self.points

    def add(self) -> Iterator[None]:
        """Add the layers to the viewer, one at each step: each takes napari a moment."""
        for layer in self.all:
            if layer is not self.found:
                yield
            self.viewer.add_layer(layer)
        self.draw()

    def select(self) -> None:
        """Make the layer of prompts the selected one."""
        self.viewer.layers.selection.active = self.points

    def remove(self) -> None:
        """Take the layers out of the viewer."""
        with self.viewer.layers.batched_update():  # napari collects garbage once, not with each
            for layer in self.all:
                if layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)

    def close(self) -> None:
        """End the model's process and the runs, on threads of their own."""
        for end, name in (self.prompting.model.close, "model"), (self.running.close, "runs"):
            threading.Thread(target=end, name=f"volseg-close-{name}").start()

    # --- drawing

    def draw(self) -> None:
        """Show the marks and the mask of the slice in view; napari draws anew only what is another."""
        self._draw_points()
        self._draw_shapes()
        if self.running.preview.show_time(self.prompting.time):
            self.draw_found()
        self._draw_mask()

    def draw_found(self) -> None:
        """Show what was propagated just now."""
        self.found.refresh(extent=False)

    def _draw_mask(self) -> None:
        mask, z = self.prompting.shown.mask, self.prompting.z
        here = self._masks.on_slice(z).get(MASK_ID)
        if here is mask and self._masks.slices == ([] if here is None else [z]):
            return
        self._masks.remove()
        self._masks.put(z, MASK_ID, mask)
        self.mask.refresh(extent=False)

    def _draw_points(self) -> None:
        marks, z = self.prompting.shown.marks.points, self.prompting.z
        places = np.array([(z, y, x) for y, x, _ in marks], float).reshape(-1, 3)
        colors = [INSIDE if inside else OUTSIDE for _, _, inside in marks]
        if colors == self._point_colors and np.array_equal(self.points.data, places):
            return
        self._point_colors = colors
        self.points.data = places
        if colors:
            self.points.face_color = colors
            self.points.selected_data = set()

    def _draw_shapes(self) -> None:
        marks, z = self._drawn or self.prompting.shown.marks, self.prompting.z
        shapes, kinds, colors = [], [], []
        if marks.box is not None:
            shapes.append(_corners(z, marks.box))
            kinds.append("rectangle")
            colors.append(INSIDE)
        for one in marks.scribbles:
            path = list(one.path) * (2 if len(one.path) == 1 else 1)
            shapes.append(np.array([(z, y, x) for y, x in path], float))
            kinds.append("path")
            colors.append(INSIDE if one.label else OUTSIDE)
        looks, there = (kinds, colors), self.shapes.data
        same = len(there) == len(shapes) and all(map(np.array_equal, there, shapes))
        if same and looks == self._shape_looks:
            return
        self._shape_looks = looks
        self.shapes.data = []
        if shapes:
            self.shapes.add(
                shapes,
                shape_type=kinds,
                edge_color=colors,
                face_color="transparent",
                edge_width=1,
            )
            self.shapes.selected_data = set()

    # --- the mouse

    def _on_drag(self, layer: Any, event: Any) -> Iterator[None]:
        """Points, boxes and scribbles; see `keys.MOUSE`."""
        if event.button != 1:
            return
        modifiers = {name for name in ("Shift", "Control") if name in event.modifiers}
        flat = self.viewer.dims.ndisplay == 2
        pressed = np.asarray(event.pos, float)
        path = [self._place(event)]
        layer.mouse_pan = not flat or not modifiers & {"Shift", "Control"}
        moved = False
        yield
        while event.type == "mouse_move":
            path.append(self._place(event))
            moved = moved or _is_apart(event.pos, pressed)
            if moved:
                self._draw_under_mouse(path, modifiers)
            yield
        self._drawn = None
        layer.mouse_pan = True
        path.append(self._place(event))
        moved = moved or _is_apart(event.pos, pressed)  # a busy window hears of no move between
        if moved and not modifiers:
            return  # the picture was moved, or turned
        refusal = self._refusal(path, moved=moved)
        if refusal:
            show_info(refusal)
        else:
            self._done(path, modifiers, moved)

    def _draw_under_mouse(self, path: list[Place], modifiers: set[str]) -> None:
        """Show the box or scribble as far as it is drawn."""
        dims = self.viewer.dims
        if dims.ndisplay != 2 or dims.ndim - 3 in dims.displayed:
            return  # nothing will be marked
        marks, line = self.prompting.shown.marks, [place[1:] for place in path]
        with suppress(InputError):  # a box without an inside yet
            if "Control" in modifiers:
                inside = "Shift" not in modifiers
                self._drawn = marks.with_scribble(_thinned(line), 2.0, inside)
            elif "Shift" in modifiers:
                self._drawn = marks.with_box(line[0], line[-1])
            else:
                return
            self._draw_shapes()

    def _refusal(self, path: Sequence[Place], *, moved: bool) -> str:
        """Return why a mark can't be where the mouse is, "" where it can."""
        dims = self.viewer.dims
        if dims.ndisplay != 2:
            return FLAT
        first = dims.ndim - 3
        if min(dims.displayed) < first:
            return f"marks are placed in planes of z, y and x, and this one lies along {_names(dims)}; {ALONG_Z}"
        if moved and first in dims.displayed:
            return f"boxes and scribbles are drawn in slices along z; {ALONG_Z}. A click works here too"
        shape = self.prompting.shape
        near = path[:1] if not moved else path
        if not any(all(-0.5 <= v < n - 0.5 for v, n in zip(p, shape, strict=True)) for p in near):
            return "there is no image under the mouse: nothing was marked"
        return ""

    def _done(self, path: list[Place], modifiers: set[str], moved: bool) -> None:
        self._look_at(round(path[0][0]))
        inside = "Shift" not in modifiers
        line = [place[1:] for place in path]
        if "Control" in modifiers and moved:
            self.prompting.add_scribble(_thinned(line), inside=inside)
        elif moved and "Shift" in modifiers:
            self.prompting.set_box(line[0], line[-1])
        elif not moved:
            self.prompting.add_point(*line[0], inside=inside)

    def _look_at(self, z: int) -> None:
        """Go to the slice that is under the mouse: in a view along y or x it is another one at each place."""
        if z != self.prompting.z:
            dims = self.viewer.dims
            dims.set_point(dims.ndim - 3, float(self.mask.data_to_world((z, 0, 0))[0]))
            self.prompting.look_at(z, self.prompting.time)

    def _place(self, event: Any) -> Place:
        """Where the mouse is, in voxels (z, y, x) of level 0."""
        z, y, x = self.points.world_to_data(event.position)[-3:]
        return float(z), float(y), float(x)


def _is_apart(at: Sequence[float], pressed: np.ndarray) -> bool:
    """Whether the mouse is so far from where it was pressed that it is no click."""
    return bool(np.abs(np.asarray(at, float) - pressed).max() > CLICK_PX)


def slice_in_view(viewer: Any, layer: Any, *, has_time: bool) -> tuple[int, int]:
    """The slice and time point in view, as (z, t) on a layer's grid; t is 0 where the volume has none."""
    at = layer.world_to_data(viewer.dims.point[-layer.ndim :])
    z = int(np.clip(np.round(at[-3]), 0, None))
    t = int(np.round(viewer.dims.point[-4])) if has_time else 0
    return z, max(0, t)


def part_in_view(viewer: Any, layer: Any) -> tuple[int, int, int, int] | None:
    """The part y0, x0, y1, x1 of the slice that is on the screen, in voxels of level 0; None where it is not known."""
    if tuple(viewer.dims.displayed) != (viewer.dims.ndim - 2, viewer.dims.ndim - 1):
        return None  # the screen shows no slice along z
    try:
        corners = np.asarray(layer.corner_pixels, float)[:, -2:]
        factors = np.asarray(layer.downsample_factors)[layer.data_level][-2:]
    except (AttributeError, IndexError):
        return None
    (y0, x0), (y1, x1) = corners * factors
    if y1 <= y0 or x1 <= x0:
        return None
    return int(y0), int(x0), int(np.ceil(y1)) + 1, int(np.ceil(x1)) + 1


def _names(dims: Any) -> str:
    return " and ".join(str(dims.axis_labels[axis]) for axis in dims.displayed)


def _factors(labels: Labels) -> Sequence[tuple[int, int, int]]:
    if labels.shape[1] * labels.shape[2] <= LARGEST_PLANE:
        return ((1, 1, 1),)
    return labels.factors


def _data(masks: SparseMasks) -> Any:
    return masks.levels if len(masks.levels) > 1 else masks.levels[0]


def _corners(z: int, box: tuple[float, float, float, float]) -> np.ndarray:
    """A half-open box of voxels as a rectangle around them, whole numbers being centres."""
    y0, x0, y1, x1 = (value - 0.5 for value in box)
    return np.array([(z, y0, x0), (z, y0, x1), (z, y1, x1), (z, y1, x0)], float)


def _thinned(path: list[tuple[float, float]], least: float = 1.0) -> list[tuple[float, float]]:
    """A path without places closer than a voxel."""
    kept = path[:1]
    for place in path[1:]:
        if np.hypot(place[0] - kept[-1][0], place[1] - kept[-1][1]) >= least:
            kept.append(place)
    return kept
