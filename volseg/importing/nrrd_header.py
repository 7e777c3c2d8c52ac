"""What an NRRD header says: axes, steps, place in space, and where the data lie.

Format: https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from volseg.errors import UnsupportedFormatError
from volseg.images.units import length_unit
from volseg.importing.guard import printable, shown

_SPACES = {
    name: signs
    for names, signs in [
        (("left-posterior-superior", "lps"), (-1.0, -1.0, 1.0)),
        (("right-anterior-superior", "ras"), (1.0, 1.0, 1.0)),
        (("left-anterior-superior", "las"), (-1.0, 1.0, 1.0)),
    ]
    for name in names
}
_COLOURS = {"rgb-color": 3, "rgba-color": 4, "3-color": 3, "4-color": 4}
_SPACE_KINDS = {"domain", "space"}
_LONGEST_HEADER = 2**22
_MILLIMETRES = 1000.0  # medical NRRDs that name no unit mean mm


@dataclass(frozen=True)
class NrrdHeader:
    """Parsed fields, where the attached data begin (bytes), and the files of detached data."""

    fields: dict[str, Any]
    size: int
    listed: tuple[str, ...]

    def get(self, *names: str) -> Any:
        """Return the first of several spellings of a field that is there, else None."""
        return next((self.fields[name] for name in names if name in self.fields), None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes, slowest first."""
        return tuple(int(n) for n in reversed(self.fields["sizes"]))


def read_header(source: IO[bytes]) -> NrrdHeader:
    """Read the header at the beginning of a file.

    Raises
    ------
    ValueError or what pynrrd raises
        If it is damaged.
    """
    import nrrd

    lines: list[bytes] = []
    names: list[str] = []
    size = 0
    while (line := source.readline(_LONGEST_HEADER)) and size <= _LONGEST_HEADER:
        size += len(line)
        if not line.rstrip():
            break
        if lines and re.match(rb"data ?file:\s*LIST\b", lines[-1]):
            names.append(line.decode("utf-8", "surrogateescape").strip())
        else:
            lines.append(line)
    fields = dict(nrrd.read_header([_text(line) for line in lines]))
    said = fields.get("data file", fields.get("datafile"))
    if said is not None and not names:
        names = _pattern(str(said))
    return NrrdHeader(fields, size, tuple(names))


def _text(line: bytes) -> str:
    """A line as text, the name of its field in small letters (Teem reads those of either case)."""
    try:
        text = line.decode()
    except UnicodeDecodeError:  # older writers
        text = line.decode("latin-1")
    field, colon, value = text.partition(":")
    is_field = colon and not value.startswith("=") and not text.startswith("#")
    return f"{field.lower()}:{value}" if is_field else text


def _pattern(said: str) -> list[str]:
    """The files that ``name``, or ``pattern min max step [subdim]``, means."""
    found = re.fullmatch(r"(\S*%0?\d*[diu]\S*)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(?:\s+\d+)?", said)
    if found is None:
        return [said]
    low, high, step = (int(n) for n in found.groups()[1:])
    if step == 0 or abs(high - low) // abs(step) > 1_000_000:
        raise ValueError(f"data file {printable(said)!r} names no files")
    numbers = range(low, high + (1 if step > 0 else -1), step)
    before, width, after = re.split(r"%(0?\d*)[diu]", found[1], maxsplit=1)
    return [f"{before}{n:{width}d}{after}" for n in numbers]


def data_files(path: Path, header: NrrdHeader) -> list[Path]:
    """Return the files of detached data, empty where they are attached.

    Raises
    ------
    UnsupportedFormatError
        If one is not below the header's folder: a header from elsewhere must not read other files of this machine.
    """
    found = []
    for name in header.listed:
        place = PurePosixPath(name.replace("\\", "/"))
        parts = [part for part in place.parts if part != "."]
        if place.is_absolute() or ".." in parts or not parts or ":" in parts[0]:
            raise UnsupportedFormatError(
                f"{shown(path)}: its data file {printable(name)!r} is not below its own folder; "
                "put it beside the header, and name it so there"
            )
        found.append(path.parent.joinpath(*parts))
    return found


def axis_letters(header: NrrdHeader) -> str:
    """Return a letter per axis, slowest first, by kinds and directions; "?" where nothing tells."""
    ndim = len(header.shape)
    kinds = [str(kind).lower() for kind in header.get("kinds") or []]
    kinds = kinds if len(kinds) == ndim else ["???"] * ndim
    vectors = header.get("space directions")
    letters: list[str] = []
    for at, kind in enumerate(kinds):
        directed = vectors is None or at >= len(vectors) or _finite(vectors[at])
        if kind in _COLOURS and at == 0:
            letters.append("s")
        elif kind == "time":
            letters.append("t")
        elif kind in _SPACE_KINDS or (kind in ("???", "none", "unknown") and directed):
            letters.append("")
        else:  # a list, vector, matrix, colour, or an axis without direction
            letters.append("c")
    spatial = iter("xyzct?" if "c" not in letters else "xyzt?")
    return "".join(letter or next(spatial, "?") for letter in letters)[::-1]


