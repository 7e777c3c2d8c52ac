"""Where DICOM planes lie in space and time: one stack, its order and its step, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.dicom_planes import CHANNEL_MARKS, TIME_MARKS, Plane

STEP_TOLERANCE = 0.05  # of a step; scanners round positions
SPACING_TOLERANCE = 1e-4  # relative; pixel sizes are written with five to nine digits
DIRECTION_TOLERANCE = 2e-3  # of a unit vector; some are written with three digits
_LEAST_TILT = 2e-3  # of a step, across the normal: less is a rounded direction
STRAIGHT_TOLERANCE = 0.5  # of a pixel, over the whole stack
_SAME_PLACE = 1e-3  # of the largest step
Namer = Callable[[Plane], str]


@dataclass(frozen=True)
class Stack:
    """Planes in order.

    Attributes
    ----------
    order : int array (time, channel, z)
        Numbers of planes, rising along the normal of the image plane.
    time_mark, channel_mark
        The element that tells times, and channels, apart; "" where there is one only.
    step_mm : (x, y, z) or None
        From each slice to the next.
    distance_mm : float or None
        Of slices along the normal.
    """

    order: NDArray[np.intp]
    time_mark: str
    channel_mark: str
    step_mm: tuple[float, ...] | None
    distance_mm: float | None


def stack_of(planes: Sequence[Plane], name: Namer) -> Stack:
    """Order planes by place, time and channel.

    Parameters
    ----------
    planes
        Of one series.
    name
        Names a plane in messages: its file, and its frame where there are several.

    Raises
    ------
    UnsupportedFormatError
        If planes differ in size, direction or pixel size, several lie at one place and nothing tells them apart, slices
        are missing, or the steps between them differ.
    """
    _check_alike(planes, name)
    along, unit = _along(planes, name)
    places = _places(along)
    order, time_mark, channel_mark = _grid(planes, places, along, unit, name)
    line = order[0, 0]
    if len(line) == 1:
        return Stack(order, time_mark, channel_mark, None, None)
    _check_even(along[line], [planes[n] for n in line], unit, name)
    if unit == "by instance number":
        return Stack(order, time_mark, channel_mark, None, None)
    first, last = planes[line[0]], planes[line[-1]]
    distance = float(along[line[-1]] - along[line[0]]) / (len(line) - 1)
    if first.position is None or last.position is None or first.row is None:
        return Stack(order, time_mark, channel_mark, None, distance)
    step = (np.array(last.position) - np.array(first.position)) / (len(line) - 1)
    _check_straight([planes[n] for n in line], step, name)
    return Stack(order, time_mark, channel_mark, tuple(map(float, step)), distance)


def shift_pixels(first: Plane, stack: Stack) -> tuple[float, float]:
    """Return by how many pixels (y, x) each slice is shifted against the one before, across the normal.

    (0, 0) where the whole stack is straight to within `STRAIGHT_TOLERANCE`, or the direction is merely rounded.
    """
    y, x = first.spacing_mm
    if stack.step_mm is None or first.row is None or first.column is None or not (y and x):
        return 0.0, 0.0
    step = np.array(stack.step_mm)
    shift = float(step @ first.column) / y, float(step @ first.row) / x
    across = np.hypot(step @ first.column, step @ first.row)
    most = max(map(abs, shift)) * (stack.order.shape[-1] - 1)
    tilted = most > STRAIGHT_TOLERANCE and across > _LEAST_TILT * np.linalg.norm(step)
    return shift if tilted else (0.0, 0.0)


def _check_alike(planes: Sequence[Plane], name: Namer) -> None:
    sizes = {plane.size for plane in planes}
    if len(sizes) > 1:
        first = planes[0]
        other = next(plane for plane in planes if plane.size != first.size)
        raise UnsupportedFormatError(
            f"{name(other)}: {other.size[0]} × {other.size[1]} pixels, but {name(first)} has "
            f"{first.size[0]} × {first.size[1]}; all slices must be alike"
        )
    stacks: list[list[Plane]] = []
    for plane in planes:
        for stack in stacks:
            if _alike(plane, stack[0]):
                stack.append(plane)
                break
        else:
            stacks.append([plane])
    if len(stacks) > 1:
        stacks.sort(key=len, reverse=True)
        listed = ", ".join(
            f"{len(stack)} {_direction(stack[0])} ({name(stack[0])}{', …' if len(stack) > 1 else ''})"
            for stack in stacks[:4]
        )
        raise UnsupportedFormatError(
            f"{name(stacks[-1][0])}: its orientation or pixel size differs from {name(stacks[0][0])}; {len(stacks)} "
            f"stacks (localizers?) are mixed: {listed}. Leave the slices of one only"
        )


def _direction(plane: Plane) -> str:
    if plane.normal is None:
        return "without orientation"
    axis = int(np.argmax(np.abs(np.array(plane.normal))))
    return ("sagittal", "coronal", "axial")[axis]


def _alike(one: Plane, other: Plane) -> bool:
    if (one.row is None) != (other.row is None):
        return False
    for a, b in zip(one.spacing_mm, other.spacing_mm, strict=True):
        if (a is None) != (b is None) or (a and b and abs(a - b) > SPACING_TOLERANCE * abs(b)):
            return False
    if one.row is None or other.row is None or one.column is None or other.column is None:
        return True
    mine, theirs = [*one.row, *one.column], [*other.row, *other.column]
    return max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= DIRECTION_TOLERANCE


def _along(planes: Sequence[Plane], name: Namer) -> tuple[NDArray[np.float64], str]:
    """Where each plane lies along the normal, in mm, or else by its number."""
    first = planes[0]
    if (normal := first.normal) is not None:
        known = [plane.position for plane in planes if plane.position is not None]
        if len(known) == len(planes):
            return np.array([float(np.dot(place, normal)) for place in known]), "mm"
    locations = [plane.location for plane in planes if plane.location is not None]
    if len(planes) > 1 and len(locations) == len(planes) and len(set(locations)) > 1:
        return np.array(locations), "mm"
    frames = max(plane.frame for plane in planes) + 1
    if len({plane.file for plane in planes}) == 1:
        return np.arange(len(planes), dtype=float), "by instance number"
    unknown = next((plane for plane in planes if plane.instance is None), None)
    if unknown is not None:
        raise UnsupportedFormatError(
            f"{name(unknown)}: has neither a position nor an instance number; the order of the slices is unknown"
        )
    numbers = [(plane.instance or 0) * frames + plane.frame for plane in planes]
    return np.array(numbers, float), "by instance number"


def _places(along: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Numbers of the planes at each place, rising."""
    rising = np.argsort(along, kind="stable")
    steps = np.diff(along[rising])
    same = max(1e-6, float(steps.max(initial=0.0)) * _SAME_PLACE)
    return np.split(rising, np.flatnonzero(steps > same) + 1)


