"""Voxel size and channel names out of a TIFF's metadata: OME-XML, ImageJ, LSM, resolution tags."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from typing import Any

Scale = tuple[float | None, float | None, float | None]

_MICROMETRES = {
    "m": 1e6,
    "dm": 1e5,
    "cm": 1e4,
    "mm": 1e3,
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "\\u00b5m": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "å": 1e-4,
    "angstrom": 1e-4,
    "pm": 1e-6,
    "in": 25400.0,
    "inch": 25400.0,
}


def in_micrometres(value: object, unit: str | None) -> float | None:
    """A length in micrometres; None where the unit is none of length or the value makes no sense.

    Parameters
    ----------
    value : number or text
    unit : str or None
        Name or symbol of the unit; None means micrometres (OME's default).
    """
    factor = 1.0 if unit is None else _MICROMETRES.get(unit.strip().lower())
    try:
        size = float(value) * factor if factor is not None else None  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if size is None or not math.isfinite(size) or size <= 0:
        return None
    return float(f"{size:.12g}")


def voxel_size_um(file: Any) -> Scale:
    """Voxel size (z, y, x) in micrometres as far as the file tells it."""
    if file.is_ome and (pixels := _ome_pixels(file)) is not None:
        return tuple(  # type: ignore[return-value]
            in_micrometres(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit"))
            if pixels.get(f"PhysicalSize{a}")
            else None
            for a in "ZYX"
        )
    if file.is_lsm and file.lsm_metadata:
        facts = file.lsm_metadata
        return tuple(in_micrometres(facts.get(f"VoxelSize{a}"), "m") for a in "ZYX")  # type: ignore[return-value]
    if file.is_imagej and file.imagej_metadata:
        return _imagej_scale(file)
    page = file.pages.first
    if int(page.resolutionunit or 1) == 3:  # per centimetre; an inch is only a printer's default
        y, x = _resolution(page, "YResolution"), _resolution(page, "XResolution")
        return None, _inverse(y, 1e4), _inverse(x, 1e4)
    return None, None, None


def channel_names_of(file: Any) -> tuple[str, ...]:
    """Channel names as far as the file tells them."""
    if file.is_ome and (pixels := _ome_pixels(file)) is not None:
        names = [part.get("Name") for part in pixels if part.tag.rpartition("}")[2] == "Channel"]
        return tuple(name or f"channel {n}" for n, name in enumerate(names)) if any(names) else ()
    if file.is_lsm and file.lsm_metadata:
        colours = file.lsm_metadata.get("ChannelColors") or {}
        names = colours.get("ColorNames") or []
        return tuple(str(name) for name in names if name)
    return ()


def _ome_pixels(file: Any) -> ElementTree.Element | None:
    """The Pixels element of the first image; None where the XML is damaged."""
    text = file.ome_metadata
    if not text or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    return next((e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"), None)


def _imagej_scale(file: Any) -> Scale:
    facts = file.imagej_metadata
    unit = str(facts.get("unit") or "")
    factor = _MICROMETRES.get(unit.strip().lower())
    if factor is None:
        return None, None, None
    page = file.pages.first
    y, x = _resolution(page, "YResolution"), _resolution(page, "XResolution")
    return in_micrometres(facts.get("spacing"), unit), _inverse(y, factor), _inverse(x, factor)


def _resolution(page: Any, name: str) -> float | None:
    tag = page.tags.get(name)
    if tag is None:
        return None
    top, bottom = tag.value
    return top / bottom if top and bottom else None


def _inverse(per_unit: float | None, factor: float) -> float | None:
    return None if per_unit is None else in_micrometres(factor / per_unit, None)
