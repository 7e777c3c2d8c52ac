"""The plugin's keys: what each does and on which layers it works, for binding, for the help panel and for tests.

Only letters that napari itself leaves free on every kind of layer are used, so that nothing of napari's is lost.
Parts add their keys to `KEYS`; binding them to layers is the widgets' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PROMPTS, LABELS, IMAGES = "prompts", "labels", "images"
EVERYWHERE = (PROMPTS, LABELS, IMAGES)


@dataclass(frozen=True)
class Key:
    """One key.

    Parameters
    ----------
    key
        As napari writes it: ``"N"``, ``"Shift-N"``.
    command
        Name of what it does, unique.
    text
        For people.
    layers
        Kinds of layers on which it works while they are selected.
    group
        Heading in the help panel.
    """

    key: str
    command: str
    text: str
    layers: tuple[str, ...] = EVERYWHERE
    group: str = "Prompting"


PROMPT_KEYS = (
    Key("Q", "prompt", "start prompting, or go back to the labels"),
    Key("J", "next_candidate", "show the model's next candidate", (PROMPTS,)),
    Key("Shift-J", "previous_candidate", "show the candidate before", (PROMPTS,)),
    Key("K", "accept", "accept the mask", (PROMPTS,)),
    Key("N", "next_object", "begin the next object", (PROMPTS, LABELS)),
    Key("U", "take_back", "take back the last mark", (PROMPTS,)),
    Key("Shift-U", "clear", "take back all marks on this slice", (PROMPTS,)),
    Key("W", "use_mask", "take the painted mask as the prompt", (PROMPTS, LABELS)),
    Key("Shift-W", "ends", "the object ends before this slice", (PROMPTS,)),
    Key("Control-Z", "undo", "take back the last mark, else the last edit", (PROMPTS,)),
    Key("Control-Shift-Z", "redo", "do again what was taken back", (PROMPTS,)),
)
RUN_KEYS = (
    Key("G", "propagate", "propagate, or only what was corrected", group="Propagating"),
    Key("Shift-G", "cancel", "stop propagating", group="Propagating"),
    Key("H", "least_confident", "go to the least confident slice", group="Propagating"),
)
MOUSE = (
    ("click", "a point on the object"),
    ("Shift-click", "a point beside the object"),
    ("Shift-drag", "a box around the object"),
    ("Ctrl-drag", "a scribble on the object"),
    ("Ctrl-Shift-drag", "a scribble beside the object"),
)
"""What the mouse does while the layer of prompts is selected."""


def all_keys() -> tuple[Key, ...]:
    """Every key of the plugin, the editing tools' included."""
    from napari_plugin.editing_keys import EDIT_KEYS

    return (*PROMPT_KEYS, *RUN_KEYS, *EDIT_KEYS)


def bind(layer: Any, kind: str, actions: Mapping[str, Callable[[], object]]) -> None:
    """Bind the keys of a kind of layer whose commands are given.

    Parameters
    ----------
    layer
        A napari layer.
    kind
        `PROMPTS`, `LABELS` or `IMAGES`.
    actions
        Command → what to call.
    """
    for one in (*PROMPT_KEYS, *RUN_KEYS):
        if kind in one.layers and one.command in actions:
            layer.bind_key(one.key, _called(actions[one.command]), overwrite=True)


def _called(action: Callable[[], object]) -> Callable[[Any], None]:
    def on_key(layer: Any) -> None:
        action()

    return on_key


def clashes(keys: Iterable[Key], taken: Mapping[str, Iterable[str]]) -> list[str]:
    """Return what clashes among keys and with those that napari has.

    Parameters
    ----------
    keys
        The plugin's.
    taken
        napari's: kind of layer → keys that work on it, the viewer's included, in napari's writing.

    Returns
    -------
    list of str
        One line per clash; empty where there is none.
    """
    found = []
    mine: dict[tuple[str, str], str] = {}
    for one in keys:
        for kind in one.layers:
            if one.key in set(taken.get(kind, ())):
                found.append(f"{one.key} on {kind}: napari has it; wanted for {one.command}")
            other = mine.setdefault((kind, one.key), one.command)
            if other != one.command:
                found.append(f"{one.key} on {kind}: both {other} and {one.command}")
    return found


def help_html() -> str:
    """The help panel: all keys and what the mouse does, as a small HTML table by group."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for one in all_keys():
        groups.setdefault(one.group, []).append((one.key, f"{one.text}{_where(one)}"))
    groups["Mouse on the layer of prompts"] = list(MOUSE)
    parts = []
    for name, rows in groups.items():
        cells = "".join(
            f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{text}</td></tr>" for key, text in rows
        )
        parts.append(f"<h4>{name}</h4><table>{cells}</table>")
    return "".join(parts)


def _where(one: Key) -> str:
    return "" if one.layers == EVERYWHERE else f" <i>({', '.join(one.layers)})</i>"