def _grid(
    planes: Sequence[Plane],
    places: list[NDArray[np.intp]],
    along: NDArray[np.float64],
    unit: str,
    name: Namer,
) -> tuple[NDArray[np.intp], str, str]:
    """The numbers of planes as (time, channel, z), and the marks of time and channel."""
    most = max(len(place) for place in places)
    if most == 1:
        return np.array([[[int(place[0]) for place in places]]]), "", ""
    if all(len(place) == most for place in places):
        groups = [[planes[n] for n in place] for place in places]
        times = [mark for mark, _ in TIME_MARKS if _varies(groups[0], mark)]
        channels = [mark for mark, _ in CHANNEL_MARKS if _varies(groups[0], mark)]
        pairs = [(mark, "") for mark in times] + [("", mark) for mark in channels]
        pairs += [(time, channel) for time in times for channel in channels]
        for time_mark, channel_mark in pairs:
            grid = _by_marks(places, groups, time_mark, channel_mark)
            if grid is not None:
                return grid, time_mark, channel_mark
    crowded = next(place for place in places if len(place) > 1)
    one, other = planes[crowded[0]], planes[crowded[1]]
    where = f"{along[crowded[0]]:g} {unit}"
    raise UnsupportedFormatError(
        f"{name(one)} and {name(other)} lie at one place ({where}), and no time, echo or channel that every place has "
        "tells them apart; keep one per place"
    )


