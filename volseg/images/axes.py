"""The axes of an image, as NGFF 0.1 to 0.5 name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from volseg.errors import NotOmeZarrError
from volseg.images.units import length_unit, time_unit

FIVE = "tczyx"
"""The axes that NGFF 0.1 and 0.2 imply, of which 0.3 names some."""
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


@dataclass(frozen=True)
class Axis:
    """One axis of an array: name as in the file, kind ("t", "c", "z", "y" or "x"), NGFF unit or None, µm per unit."""

    name: str
    kind: str
    unit: str | None
    micrometres: float = 1.0


def read_axes(said: Any, version: str, where: str) -> tuple[tuple[Axis, ...], tuple[str, ...]]:
    """Return the axes and, for people, what had to be assumed.

    Parameters
    ----------
    said
        ``axes`` of the multiscale: absent in NGFF 0.1 and 0.2 (always t, c, z, y, x), names in 0.3, objects since 0.4.
    version
        What the metadata say, for the message.
    where
        The image, for messages.

    Raises
    ------
    NotOmeZarrError
        If they are no two or three of space with at most one of time and one of channel.
    """
    axes = _described(said, version, where)
    kinds: list[str | None] = [_kind(axis) for axis in axes]
    spatial = [i for i, kind in enumerate(kinds) if kind == "space"]
    if len(spatial) not in (2, 3) or any(kinds.count(kind) > 1 for kind in "tc") or None in kinds:
        listed = ", ".join(f"{axis['name']} ({axis.get('type', 'no type')})" for axis in axes)
        raise NotOmeZarrError(
            f"{where}: axes {listed}; expected two or three of space, at most one of time and one of channel"
        )
    letters = "zyx"[3 - len(spatial) :]
    names = [str(axes[i]["name"]).lower() for i in spatial]
    if sorted(names) == sorted(letters):  # in whatever order
        letters = "".join(names)
    elif set(names) & set("zyx") and any(
        name in "zyx" and name != letter for name, letter in zip(names, letters, strict=True)
    ):
        raise NotOmeZarrError(
            f"{where}: axes of space {', '.join(names)}; which of them are z, y and x can't be told"
        )
    for i, letter in zip(spatial, letters, strict=True):
        kinds[i] = letter
    notes: list[str] = []
    result = [
        _axis(str(axis["name"]), str(kind), axis.get("unit"), notes)
        for axis, kind in zip(axes, kinds, strict=True)
    ]
    return tuple(result), tuple(notes)


def _described(said: Any, version: str, where: str) -> list[dict[str, Any]]:
    """Return the axes as objects with names, whatever version they come from."""
    if said is None and version in ("0.1", "0.2"):
        said = list(FIVE)
    if isinstance(said, list) and said and all(isinstance(name, str) for name in said):
        said = [{"name": name} for name in said]
    if not isinstance(said, list) or not all(
        isinstance(axis, dict) and axis.get("name") for axis in said
    ):
        raise NotOmeZarrError(
            f"{where}: 'axes' of NGFF {version} is not a list of names, or of objects with names"
        )
    return said


def _kind(axis: dict[str, Any]) -> str | None:
    said = axis.get("type")
    if said is None:
        said = _TYPES.get(str(axis["name"]).lower())
    kinds = {"space": "space", "time": "t", "channel": "c"}
    return kinds.get(said.lower()) if isinstance(said, str) else None


def _axis(name: str, kind: str, unit: Any, notes: list[str]) -> Axis:
    if kind == "t":
        return Axis(name, kind, time_unit(unit))
    if kind == "c":
        return Axis(name, kind, None)
    length = length_unit(unit)
    if length is None:
        said = "has no unit" if unit is None else f"has the unknown unit {unit!r}"
        notes.append(f"axis {name} {said}; its voxel size is taken as micrometres")
        return Axis(name, kind, None)
    return Axis(name, kind, *length)
