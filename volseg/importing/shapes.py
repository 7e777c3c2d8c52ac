"""Shapes that people drew on slices (ROIs, annotations), numbered as objects and drawn region by region."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.geometry import Region
from volseg.importing.guard import printable
from volseg.importing.label_layer import LabelLayer, Piece
from volseg.importing.polygons import Span, filled

_LOG = logging.getLogger(__name__)
Corners = NDArray[np.float64]


@dataclass(frozen=True)
class Outline:
    """An area of a slice, in pixels; pixel (0, 0) is the square from (0, 0) to (1, 1).

    Attributes
    ----------
    rings
        Corners (n, 2) as x, y; rings inside others are holes.
    ellipse
        Centre x, y and half axes x, y, in place of rings.
    """

    rings: tuple[Corners, ...] = ()
    ellipse: tuple[float, float, float, float] | None = None

    @property
    def box(self) -> tuple[Span, Span]:
        """Rows and columns that it may touch, half-open."""
        if self.ellipse is not None:
            x, y, rx, ry = self.ellipse
            low, high = np.array((x - rx, y - ry)), np.array((x + rx, y + ry))
        else:
            corners = np.concatenate(self.rings)
            low, high = corners.min(axis=0), corners.max(axis=0)
        (x0, y0), (x1, y1) = np.floor(low).astype(int), np.ceil(high).astype(int)
        return (int(y0), int(y1)), (int(x0), int(x1))

    def mask(self, rows: Span, columns: Span) -> NDArray[np.bool_]:
        """Draw it in a window of pixels (y, x)."""
        if self.ellipse is None:
            return filled(self.rings, rows, columns)
        x, y, rx, ry = self.ellipse
        dy = (np.arange(*rows)[:, None] + 0.5 - y) / ry
        dx = (np.arange(*columns)[None] + 0.5 - x) / rx
        inside: NDArray[np.bool_] = dx * dx + dy * dy <= 1
        return inside


@dataclass(frozen=True)
class Drawn:
    """One shape of a file, and what the file says of it.

    Attributes
    ----------
    name
        As people see it; "" where it has none.
    id
        Of the object, where volseg wrote the file.
    layer
        Which label image it belongs to; None: the only one.
    channel
        That it was drawn on.
    """

    outline: Outline
    z: int
    t: int = 0
    name: str = ""
    id: int | None = None
    class_: str | None = None
    layer: str | None = None
    channel: int | None = None


def layers_of(
    drawn: Sequence[Drawn], shape: tuple[int, int, int], n_times: int
) -> list[LabelLayer]:
    """Make label layers of shapes.

    Shapes of one id are one object. Where no id is given, those of one name are, if no two of them lie on one slice;
    else each is an object. Where objects overlap, the lower number keeps the pixel.

    Parameters
    ----------
    shape : (z, y, x)
        Of the volume that they lie on.

    Raises
    ------
    InputError
        If one lies outside the volume.
    """
    layers: dict[tuple[str | None, int | None], list[Drawn]] = defaultdict(list)
    for one in drawn:
        _check_inside(one, shape, n_times)
        layers[one.layer, one.channel].append(one)
    return [
        _layer(name if name or len(layers) == 1 else f"c{channel}", channel, found, shape, n_times)
        for (name, channel), found in layers.items()
    ]


def _layer(
    name: str | None,
    channel: int | None,
    drawn: list[Drawn],
    shape: tuple[int, int, int],
    n_times: int,
) -> LabelLayer:
    ids = _ids(drawn)
    pages: dict[tuple[int, int], list[tuple[int, Outline]]] = defaultdict(list)
    objects: dict[tuple[int, int], dict[str, Any]] = {}
    for one, number in zip(drawn, ids, strict=True):
        pages[one.t, one.z].append((number, one.outline))
        told = {"id": number, "t": one.t} | ({"class": one.class_} if one.class_ else {})
        objects[number, one.t] = objects.get((number, one.t), {}) | told
    return LabelLayer(
        name=name,
        shape=shape,
        n_times=n_times,
        pieces=_drawing(dict(pages)),
        channel=channel,
        objects=list(objects.values()),
    )


def _ids(drawn: list[Drawn]) -> list[int]:
    """Numbers of the objects that shapes belong to; given ones are kept."""
    taken = {one.id for one in drawn if one.id is not None}
    free = (n for n in range(1, len(drawn) + len(taken) + 2) if n not in taken)
    places = defaultdict(list)
    for one in drawn:
        places[one.name].append((one.t, one.z))
    is_object = {name: name and len(set(at)) == len(at) for name, at in places.items()}
    by_name: dict[str, int] = {}
    numbers = []
    for one in drawn:
        if one.id is not None:
            numbers.append(one.id)
        elif is_object[one.name]:
            if one.name not in by_name:
                by_name[one.name] = next(free)
            numbers.append(by_name[one.name])
        else:
            numbers.append(next(free))
    return numbers


def _check_inside(one: Drawn, shape: tuple[int, int, int], n_times: int) -> None:
    depth, height, width = shape
    (y0, y1), (x0, x1) = one.outline.box
    if not 0 <= one.z < depth or not 0 <= one.t < n_times:
        raise InputError(
            f"{printable(one.name) or 'a shape'} lies on z {one.z}, t {one.t}; the volume has {depth} slices and "
            f"{n_times} times: it was drawn on another image"
        )
    if y1 <= 0 or x1 <= 0 or y0 >= height or x0 >= width:
        raise InputError(
            f"{printable(one.name) or 'a shape'} lies on rows {y0} to {y1}, columns {x0} to {x1}; the volume has "
            f"{height} × {width}: it was drawn on another image"
        )


def _drawing(
    pages: dict[tuple[int, int], list[tuple[int, Outline]]],
) -> Callable[[list[Region]], Iterator[Piece]]:
    """Draw the shapes of each region in which there is one."""

    def pieces(regions: list[Region]) -> Iterator[Piece]:
        for time in sorted({t for t, _ in pages}):
            for region in regions:
                (z0, z1), _, _ = region
                if any((time, z) in pages for z in range(z0, z1)):
                    yield time, region, _draw(pages, time, region)

    return pieces


def _draw(
    pages: dict[tuple[int, int], list[tuple[int, Outline]]], time: int, region: Region
) -> NDArray[np.uint32]:
    (z0, z1), (y0, y1), (x0, x1) = region
    ids = np.zeros((z1 - z0, y1 - y0, x1 - x0), np.uint32)
    for z in range(z0, z1):
        for number, outline in sorted(pages.get((time, z), ()), key=lambda one: -one[0]):
            (top, bottom), (left, right) = outline.box
            rows, columns = (max(y0, top), min(y1, bottom)), (max(x0, left), min(x1, right))
            if rows[0] >= rows[1] or columns[0] >= columns[1]:
                continue
            part: Any = ids[z - z0, rows[0] - y0 : rows[1] - y0, columns[0] - x0 : columns[1] - x0]
            part[outline.mask(rows, columns)] = number
    return ids
