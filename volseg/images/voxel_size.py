"""Which voxel sizes are plausible. Used where metadata or people say one; nothing is read or written here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from volseg.errors import InputError

Size = tuple[float, float, float]
MOST_ANISOTROPY = 200.0
"""Longest over shortest side of a voxel. Wide-set slices of MR and OCT reach 100; 1,000 is a wrong unit."""


@dataclass(frozen=True)
class Bounds:
    """The voxel sides, in micrometres, that a kind of imaging has."""

    what: str
    low_um: float
    high_um: float


ANY = Bounds("any microscope or scanner", 5e-6, 1e5)  # STEM of atoms … slabs of 10 cm
ELECTRON = Bounds("electron microscopy", 5e-6, 5.0)  # … thick sections of array tomography
LIGHT = Bounds("light microscopy", 1e-3, 1e4)  # super-resolution … macro lenses
MEDICAL = Bounds("medical imaging", 0.5, 1e5)  # optical coherence tomography … slabs of 10 cm


def is_length(value: float) -> bool:
    """Return whether a number can be a length at all: positive and finite."""
    return math.isfinite(value) and value > 0


def checked_size(given: Sequence[float]) -> Size:
    """Return a voxel size (z, y, x), in micrometres, that a person gave.

    Raises
    ------
    InputError
        If it is not three positive finite numbers.
    """
    sizes = tuple(float(n) for n in given)
    if len(sizes) != 3 or not all(map(is_length, sizes)):
        said = " ".join(f"{n:g}" for n in sizes)
        raise InputError(f"voxel size {said}: expected three positive numbers Z Y X in micrometres")
    return sizes


def oddness(
    size_um: Sequence[float | None], shape: Sequence[int], bounds: Bounds = ANY
) -> str | None:
    """Return in a few words what is implausible about a voxel size, None if nothing is.

    Parameters
    ----------
    size_um : (z, y, x)
        In micrometres; None where unknown, which is never odd.
    shape : (z, y, x)
        Voxels. Axes of one voxel are not compared with others: a section is as thick as it is.
    bounds : Bounds
        Of the instrument, where that is known.
    """
    known = [(a, n, m) for a, n, m in zip("zyx", size_um, shape, strict=True) if n is not None]
    for axis, n, _ in known:
        if not is_length(n):
            return f"the voxel size along {axis} is {n:g}, not a positive number"
        if not bounds.low_um <= n <= bounds.high_um:
            usual = f"{bounds.low_um:g} to {bounds.high_um:g} µm"
            return f"the voxel size along {axis} is {n:g} µm, but {bounds.what} has {usual}"
    sides = sorted((n, axis) for axis, n, length in known if length > 1)
    if len(sides) > 1 and sides[-1][0] > MOST_ANISOTROPY * sides[0][0]:
        (short, across), (long, along) = sides[0], sides[-1]
        return (
            f"voxels are {long:g} µm along {along} and {short:g} µm along {across}, "
            f"more than {MOST_ANISOTROPY:g} times as long as wide"
        )
    return None
