"""Boxes from CSV tables, as prompts: the layout of the RSNA pneumonia challenge, and a general
one.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from volseg.errors import InputError, UnsupportedFormatError
from volseg.images.table_text import unescaped
from volseg.importing.guard import existing, printable, reading, shown
from volseg.prompts import Layer, Prompt, PromptedObject, PromptSet

_RSNA = ("patientId", "x", "y", "width", "height", "Target")
_LAYOUTS = (
    ("y0", "x0", "y1", "x1"),
    ("ymin", "xmin", "ymax", "xmax"),
    ("y", "x", "height", "width"),
)
_IMAGE = ("image", "file", "patientId", "image_id")
_MOST_ROWS = 10_000_000


@dataclass(frozen=True)
class Box:
    """One box on one slice of one image.

    Attributes
    ----------
    image
        Name of the image; "" where the table names none.
    z, t
        Slice and time point.
    box
        (y0, x0, y1, x1) in voxels, half-open.
    id
        Of the object, or None.
    class_
        What it is, or None.
    """

    image: str
    z: int
    box: tuple[float, float, float, float]
    t: int = 0
    id: int | None = None
    class_: str | None = None


def boxes_from_csv(path: str | os.PathLike[str]) -> dict[str, tuple[Box, ...]]:
    """Read a table of boxes.

    The RSNA layout has the columns patientId, x, y, width, height, Target, and rows of Target 0
    (nothing found) without a box. The general layout names corners (y0, x0, y1, x1, or ymin, xmin,
    ymax, xmax) or corner and size (y, x, height, width), and optionally image, z, t, id, class.

    Returns
    -------
    dict of image name to boxes
        In the table's order; images without any box have an empty tuple.

    Raises
    ------
    UnsupportedFormatError
        If a column is missing or a value is wrong; the message names the line.
    """
    file = existing(Path(os.path.expanduser(path)))
    found: dict[str, list[Box]] = {}
    with reading(file, "CSV table"), file.open(newline="", encoding="utf-8-sig") as text:
        table = csv.DictReader(text)
        names = tuple(table.fieldnames or ())
        layout = _layout(names, file)
        for line, row in enumerate(table, 2):
            if line > _MOST_ROWS:
                raise UnsupportedFormatError(f"{shown(file)}: more than {_MOST_ROWS} lines")
            where = f"{shown(file)}, line {line}"
            image = next((str(row[key]) for key in _IMAGE if row.get(key)), "")
            boxes = found.setdefault(image, [])
            if set(_RSNA) <= set(names) and _whole(row, "Target", where, 1) == 0:
                continue
            boxes.append(_box(row, layout, image, where))
    if not found:
        raise UnsupportedFormatError(f"{shown(file)}: a table without rows")
    return {image: tuple(boxes) for image, boxes in found.items()}


def boxes_of_image(path: str | os.PathLike[str], image: str | None = None) -> tuple[Box, ...]:
    """Read the boxes of one image.

    Parameters
    ----------
    path
        The table; see `boxes_from_csv`.
    image
        Which image; may be left out where the table has boxes of one only.

    Raises
    ------
    InputError
        If there are several and none was chosen, or the table has none of this name.
    UnsupportedFormatError
        As `boxes_from_csv`.
    """
    found = boxes_from_csv(path)
    if image is None and len(found) == 1:
        return next(iter(found.values()))
    listed = ", ".join(printable(name) for name in list(found)[:5]) + (
        " …" if len(found) > 5 else ""
    )
    place = shown(Path(path))
    if image is None:
        raise InputError(f"{place}: boxes of {len(found)} images ({listed}); choose one (--image)")
    if image not in found:
        raise InputError(f"{place}: no image {printable(image)!r}; it has {listed}")
    return found[image]


def prompts_from_boxes(
    boxes: tuple[Box, ...], *, layer: str = "boxes", channel: int | None = None
) -> PromptSet:
    """One prompted object per box (or per `id`, where the table has them).

    Raises
    ------
    InputError
        If there is no box.
    """
    if not boxes:
        raise InputError("no boxes: nothing to prompt with")
    given = {box.id for box in boxes if box.id is not None}
    free = (n for n in range(1, len(boxes) + len(given) + 2) if n not in given)
    prompts: dict[int, list[Prompt]] = {}
    for box in boxes:
        one = box.id if box.id is not None else next(free)
        prompts.setdefault(one, []).append(Prompt(z=box.z, t=box.t, box=box.box))
    kinds = {box.class_ for box in boxes}
    category = kinds.pop() if len(kinds) == 1 else None
    return PromptSet(
        layers=(Layer(name=layer, channel=channel, category=category),),
        objects=tuple(
            PromptedObject(id=one, layer=layer, prompts=tuple(found))
            for one, found in sorted(prompts.items())
        ),
    )


def _layout(names: tuple[str, ...], file: Path) -> tuple[str, str, str, str]:
    for layout in _LAYOUTS:
        if set(layout) <= set(names):
            return layout
    raise UnsupportedFormatError(
        f"{shown(file)}: columns {', '.join(names) or 'none'}; expected y0, x0, y1, x1, or "
        "ymin, xmin, ymax, xmax, or y, x, height, width (RSNA: patientId, x, y, width, height, "
        "Target)"
    )


def _box(
    row: Mapping[str, str | None], layout: tuple[str, str, str, str], image: str, where: str
) -> Box:
    first, second, third, fourth = (_number(row, name, where) for name in layout)
    if layout[2] == "height":
        third, fourth = first + third, second + fourth
    if third <= first or fourth <= second:
        raise UnsupportedFormatError(
            f"{where}: an empty box ({first}, {second}, {third}, {fourth})"
        )
    number = _whole(row, "id", where, None)
    return Box(
        image=image,
        z=_whole(row, "z", where, 0) or 0,
        t=_whole(row, "t", where, 0) or 0,
        box=(first, second, third, fourth),
        id=number,
        class_=unescaped(row.get("class") or "") or None,
    )


def _number(row: Mapping[str, str | None], name: str, where: str) -> float:
    try:
        value = float(row.get(name) or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UnsupportedFormatError(f"{where}: {name} is {row.get(name)!r}, expected a number")
    return value


def _whole(row: Mapping[str, str | None], name: str, where: str, missing: int | None) -> int | None:
    if not row.get(name):
        return missing
    value = _number(row, name, where)
    if not value.is_integer() or value < 0:
        raise UnsupportedFormatError(f"{where}: {name} is {row[name]!r}, expected a whole number")
    return int(value)
