"""Where DICOM slices lie in space: their order, the step between them, and what is wrong with
it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import shown

_TOLERANCE = 0.05  # of a step; scanners round positions


@dataclass(frozen=True)
class Geometry:
    """Place and size of one file's image.

    Attributes
    ----------
    rows, columns, frames
        Size in pixels, and the number of frames.
    row, column
        Directions of a row and of a column (ImageOrientationPatient), or None.
    positions
        One (x, y, z) in mm per frame (ImagePositionPatient), empty where unknown.
    spacing_mm
        Pixel size (y, x); None where unknown.
    thickness_mm
        SpacingBetweenSlices, else SliceThickness; None where unknown.
    instance
        InstanceNumber, or None.
    """

    rows: int
    columns: int
    frames: int
    row: tuple[float, ...] | None
    column: tuple[float, ...] | None
    positions: tuple[tuple[float, ...], ...]
    spacing_mm: tuple[float | None, float | None]
    thickness_mm: float | None
    instance: int | None


@dataclass(frozen=True)
class Ordered:
    """The files in order, the step between slices in mm, and the first slice's position."""

    order: tuple[int, ...]
    step_mm: float | None
    origin_mm: tuple[float, ...] | None
    reversed_frames: bool = False


def geometry_of(dataset: Any) -> Geometry:
    """Read the geometry out of a header."""
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    shared = _first(dataset.get("SharedFunctionalGroupsSequence"))
    per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    groups = [shared, *per_frame[:1]]
    orientation = dataset.get("ImageOrientationPatient") or _inside(
        groups, "PlaneOrientationSequence", "ImageOrientationPatient"
    )
    measures = [_first(g.get("PixelMeasuresSequence")) for g in groups if g is not None]
    spacing = (
        dataset.get("PixelSpacing")
        or next((m.get("PixelSpacing") for m in measures if m is not None), None)
        or dataset.get("ImagerPixelSpacing")
        or dataset.get("NominalScannedPixelSpacing")
    )
    thickness = dataset.get("SpacingBetweenSlices") or next(
        (m.get("SpacingBetweenSlices") or m.get("SliceThickness") for m in measures if m), None
    )
    thickness = thickness or dataset.get("SliceThickness")
    vector = _numbers(orientation, 6)
    y, x = _numbers(spacing, 2) or (None, None)
    number = dataset.get("InstanceNumber")
    return Geometry(
        int(dataset.Rows),
        int(dataset.Columns),
        frames,
        vector[:3] if vector else None,
        vector[3:] if vector else None,
        _positions(dataset, per_frame, frames),
        (y, x),
        abs(float(thickness)) if thickness not in (None, "") else None,
        int(number) if number not in (None, "") else None,
    )


def order_files(geometries: Sequence[Geometry], paths: Sequence[Path]) -> Ordered:
    """Order slices by their place along the normal of the image plane.

    Parameters
    ----------
    geometries, paths
        One per file.

    Raises
    ------
    UnsupportedFormatError
        If slices differ in size or orientation, two lie at one place, or one is missing.
    """
    first = geometries[0]
    if len(geometries) == 1:
        return _order_frames(first, paths[0])
    for one, path in zip(geometries, paths, strict=True):
        if one.frames > 1:
            raise UnsupportedFormatError(
                f"{shown(path)}: has {one.frames} frames, and the folder has other files of its "
                "series; import it on its own"
            )
        if (one.rows, one.columns) != (first.rows, first.columns):
            raise UnsupportedFormatError(
                f"{shown(path)}: {one.rows} × {one.columns} pixels, but {shown(paths[0].name)} has "
                f"{first.rows} × {first.columns}; all slices must be alike"
            )
        if not _alike(one, first):
            raise UnsupportedFormatError(
                f"{shown(path)}: its orientation or pixel size differs from "
                f"{shown(paths[0].name)}; the folder mixes different stacks"
            )
    if all(g.positions for g in geometries) and first.row is not None and first.column is not None:
        normal = np.cross(first.row, first.column)
        along = np.array([np.dot(g.positions[0], normal) for g in geometries])
        order = tuple(int(i) for i in np.argsort(along, kind="stable"))
        step = _even_step(along[list(order)], [paths[i] for i in order], "mm")
        return Ordered(order, step, geometries[order[0]].positions[0])
    return _order_by_number(geometries, paths)


