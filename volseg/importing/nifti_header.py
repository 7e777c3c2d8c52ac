"""What a NIfTI header says of place and size: which of its three ways to say it counts, and whether they agree.

Standard: "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE" in
https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MICROMETRES = {"mm": 1e3, "micron": 1.0, "meter": 1e6}
_AGREE = 1e-3  # relative; headers hold 24-bit floats, and tools round
_MOST_SKEW_DEGREES = 1.0


@dataclass(frozen=True)
class NiftiSpace:
    """Place and size of the voxel grid.

    Attributes
    ----------
    size_um : (x, y, z)
        Voxel sides in micrometres.
    affine_mm : float (4, 4)
        From voxels (x, y, z) to millimetres right, front and up.
    unit
        Name of the unit of length in the header: "mm", "micron", "meter" or "unknown" (taken as mm).
    notes
        What contradicts itself in the header, for people.
    """

    size_um: tuple[float, float, float]
    affine_mm: NDArray[np.float64]
    unit: str
    notes: tuple[str, ...]


def space_of(header: Any, shape: tuple[int, ...]) -> NiftiSpace:
    """Return the place and size: by the sform where its code says so, else the qform, else by pixdim alone.

    A form that is no usable affine (not finite, or flat) is passed over, and told.
    """
    notes: list[str] = []
    plain = tuple(abs(float(f"{n:.7g}")) for n in header["pixdim"][1:4])
    forms = {}
    for name, code in (("sform", "sform_code"), ("qform", "qform_code")):
        if int(header[code]) <= 0:
            continue
        found = _form(header, name)
        if found is None:
            notes.append(f"its {name} is no usable affine and is passed over")
        else:
            forms[name] = found
    affine = next(iter(forms.values()), None)
    if affine is None:
        affine = _by_pixdim(header)
        size = plain
    else:
        size = _sizes(affine, plain)
        notes += _disagreements(forms, size, plain, shape)
    if skew := _skew(affine):
        notes.append(f"its axes are {skew:.1f}° off right angles; sizes are measured along them")
    unit = _unit(header)
    factor = _MICROMETRES.get(unit, 1e3)
    to_mm = np.diag([factor / 1e3] * 3 + [1.0])
    x, y, z = (float(f"{n * factor:.9g}") for n in size)
    return NiftiSpace((x, y, z), to_mm @ affine, unit, tuple(notes))


def _form(header: Any, name: str) -> NDArray[np.float64] | None:
    try:
        found = header.get_sform() if name == "sform" else header.get_qform()
    except Exception:  # nibabel fails with several errors over quaternions that are none
        return None
    affine = np.asarray(found, float)
    usable = np.isfinite(affine).all() and (np.linalg.norm(affine[:3, :3], axis=0) > 0).all()
    return affine if usable else None


def _by_pixdim(header: Any) -> NDArray[np.float64]:
    """What nibabel makes of pixdim alone; its signs and its centre are a convention, not from the file."""
    affine = np.asarray(header.get_base_affine(), float)
    return affine if np.isfinite(affine).all() else np.eye(4)


def _sizes(affine: NDArray[np.float64], plain: tuple[float, ...]) -> tuple[float, ...]:
    """Lengths of the affine's columns; pixdim's rounder numbers where they are the same."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return tuple(
        pixdim if _same(float(length), pixdim, 1e-5) else float(f"{length:.6g}")
        for length, pixdim in zip(lengths, plain, strict=True)
    )


def _disagreements(
    forms: dict[str, NDArray[np.float64]],
    size: tuple[float, ...],
    plain: tuple[float, ...],
    shape: tuple[int, ...],
) -> list[str]:
    name = next(iter(forms))
    notes = []
    if not all(
        _same(a, b, _AGREE) for a, b, n in zip(size, plain, (*shape, 1, 1), strict=False) if n > 1
    ):
        notes.append(
            f"its {name} has voxels of {_text(size)}, its pixdim of {_text(plain)}; the {name}'s are taken"
        )
    if len(forms) == 2:
        sform, qform = forms.values()
        corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in (*shape, 1, 1)[:3]), 1]]).T
        apart = np.abs(((sform - qform) @ corners)[:3]).max()
        if apart > 0.5 * min(size):
            notes.append(
                f"its sform and qform place it differently, by {apart:.3g}; the sform's place is taken"
            )
    return notes


def _skew(affine: NDArray[np.float64]) -> float:
    """Degrees by which the axes miss right angles, 0 if not worth telling."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not lengths.all():
        return 0.0
    unit = affine[:3, :3] / lengths
    cosine = float(np.abs(unit.T @ unit - np.eye(3)).max())
    degrees = math.degrees(math.asin(min(1.0, cosine)))
    return degrees if degrees > _MOST_SKEW_DEGREES else 0.0


def _unit(header: Any) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:
        return "unknown"


def _same(a: float, b: float, tolerance: float) -> bool:
    return abs(a - b) <= tolerance * max(abs(a), abs(b))


def _text(size: tuple[float, ...]) -> str:
    return " × ".join(f"{n:g}" for n in size)
