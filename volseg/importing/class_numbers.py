"""Labels whose ids are class numbers: scribbles, and what a classifier or a person made of every voxel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from volseg.errors import InputError
from volseg.geometry import Region
from volseg.importing.label_layer import LabelLayer, Piece


def read_classes(text: str | None) -> dict[int, str] | None:
    """Read ``1=background,2=membrane``; an empty text names none.

    Raises
    ------
    InputError
        If a part is of another form, or a number occurs twice.
    """
    if text is None:
        return None
    found: dict[int, str] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        number, equals, name = part.partition("=")
        if not (number.strip().isdigit() and equals and name.strip()) or int(number) in found:
            raise InputError(
                f"--classes {text!r}: expected numbers from 1, each once, with their names, such as "
                "1=background,2=membrane"
            )
        found[int(number)] = name.strip()
    return found


def as_class_numbers(layer: LabelLayer, classes: Mapping[int, str]) -> LabelLayer:
    """Return a layer whose ids are class numbers.

    Objects that the file gives a class (ROIs of a group, outlines) get the number of that name; ids of others are class
    numbers already.

    Raises
    ------
    InputError
        If an object's class has no number.
    """
    numbers = {name: number for number, name in classes.items()}
    changed: dict[int, int] = {}
    for one in layer.objects:
        kind = one.get("class") if isinstance(one, dict) else None
        if kind is None:
            continue
        if kind not in numbers:
            raise InputError(
                f"object {one.get('id')} is a {kind!r}, which is none of the classes "
                f"{', '.join(classes.values()) or '(none named)'}: give it a number with --classes"
            )
        changed[int(one["id"])] = numbers[kind]
    if not changed:
        return replace(layer, objects=[])

    def pieces(regions: list[Region]) -> Iterator[Piece]:
        for time, region, ids in layer.pieces(regions):
            present, places = np.unique(ids, return_inverse=True)
            table = np.array([changed.get(int(i), int(i)) for i in present], np.int64)
            yield time, region, table[places].reshape(ids.shape)

    return replace(layer, pieces=pieces, objects=[])
