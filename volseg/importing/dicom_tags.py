"""Numbers out of DICOM data sets as scanners really write them: empty, with decimal commas, missing."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

from volseg.importing.guard import printable


def numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return the `count` numbers of an element.

    Parameters
    ----------
    dataset : Dataset or None
    keyword : str
        As "PixelSpacing".
    count : int

    Returns
    -------
    tuple of float or None
        None where the element is missing or empty (also in one of its values), or holds another number of values.

    Raises
    ------
    ValueError
        If a value is no number.
    """
    found = None if dataset is None else dataset.get(keyword)
    parts = [] if found is None else _parts(found)
    if len(parts) != count or any(not part for part in parts):
        return None
    try:
        return tuple(float(part.replace(",", ".")) for part in parts)
    except ValueError:
        said = printable("\\".join(parts))
        raise ValueError(f"{keyword} is '{said}', expected {count} number(s)") from None


def number(dataset: Any, keyword: str) -> float | None:
    """Return the number of an element, None where it is missing or empty; see `numbers`."""
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None


def whole(dataset: Any, keyword: str, default: int) -> int:
    """Return the whole number of an element, `default` where it is missing or empty."""
    found = number(dataset, keyword)
    return default if found is None else int(found)


def text(dataset: Any, keyword: str) -> str:
    """Return an element as printable text, "" where it is missing."""
    found = None if dataset is None else dataset.get(keyword)
    return "" if found is None else printable("\\".join(_parts(found)))


def first_item(dataset: Any, keyword: str) -> Any:
    """Return the first item of a sequence, None where it is missing or empty."""
    found = None if dataset is None else dataset.get(keyword)
    return found[0] if found else None


def _parts(value: Any) -> list[str]:
    if isinstance(value, (MutableSequence, tuple)):
        return [str(part).strip() for part in value]
    return [part.strip() for part in str(value).split("\\")]
