"""What edits and tables do in a viewer: the label image of the selected layer, its objects, and actions on them.

One workbench per viewer, found by the panels of editing and of objects. It owns no voxels and no widgets.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from psygnal import Signal

from napari_plugin import tools
from napari_plugin.editing import LabelEditing
from napari_plugin.editing_keys import CLASS_KEYS, bind_edit_keys
from napari_plugin.gui import in_gui, on_gui
from napari_plugin.layers import session_of
from napari_plugin.objects import ObjectTableModel
from volseg.errors import InputError


def workbench_of(viewer: Any) -> Workbench:
    """Return the workbench of a viewer, made at the first call."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # plugins are handed a proxy
    for callback in viewer.layers.selection.events.active.callbacks:
        found = getattr(callback, "workbench", None)
        if isinstance(found, Workbench):
            return found
    return Workbench(viewer)


class _Kept:
    """A callback that keeps the workbench alive as long as the viewer: napari holds methods weakly."""

    def __init__(self, workbench: Workbench, function: Callable[[], object]) -> None:
        self.workbench = workbench
        self._function = function

    def __call__(self, event: Any = None) -> None:
        self._function()


class Workbench:
    """Follows the selected label layer; see `workbench_of`.

    Parameters
    ----------
    viewer
        A viewer or its model.

    Attributes
    ----------
    changed
        Signal(): another label image, or none.
    message
        Signal(str): what people should know, as why a key did nothing.
    """

    changed = Signal()
    message = Signal(str)

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self.layer: Any = None
        self.objects: ObjectTableModel | None = None
        self._tables: weakref.WeakKeyDictionary[Any, ObjectTableModel]
        self._tables = weakref.WeakKeyDictionary()
        self._before: tuple[int, Any] | None = None  # how the viewer was before one object alone
        viewer.layers.selection.events.active.connect(_Kept(self, self._follow))
        viewer.layers.events.inserted.connect(_Kept(self, self._follow))
        viewer.layers.events.removed.connect(_Kept(self, self._follow))
        viewer.dims.events.point.connect(_Kept(self, self._moved))
        self._follow()

    @property
    def viewer(self) -> Any:
        """The viewer."""
        return self._viewer()

    @property
    def editing(self) -> LabelEditing | None:
        """The label image that is worked on."""
        return None if self.layer is None else self.layer.data.tiles.editing

    def _follow(self) -> None:
        viewer = self.viewer
        if viewer is None:
            return
        layer = _label_layer(viewer, viewer.layers.selection.active) or self.layer
        if layer is not None and layer not in viewer.layers:
            layer = None
        if layer is None:
            layer = next((one for one in viewer.layers if _is_editable(one)), None)
        if layer is self.layer:
            return
        self.layer = layer
        self.objects = None if layer is None else self._table(layer)
        self._moved()
        self.changed.emit()

    def _moved(self) -> None:
        """Have the table list the time point that the slider shows."""
        if self.objects is not None and self.viewer is not None:
            self.objects.look_at(self._position()[0])

    def _table(self, layer: Any) -> ObjectTableModel | None:
        found = self._tables.get(layer)
        session = session_of(layer)
        if found is None and session is not None:
            found = ObjectTableModel(session, layer.metadata["volseg"]["labels"])
            self._tables[layer] = found
            found.selection_changed.connect(on_gui(self._table_selected))
            layer.events.selected_label.connect(_Kept(self, self._label_selected))
            bind_edit_keys(layer, self.actions())
        return found

    # --- the selection, both ways

    def _table_selected(self, ids: tuple[int, ...]) -> None:
        if self.layer is not None and ids and self.layer.selected_label != ids[-1]:
            self.layer.selected_label = ids[-1]

    def _label_selected(self) -> None:
        if self.objects is not None and self.layer.selected_label not in self.objects.selected:
            self.objects.select([self.layer.selected_label])

    # --- actions

    def actions(self) -> dict[str, Callable[[], object]]:
        """Return what keys and buttons do, by command."""
        classes = {
            f"class_{number}": (lambda number=number: self.give_class(number))
            for number in range(1, CLASS_KEYS + 1)
        }
        return {
            "interpolate": self.interpolate,
            "split": self.split,
            "merge": self.merge,
            "delete": self.delete,
            "next_todo": self.next_todo,
            "accepted": lambda: self.set_status("accepted"),
            "rejected": lambda: self.set_status("rejected"),
            "go_to": self.go_to,
            "alone": self.alone,
            "new_object": self.new_object,
            **classes,
        }

    def new_object(self) -> None:
        """Select an id that nobody else gets."""
        layer = self.layer

        def select(future: Future[int]) -> None:
            if future.exception() is None:
                in_gui(lambda: setattr(layer, "selected_label", future.result()))

        if self.editing is not None:
            tools.new_object(self.editing).add_done_callback(select)

    def interpolate(self) -> None:
        """Fill the slices between those in which the selected object is painted."""
        if self.editing is not None:
            time = self._position()[0]
            tools.interpolate(self.editing, self.layer.selected_label, time=time)

    def merge(self) -> None:
        """Merge the selected objects into the one that was selected first."""
        ids = self._ids()
        if self.editing is not None and len(ids) > 1:
            tools.merge(self.editing, ids)
        else:
            self.message.emit("select two or more objects in the table to merge them")

    def delete(self) -> None:
        """Delete the selected objects."""
        ids = self._ids()
        if self.editing is not None and ids:
            tools.delete(self.editing, ids)

    def split(self) -> None:
        """Begin to mark the parts of the selected object, or divide it where they are marked."""
        viewer, layer, editing = self.viewer, self.layer, self.editing
        if viewer is None or layer is None or editing is None:
            return
        name = f"parts of {layer.name} {layer.selected_label}"
        if name not in viewer.layers:
            points = viewer.add_points(
                ndim=layer.ndim,
                name=name,
                size=8,
                scale=layer.scale,
                translate=layer.translate,
                units=layer.units,
            )
            points.mode = "add"
            points.bind_key("S", lambda _: self.split(), overwrite=True)
            self.message.emit("click once into each part, then press S again")
            return
        points = viewer.layers[name]
        seeds = np.round(points.data).astype(int)
        if len(seeds) < 2:
            self.message.emit("click into at least two parts, then press S again")
            return
        viewer.layers.remove(points)
        viewer.layers.selection.active = layer
        time = int(seeds[0, 0]) if layer.ndim == 4 else 0
        zyx = [[int(v) for v in seed[-3:]] for seed in seeds]
        tools.split(editing, layer.selected_label, zyx, time=time)

    def set_status(self, status: Any) -> None:
        """Accept or reject the selected objects, and go on to the next."""
        ids = self._ids()
        if self.objects is not None and ids:
            self.objects.set_status(ids, status)
            self.next_todo()

    def give_class(self, number: int) -> None:
        """Give the selected objects the class of a key."""
        ids = self._ids()
        if self.objects is None or not ids:
            return
        class_ = self.objects.class_of_key(number)
        if class_ is None:
            self.message.emit(
                f"there is no class {number} yet; type its name in the panel of objects"
            )
        else:
            self.objects.set_class(ids, class_)

    def next_todo(self) -> None:
        """Go to the next object to be looked at."""
        if self.objects is not None:
            if self.objects.next_todo() is None:
                self.message.emit("every object in the table is accepted or rejected")
            else:
                self.go_to()

    def go_to(self) -> None:
        """Bring the selected object into view."""
        ids, viewer = self._ids(), self.viewer
        if self.objects is None or not ids or viewer is None:
            return
        place = self.objects.place_of(ids[-1])
        if place is None:
            self.message.emit(f"nobody knows where object {ids[-1]} is: it is not in the table")
            return
        extra = self.layer.ndim - 3
        point = [*([self.objects.time] * extra), *place]
        world = np.asarray(self.layer.data_to_world(point))
        first = viewer.dims.ndim - len(world)
        for axis, value in enumerate(world):
            viewer.dims.set_point(first + axis, value)
        viewer.camera.center = tuple(world[-3:])

    def alone(self) -> None:
        """See the selected object alone in 3D; again: back to slices with all objects."""
        viewer, layer = self.viewer, self.layer
        if viewer is None or layer is None:
            return
        if self._before is None:
            self._before = (viewer.dims.ndisplay, layer.show_selected_label)
            layer.show_selected_label = True
            viewer.dims.ndisplay = 3
            self.go_to()
        else:
            viewer.dims.ndisplay, layer.show_selected_label = self._before
            self._before = None

    def view_along(self, axis: str) -> None:
        """Look at slices along "z", "y" or "x" through the selected object.

        Raises
        ------
        InputError
            For another axis.
        """
        viewer = self.viewer
        if axis not in ("z", "y", "x"):
            raise InputError(f"there are slices along z, y and x, not along {axis!r}")
        if viewer is None:
            return
        others = [a for a in ("z", "y", "x") if a != axis]
        first = viewer.dims.ndim - 3
        order = [*range(first), *(first + "zyx".index(a) for a in (axis, *others))]
        viewer.dims.order = tuple(order)
        self.go_to()

    def _ids(self) -> Sequence[int]:
        """Return the objects that actions are for: those selected in the table, else the layer's."""
        if self.objects is not None and self.objects.selected:
            return self.objects.selected
        label = 0 if self.layer is None else int(self.layer.selected_label)
        return [label] if label > 0 else []

    def _position(self) -> tuple[int, int]:
        """Return time and slice in view."""
        point = np.asarray(self.layer.world_to_data(self.viewer.dims.point))
        voxel = np.round(point).astype(int)
        return (max(0, int(voxel[0])) if self.layer.ndim == 4 else 0, int(voxel[-3]))


def _label_layer(viewer: Any, layer: Any) -> Any:
    """Return the label layer that a layer is, or that its prompts are for; None where there is none."""
    if _is_editable(layer):
        return layer
    told = getattr(layer, "metadata", {}).get("volseg", {})
    if "prompts" not in told:
        return None
    mine = (told["url"], told["prompts"])
    for one in viewer.layers:
        its = one.metadata.get("volseg", {})
        if _is_editable(one) and (its.get("url"), its.get("labels")) == mine:
            return one
    return None


def _is_editable(layer: Any) -> bool:
    tiles = getattr(getattr(layer, "data", None), "tiles", None)
    return getattr(tiles, "editing", None) is not None
