"""Voxel size and channel names out of a TIFF's metadata: OME-XML, ImageJ, LSM, resolution tags."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from typing import Any

from volseg.images.units import length_unit

Scale = tuple[float | None, float | None, float | None]

_OTHER_SPELLINGS = {
    "\\u00b5m": "micrometer", "µ": "micrometer", "âµm": "micrometer", "å": "angstrom", "angstroms": "angstrom",
    "in": "inch", "inches": "inch", "centimeters": "centimeter", "meters": "meter", "dm": "decimeter",
    "pm": "picometer",
}  # fmt: skip
_PRINTERS = (
    72,
    75,
    90,
    96,
    100,
    120,
    144,
    150,
    180,
    200,
    240,
    300,
    360,
    400,
    600,
    720,
    1200,
    2400,
    4800,
)
"""Dots per inch that programs write unasked."""
_MICROSCOPE = 10_000
"""Dots per inch from which an inch is meant: 2.5 µm and less."""


def in_micrometres(value: object, unit: str | None) -> float | None:
    """A length in micrometres; None where the unit is none of length or the value makes no sense.

    Parameters
    ----------
    value : number or text
    unit : str or None
        Name or symbol of the unit; None means micrometres (OME's default).
    """
    factor = 1.0 if unit is None else _factor(unit)
    try:
        size = float(value) * factor if factor is not None else None  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if size is None or not math.isfinite(size) or size <= 0:
        return None
    return float(f"{size:.12g}")


def voxel_size_um(file: Any, series: int = 0) -> Scale:
    """Return the voxel size (z, y, x) in micrometres as far as the file tells it.

    Parameters
    ----------
    file : tifffile.TiffFile
    series : int
        Which image of an OME-TIFF.
    """
    if file.is_ome and (pixels := _ome_pixels(file, series)) is not None:
        return tuple(  # type: ignore[return-value]
            in_micrometres(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit"))
            if pixels.get(f"PhysicalSize{a}")
            else None
            for a in "ZYX"
        )
    if file.is_lsm and (facts := file.lsm_metadata):
        return tuple(in_micrometres(facts.get(f"VoxelSize{a}"), "m") for a in "ZYX")  # type: ignore[return-value]
    if file.is_imagej and file.imagej_metadata:
        return _imagej_scale(file)
    if file.is_stk and (facts := file.stk_metadata):
        return _stk_scale(facts)
    if summary := _micromanager(file):
        side = in_micrometres(summary.get("PixelSize_um"), None)
        return in_micrometres(summary.get("z-step_um"), None), side, side
    page = file.pages.first
    y, x = (_per_inch(page, f"{a}Resolution") for a in "YX")
    return None, _inverse(y, 25_400.0), _inverse(x, 25_400.0)


def channel_names_of(file: Any, series: int = 0) -> tuple[str, ...]:
    """Return the channels' names as far as the file tells them."""
    if file.is_ome and (pixels := _ome_pixels(file, series)) is not None:
        names = [part.get("Name") for part in pixels if part.tag.rpartition("}")[2] == "Channel"]
        return tuple(name or f"channel {n}" for n, name in enumerate(names)) if any(names) else ()
    if file.is_lsm and file.lsm_metadata:
        colours = file.lsm_metadata.get("ChannelColors") or {}
        names = colours.get("ColorNames") or []
        return tuple(str(name) for name in names if name)
    said = _micromanager(file).get("ChNames")
    return tuple(map(str, said)) if isinstance(said, list) else ()


def _ome_pixels(file: Any, series: int) -> ElementTree.Element | None:
    """Return the Pixels element of an image; None where the XML is damaged."""
    text = file.ome_metadata
    if not text or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    found = [element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"]
    return found[min(series, len(found) - 1)] if found else None


def _factor(unit: str) -> float | None:
    """Return how many micrometres a unit is; None for one that is none of length."""
    name = unit.strip().lower()
    found = length_unit(_OTHER_SPELLINGS.get(name, name))
    return None if found is None else found[1]


def _imagej_scale(file: Any) -> Scale:
    """Return ImageJ's calibration; y and z may have units of their own, and a negative spacing runs downwards."""
    facts, page = file.imagej_metadata, file.pages.first
    units = {a: str(facts.get(f"{a}unit") or facts.get("unit") or "") for a in "zyx"}
    y, x = (_inverse(_resolution(page, f"{a.upper()}Resolution"), _factor(units[a])) for a in "yx")
    spacing = facts.get("spacing")
    depth = abs(spacing) if isinstance(spacing, int | float) else None
    return in_micrometres(depth, units["z"]), y, x


def _stk_scale(facts: dict[str, Any]) -> Scale:
    """Return MetaMorph's calibration; the distance of slices is in micrometres."""
    unit = str(facts.get("CalibrationUnits") or "")
    y, x = (in_micrometres(facts.get(f"{a}Calibration"), unit) for a in "YX")
    distances = [abs(float(d)) for d in facts.get("ZDistance", ())]
    return in_micrometres(distances[0] if distances else None, None), y, x


def _micromanager(file: Any) -> dict[str, Any]:
    facts = file.micromanager_metadata if file.is_micromanager or file.is_mmstack else None
    summary = facts.get("Summary") if isinstance(facts, dict) else None
    return summary if isinstance(summary, dict) else {}


def _resolution(page: Any, name: str) -> float | None:
    tag = page.tags.get(name)
    if tag is None:
        return None
    top, bottom = tag.value
    return top / bottom if top and bottom else None


def _per_inch(page: Any, name: str) -> float | None:
    """Return the resolution of a plain TIFF in dots per inch; None where it only speaks to printers."""
    found, unit = _resolution(page, name), int(page.resolutionunit or 1)
    if found is None or found == 1 or unit not in (2, 3):
        return None
    dots = found * 2.54 if unit == 3 else found
    if unit == 2 and dots < _MICROSCOPE:
        return None
    usual = any(math.isclose(dots, n, rel_tol=0.005) for n in _PRINTERS)
    return None if usual else dots


def _inverse(per_unit: float | None, factor: float | None) -> float | None:
    if per_unit is None or factor is None:
        return None
    return in_micrometres(factor / per_unit, None)