def _order_frames(one: Geometry, path: Path) -> Ordered:
    if len(one.positions) != one.frames or one.row is None or one.column is None:
        return Ordered((0,), None, one.positions[0] if one.positions else None)
    if one.frames == 1:
        return Ordered((0,), None, one.positions[0])
    along = np.array(one.positions) @ np.cross(one.row, one.column)
    backwards = bool(along[-1] < along[0])
    rising = along[::-1] if backwards else along
    if (np.diff(rising) <= 0).any():
        raise UnsupportedFormatError(
            f"{shown(path)}: its frames do not rise steadily through space (several stacks or "
            "times in one file); export one stack"
        )
    step = _even_step(rising, [path] * one.frames, "mm")
    return Ordered((0,), step, one.positions[-1 if backwards else 0], backwards)


def _order_by_number(geometries: Sequence[Geometry], paths: Sequence[Path]) -> Ordered:
    numbers = [g.instance for g in geometries]
    if any(n is None for n in numbers):
        raise UnsupportedFormatError(
            f"{shown(paths[numbers.index(None)])}: has neither a position nor an instance number; "
            "the order of the slices is unknown"
        )
    known = np.array(numbers, float)
    order = tuple(int(i) for i in np.argsort(known, kind="stable"))
    _even_step(known[list(order)], [paths[i] for i in order], "by instance number")
    return Ordered(order, None, None)


def _even_step(along: np.ndarray[Any, Any], paths: Sequence[Path], unit: str) -> float:
    """The step between rising places, if it is the same everywhere."""
    steps = np.diff(along)
    usual = float(np.median(steps))
    if (same := np.flatnonzero(steps <= max(1e-4, usual * 1e-3))).size:
        at = int(same[0])
        raise UnsupportedFormatError(
            f"{shown(paths[at])} and {shown(paths[at + 1].name)} lie at one place "
            f"({along[at]:g} {unit}); several times or echoes are mixed: keep one per place"
        )
    odd = np.flatnonzero(np.abs(steps - usual) > usual * _TOLERANCE + 1e-3)
    if odd.size:
        at = int(odd[0])
        missing = steps[at] / usual - 1
        raise UnsupportedFormatError(
            f"gap in the series between {shown(paths[at])} ({along[at]:g} {unit}) and "
            f"{shown(paths[at + 1].name)} ({along[at + 1]:g} {unit}): the usual step is {usual:g}"
            + (f", about {missing:.0f} slice(s) are missing" if missing > 0.5 else "")
            + "; complete the folder"
        )
    return usual


def _alike(one: Geometry, other: Geometry) -> bool:
    if (one.row is None) != (other.row is None) or one.spacing_mm != other.spacing_mm:
        return False
    if one.row is None or other.row is None or one.column is None or other.column is None:
        return True
    return bool(np.allclose([*one.row, *one.column], [*other.row, *other.column], atol=1e-3))


def _positions(dataset: Any, per_frame: list[Any], frames: int) -> tuple[tuple[float, ...], ...]:
    own = _numbers(dataset.get("ImagePositionPatient"), 3)
    if own and frames == 1:
        return (own,)
    found = [
        _numbers(_inside([g], "PlanePositionSequence", "ImagePositionPatient"), 3)
        for g in per_frame
    ]
    if len(found) == frames and all(found):
        return tuple(p for p in found if p)
    return ()


def _inside(groups: list[Any], sequence: str, name: str) -> Any:
    for group in groups:
        item = _first(group.get(sequence)) if group is not None else None
        if item is not None and item.get(name):
            return item.get(name)
    return None


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _numbers(values: Any, count: int) -> tuple[float, ...] | None:
    if not values or len(values) != count:
        return None
    return tuple(float(v) for v in values)