def _varies(group: list[Plane], mark: str) -> bool:
    return len({plane.marks.get(mark) for plane in group} - {None}) > 1


def _by_marks(
    places: list[NDArray[np.intp]],
    groups: list[list[Plane]],
    time_mark: str,
    channel_mark: str,
) -> NDArray[np.intp] | None:
    """The grid by two marks, if each place has each time and channel once.

    Times may be told apart by marks that differ from place to place (trigger delays): their rank counts.
    """
    times = channels = 0
    columns: list[tuple[dict[tuple[int, int], int], list[float | str]]] = []
    for place, group in zip(places, groups, strict=True):
        ranks = _ranks([p.marks.get(time_mark) for p in group]) if time_mark else [0] * len(group)
        kinds = [p.marks.get(channel_mark) for p in group] if channel_mark else [0.0] * len(group)
        if ranks is None or None in kinds:
            return None
        values = _rising({kind for kind in kinds if kind is not None})
        if columns and values != columns[0][1]:
            return None
        times, channels = max(ranks) + 1, len(values)
        cells = {
            (rank, values.index(kind)): int(n)
            for rank, kind, n in zip(ranks, kinds, place, strict=True)
            if kind is not None
        }
        columns.append((cells, values))
    wanted = [(t, c) for t in range(times) for c in range(channels)]
    if any(sorted(cells) != wanted or len(cells) != len(places[0]) for cells, _ in columns):
        return None
    cube = [[[cells[t, c] for cells, _ in columns] for c in range(channels)] for t in range(times)]
    return np.array(cube)


def _ranks(values: list[float | str | None]) -> list[int] | None:
    if None in values:
        return None
    rising = _rising({value for value in values if value is not None})
    return [rising.index(value) for value in values if value is not None]


def _rising(values: set[float | str]) -> list[float | str]:
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def _check_even(
    along: NDArray[np.float64], planes: Sequence[Plane], unit: str, name: Namer
) -> None:
    """Refuse a stack with slices missing, or with steps that differ."""
    steps = np.diff(along)
    usual = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - usual) > usual * STEP_TOLERANCE)
    if odd.size:
        at = int(odd[0])
        missing = steps[at] / usual - 1
        raise UnsupportedFormatError(
            f"gap in the series between {name(planes[at])} ({along[at]:g} {unit}) and "
            f"{name(planes[at + 1])} ({along[at + 1]:g} {unit}): the usual step is {usual:g}"
            + (f", about {missing:.0f} slice(s) are missing" if missing > 0.5 else "")
            + "; complete the folder"
        )


def _check_straight(planes: Sequence[Plane], step: NDArray[np.float64], name: Namer) -> None:
    """Refuse slices that don't lie on one line, tilted or not."""
    first = planes[0]
    pixel = min((size for size in first.spacing_mm if size), default=None)
    if pixel is None or first.position is None:
        return
    places = np.array([plane.position for plane in planes])
    line = places[0] + np.arange(len(planes))[:, np.newaxis] * step
    normal = np.array(first.normal)
    off = places - line
    off -= np.outer(off @ normal, normal)
    worst: Any = np.linalg.norm(off, axis=1)
    at = int(worst.argmax())
    if worst[at] > max(STRAIGHT_TOLERANCE * pixel, 1e-6):
        raise UnsupportedFormatError(
            f"{name(planes[at])}: lies {worst[at]:g} mm beside the line through the other slices; "
            "the folder mixes different stacks"
        )
