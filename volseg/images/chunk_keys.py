"""How the chunks of Zarr 2 arrays are named: flat ("0.1.2") or nested ("0/1/2"), which not every writer says.

Early writers of nested chunks (bioformats2raw before 0.3, n5-zarr) left ``dimension_separator`` out, for which Zarr
says ".": believed, such an array is all fill value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from volseg.errors import AccessDeniedError, NoListingError
from volseg.storage import Store

PROBES = 16
"""So many chunks are looked for where the place can't list what it has."""


def with_true_separator(store: Store, path: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return an array's metadata with the separator that its stored chunks have.

    Parameters
    ----------
    store, path
        Where the array is.
    document
        Its ``.zarray``; one that says "/" is believed.
    """
    shape: Any = document.get("shape")
    chunks: Any = document.get("chunks")
    if document.get("dimension_separator") == "/" or not _is_grid(shape, chunks):
        return document
    found = _separator(store, path, [-(-n // c) for n, c in zip(shape, chunks, strict=True)])
    return document | {"dimension_separator": found or document.get("dimension_separator") or "."}


def _is_grid(shape: Any, chunks: Any) -> bool:
    lists = isinstance(shape, list) and isinstance(chunks, list) and len(shape) == len(chunks) > 1
    return lists and all(isinstance(n, int) and n > 0 for n in (*shape, *chunks))


def _separator(store: Store, path: str, counts: Sequence[int]) -> str | None:
    """Return the separator of the chunks that are stored, None where none is found."""
    first, *others = _probes(counts)
    if found := _of_chunk(store, path, first):
        return found
    try:
        keys = (stat.key[len(path) + 1 :] for stat in store.list(path))
        stored = next((key for key in keys if key[0].isdigit()), None)
        return None if stored is None else "/" if "/" in stored else "."
    except (NoListingError, AccessDeniedError):
        return next((found for one in others if (found := _of_chunk(store, path, one))), None)


def _of_chunk(store: Store, path: str, index: Sequence[int]) -> str | None:
    names = list(map(str, index))
    return next((s for s in (".", "/") if store.exists(f"{path}/{s.join(names)}")), None)


def _probes(counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Return chunk indices spread over the diagonal of the grid, the first one first."""
    steps = {k / (PROBES - 1) for k in range(PROBES)}
    middle_out = sorted(steps - {0.0}, key=lambda s: abs(s - 0.5))
    found = [tuple(int(s * (n - 1)) for n in counts) for s in (0.0, *middle_out)]
    return list(dict.fromkeys(found))
