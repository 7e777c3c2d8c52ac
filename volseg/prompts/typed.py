"""Prompts without a file of JSON: points and boxes as texts, and tables of points."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from volseg.errors import InputError
from volseg.prompts.models import PromptSet
from volseg.prompts.reading import parse_prompts

_POINT = "[ID=]Z,Y,X with ,0 behind it where the object is not"
_BOX = "[ID=]Z,Y0,X0,Y1,X1, the last not included"
_NAPARI = {"axis-0": "z", "axis-1": "y", "axis-2": "x"}
_NAPARI_PLANE = {"axis-0": "y", "axis-1": "x"}
_MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class _Mark:
    """A point (y, x, label) or a box (y0, x0, y1, x1) on a slice; without an id it is an object of its own."""

    id: int | None
    z: int
    point: tuple[float, float, int] | None = None
    box: tuple[float, float, float, float] | None = None


def typed_prompts(
    points: Sequence[str] = (),
    boxes: Sequence[str] = (),
    table: str | None = None,
    *,
    layer: str = "objects",
    time: int = 0,
) -> PromptSet:
    """Make prompts of points and boxes that somebody typed, or has in a table.

    Parameters
    ----------
    points : sequence of str
        ``[ID=]Z,Y,X`` or ``[ID=]Z,Y,X,LABEL``, voxels of level 0, LABEL 1 on the object and 0 beside it. Those of
        one ID are one object; each without one is an object of its own.
    boxes : sequence of str
        ``[ID=]Z,Y0,X0,Y1,X1``, half-open.
    table : str, optional
        Path or URL of a CSV table with columns z, y and x, and optionally id and label; z may be missing where there
        is one slice. The tables of points that napari saves are read, too.
    layer : str
        Name of the layer, and so of the label image.
    time : int
        Time point.

    Raises
    ------
    InputError
        A text or a row is of another form; the message names it.
    PromptError
        Prompts don't go together, such as an object with points beside it alone.
    """
    marks = [_point(text) for text in points] + [_box(text) for text in boxes]
    marks += [] if table is None else _read_table(table)
    if not marks:
        raise InputError("no prompts: give points, boxes, or a table of points")
    given = {mark.id for mark in marks if mark.id is not None}
    free = iter(one for one in range(1, 2 + len(marks) + len(given)) if one not in given)
    objects: dict[int, dict[int, dict[str, Any]]] = {}
    for mark in marks:
        slices = objects.setdefault(next(free) if mark.id is None else mark.id, {})
        prompt = slices.setdefault(mark.z, {"z": mark.z, "t": time})
        if mark.point is not None:
            prompt.setdefault("points", []).append(list(mark.point))
        elif "box" in prompt:
            raise InputError(f"object {mark.id} has two boxes on slice {mark.z}; one is enough")
        else:
            prompt["box"] = list(mark.box or ())
    document = {
        "format": "volseg-prompts", "version": 1, "layers": [{"name": layer}],
        "objects": [
            {"id": one, "prompts": [slices[z] for z in sorted(slices)]}
            for one, slices in objects.items()
        ],
    }  # fmt: skip
    return parse_prompts(document, where="the prompts that were typed")


def _point(text: str) -> _Mark:
    id_, numbers = _numbers(text, "--point", _POINT, (3, 4))
    return _Mark(id_, _slice(numbers[0], text), (numbers[1], numbers[2], _label(numbers[3:], text)))


def _box(text: str) -> _Mark:
    id_, numbers = _numbers(text, "--box", _BOX, (5,))
    y0, x0, y1, x1 = numbers[1:]
    if y0 >= y1 or x0 >= x1:
        raise InputError(f"--box {text!r} is empty: expected {_BOX}, with Y0 < Y1 and X0 < X1")
    return _Mark(id_, _slice(numbers[0], text), box=(y0, x0, y1, x1))


def _numbers(
    text: str, option: str, form: str, counts: Sequence[int]
) -> tuple[int | None, list[float]]:
    id_, named, rest = text.rpartition("=")
    wrong = InputError(f"{option} {text!r}: expected {form}, in voxels of level 0")
    if named and not re.fullmatch(r"\s*0*[1-9]\d*\s*", id_):
        raise wrong
    parts = [part.strip() for part in rest.strip().strip("()[]").split(",")]
    if len(parts) not in counts or not all(re.fullmatch(r"-?\d+(\.\d*)?", part) for part in parts):
        raise wrong
    return int(id_) if named else None, [float(part) for part in parts]


def _slice(z: float, where: str) -> int:
    if z < 0 or z != int(z):
        raise InputError(f"{where!r}: slice {z:g}; expected a whole number from 0")
    return int(z)


def _label(rest: Sequence[float], where: str) -> int:
    if any(value not in (0, 1) for value in rest):
        raise InputError(f"{where!r}: label {rest[0]:g}; expected 1 on the object or 0 beside it")
    return int(rest[0]) if rest else 1


def _read_table(file: str) -> list[_Mark]:
    from volseg.storage.files import read_text

    text = read_text(file).removeprefix("\ufeff")
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    names = _columns(rows.fieldnames or (), file)
    marks = []
    for line, row in enumerate(rows, 2):
        if line > _MOST_ROWS:
            raise InputError(f"{file}: more than {_MOST_ROWS:,} points")
        cells = {names[key]: str(value or "").strip() for key, value in row.items() if key in names}
        marks.append(_row(cells, f"{file}, line {line}"))
    return marks


def _columns(names: Sequence[str], file: str) -> dict[str, str]:
    """What each column of a table is to us: z, y, x, id, label."""
    plain = {name: name.strip().lower() for name in names}
    found = set(plain.values())
    if {"axis-0", "axis-1"} <= found:
        known = _NAPARI if "axis-2" in found else _NAPARI_PLANE
        if "axis-3" in found:
            raise InputError(
                f"{file}: points of four axes; save those of one time point as z, y and x"
            )
        return {name: known[key] for name, key in plain.items() if key in known}
    if not {"y", "x"} <= found:
        told = ", ".join(names) or "none"
        raise InputError(f"{file}: expected columns z, y and x (and id, label), but it has {told}")
    return {name: key for name, key in plain.items() if key in ("z", "y", "x", "id", "label")}


def _row(cells: Mapping[str, str], where: str) -> _Mark:
    values = {}
    for key, cell in cells.items():
        if cell == "" and key in ("id", "label"):
            continue
        if not re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", cell):
            raise InputError(f"{where}: {key} {cell!r}; expected a number, in voxels of level 0")
        values[key] = float(cell)
    id_ = values.get("id")
    if id_ is not None and (id_ < 1 or id_ != int(id_)):
        raise InputError(f"{where}: id {id_:g}; expected a whole number above 0")
    label = _label([values[key] for key in ("label",) if key in values], where)
    z = _slice(round(values.get("z", 0.0)), where)  # napari keeps where between slices a click was
    return _Mark(None if id_ is None else int(id_), z, (values["y"], values["x"], label))
