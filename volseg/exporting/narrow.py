"""The smallest integer type that holds an export's ids, found without an extra pass where
possible.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.exporting.selection import Selection


class TooNarrowError(Exception):
    """An id does not fit the type that a file was begun with; the caller tries the next one."""


def candidates(selection: Selection, largest: int = 2**32 - 1) -> list[np.dtype[Any]]:
    """Types to try, narrowest first.

    Those that can't hold the ids in the object table are left out; without a table, or for a region,
    in which not all of them need to be, uint16 is tried first, since nearly every label image fits.

    Parameters
    ----------
    largest : int
        The greatest id that the format holds.
    """
    whole = selection.shape == selection.labels.levels[selection.level].grid.shape
    known = max(selection.rows, default=0) if whole else 0
    types: list[np.dtype[Any]] = [np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32)]
    fitting = [t for t in types if np.iinfo(t).max >= known]
    fitting = fitting if known else types[1:]
    return [t for t in fitting if np.iinfo(t).max <= largest]


def check_fits(ids: NDArray[np.generic], dtype: np.dtype[Any]) -> None:
    """Check that ids fit a type.

    Raises
    ------
    TooNarrowError
        If one does not.
    """
    wider = ids.dtype.itemsize > dtype.itemsize
    if wider and ids.size and int(ids.max()) > np.iinfo(dtype).max:
        raise TooNarrowError


def narrowed(ids: NDArray[np.generic], dtype: np.dtype[Any]) -> NDArray[np.generic]:
    """The ids in a type, contiguous.

    Raises
    ------
    TooNarrowError
        If one does not fit.
    """
    check_fits(ids, dtype)
    return np.ascontiguousarray(ids, dtype)
