"""The keys of editing and of the table of objects; see `napari_plugin.keys` for the others and for what is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from napari_plugin.keys import LABELS, Key

CLASS_KEYS = 9
EDIT_KEYS: tuple[Key, ...] = (
    Key("I", "interpolate", "fill the slices between painted ones", (LABELS,), "Editing"),
    Key("S", "split", "mark the parts of the object", (LABELS,), "Editing"),
    Key("Shift-M", "merge", "merge the selected objects", (LABELS,), "Editing"),
    Key("Shift-D", "delete", "delete the selected objects", (LABELS,), "Editing"),
    Key("T", "next_todo", "go to the next object to be looked at", (LABELS,), "Objects"),
    Key("A", "accepted", "accept the object", (LABELS,), "Objects"),
    Key("R", "rejected", "reject the object", (LABELS,), "Objects"),
    Key("Shift-T", "go_to", "go to the object", (LABELS,), "Objects"),
    Key("Shift-O", "alone", "see the object alone in 3D, and back", (LABELS,), "Objects"),
    *(
        Key(f"Alt-{number}", f"class_{number}", f"class {number} of the list", (LABELS,), "Objects")
        for number in range(1, CLASS_KEYS + 1)
    ),
)
"""napari's own M, on label layers of volumes, takes an id that nobody else gets."""


def bind_edit_keys(layer: Any, actions: Mapping[str, Callable[[], object]]) -> None:
    """Bind the keys of editing to a label layer.

    Parameters
    ----------
    layer
        A label layer of a volume.
    actions
        Command → what to call; "new_object" too, for napari's key M.
    """
    for key, command in [*((one.key, one.command) for one in EDIT_KEYS), ("M", "new_object")]:
        if command in actions:
            layer.bind_key(key, _called(actions[command]), overwrite=True)


def _called(action: Callable[[], object]) -> Callable[[Any], None]:
    def on_key(layer: Any) -> None:
        action()

    return on_key