def _finite(vector: Any) -> bool:
    return vector is not None and bool(np.isfinite(np.asarray(vector, float)).all())


def colour_samples(header: NrrdHeader) -> int | None:
    """Return how many samples a colour has, None where there is none."""
    kinds = [str(kind).lower() for kind in header.get("kinds") or []]
    return _COLOURS.get(kinds[0]) if kinds else None


def scale_of(header: NrrdHeader, letters: str) -> tuple[tuple[float | None, ...], tuple[str, ...]]:
    """Return steps (z, y, x) in micrometres, None where unknown, and along which the thickness had to do.

    Directions count before spacings, these before the axes' ends, and those before thicknesses.
    """
    vectors = header.get("space directions")
    thick, units = header.get("thicknesses"), header.get("units")
    steps: dict[str, float | None] = {"z": None, "y": None, "x": None}
    by_thickness = []
    for at, letter in enumerate(reversed(letters)):
        if letter not in steps:
            continue
        unit = _factor(_at(units, at))
        if _finite(_at(vectors, at)):
            steps[letter] = _rounded(_norm_um(header, vectors[at]))
        elif (plain := _spacing(header, at)) is not None:
            steps[letter] = _rounded(plain * unit) if unit else None
        elif (plain := _number(thick, at)) is not None and unit:
            steps[letter] = _rounded(plain * unit)
            by_thickness.append(letter)
    return (steps["z"], steps["y"], steps["x"]), tuple(by_thickness)


def affine_of(header: NrrdHeader, letters: str) -> list[list[float]] | None:
    """Return the affine from voxels (x, y, z) to millimetres right, front and up; None where it is not told."""
    signs = _SPACES.get(str(header.get("space") or "").lower().removesuffix("-time"))
    vectors, origin = header.get("space directions"), header.get("space origin")
    if signs is None or vectors is None:
        return None
    rows = {
        letter: vectors[at]
        for at, letter in enumerate(reversed(letters))
        if letter in "xyz" and at < len(vectors) and _finite(vectors[at])
    }
    if set(rows) != set("xyz") or any(len(row) != 3 for row in rows.values()):
        return None
    factors = _space_factors(header, 3)
    if factors is None:
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.array([rows[letter] for letter in "xyz"], float).T
    if origin is not None and len(origin) == 3 and _finite(origin):
        affine[:3, 3] = origin
    to_mm = [sign * factor / _MILLIMETRES for sign, factor in zip(signs, factors, strict=True)]
    return [[float(v) for v in row] for row in np.diag([*to_mm, 1.0]) @ affine]


def _spacing(header: NrrdHeader, at: int) -> float | None:
    """Step along an axis, told as such or by its ends: those of the outer cells, or of their centres (node)."""
    if (plain := _number(header.get("spacings"), at)) is not None:
        return plain
    ends = [_number(header.get(f"axis {end}", f"axis{end}"), at) for end in ("mins", "maxs")]
    low, high = ends
    length = int(header.fields["sizes"][at])
    centers = header.get("centerings", "centers") or ()  # pynrrd only knows the first as a list
    centers = centers.split() if isinstance(centers, str) else centers
    steps = length - (str(_at(centers, at)).lower() == "node")
    return None if low is None or high is None or steps < 1 else abs(high - low) / steps


def _norm_um(header: NrrdHeader, vector: Sequence[float]) -> float | None:
    factors = _space_factors(header, len(vector))
    return (
        None
        if factors is None
        else math.hypot(*(v * f for v, f in zip(vector, factors, strict=True)))
    )


def _space_factors(header: NrrdHeader, count: int) -> list[float] | None:
    """Micrometres per unit of each axis of space; None where a unit is none of length."""
    units = header.get("space units") or []
    factors = [_factor(_at(units, at)) for at in range(count)]
    return None if None in factors else [f for f in factors if f is not None]


def _factor(unit: Any) -> float | None:
    said = str(unit or "").strip().strip('"')
    if not said or said.lower() in ("none", "???"):
        return _MILLIMETRES
    found = length_unit(said)
    return None if found is None else found[1]


def _at(values: Any, index: int) -> Any:
    return values[index] if values is not None and index < len(values) else None


def _number(values: Any, index: int) -> float | None:
    found = _at(values, index)
    return None if found is None or math.isnan(float(found)) else float(found)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.9g}")
