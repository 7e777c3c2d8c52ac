"""Units of length and time as NGFF names them, and what they are in micrometres."""

from __future__ import annotations

_PREFIXES = {
    "yocto": -24, "zepto": -21, "atto": -18, "femto": -15, "pico": -12, "nano": -9, "micro": -6, "milli": -3,
    "centi": -2, "deci": -1, "": 0, "deca": 1, "hecto": 2, "kilo": 3, "mega": 6, "giga": 9, "tera": 12,
    "peta": 15, "exa": 18, "zetta": 21, "yotta": 24,
}  # fmt: skip
_OTHER_LENGTHS = {
    "angstrom": 1e-4, "foot": 304_800.0, "inch": 25_400.0, "mile": 1.609344e9, "yard": 914_400.0,
    "parsec": 3.0856775814913673e22,
}  # fmt: skip
_OTHER_TIMES = ("day", "hour", "minute")
# what files in the wild say instead of the names of the specification
_SPELLINGS = {
    "µm": "micrometer", "μm": "micrometer", "um": "micrometer", "micron": "micrometer", "microns": "micrometer",
    "micrometre": "micrometer", "nm": "nanometer", "nanometre": "nanometer", "mm": "millimeter",
    "millimetre": "millimeter", "cm": "centimeter", "m": "meter", "metre": "meter", "s": "second", "sec": "second",
    "seconds": "second", "ms": "millisecond", "milliseconds": "millisecond", "minutes": "minute", "min": "minute",
    "hours": "hour", "h": "hour", "days": "day", "micrometers": "micrometer", "nanometers": "nanometer",
    "millimeters": "millimeter",
}  # fmt: skip


def length_unit(text: str | None) -> tuple[str, float] | None:
    """Return NGFF's name of a unit of length and how many micrometres it is; None for none or an unknown one."""
    name = _normal(text)
    if name in _OTHER_LENGTHS:
        return name, _OTHER_LENGTHS[name]
    for prefix, power in _PREFIXES.items():
        if name == f"{prefix}meter":
            return name, 10.0 ** (power + 6)
    return None


def time_unit(text: str | None) -> str | None:
    """Return NGFF's name of a unit of time; None for none or an unknown one."""
    name = _normal(text)
    known = name in _OTHER_TIMES or name in {f"{prefix}second" for prefix in _PREFIXES}
    return name if known else None


def seconds_of(unit: str | None) -> float | None:
    """Return how many seconds a unit of time is; None for none or an unknown one."""
    name = time_unit(unit)
    if name is None:
        return None
    if name in _OTHER_TIMES:
        return {"minute": 60.0, "hour": 3600.0, "day": 86400.0}[name]
    return 10.0 ** _PREFIXES[name.removesuffix("second")]


def _normal(text: str | None) -> str:
    name = text.strip() if isinstance(text, str) else ""
    return _SPELLINGS.get(name, _SPELLINGS.get(name.lower(), name.lower()))
