"""A lazy array whose stored values become real ones by a slope and an intercept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def rescaled_type(dtype: np.dtype[Any], slope: float, intercept: float) -> np.dtype[Any]:
    """The smallest type that holds every rescaled value of `dtype` exactly, else float32.

    Parameters
    ----------
    dtype : stored type
    slope, intercept : float
        value = stored × slope + intercept.
    """
    if slope == 1 and intercept == 0:
        return np.dtype(dtype)
    if dtype.kind == "f" or not (float(slope).is_integer() and float(intercept).is_integer()):
        return np.dtype(np.float32)
    limits = np.iinfo(dtype)
    ends = sorted(int(end) * int(slope) + int(intercept) for end in (limits.min, limits.max))
    for candidate in (np.uint8, np.int16, np.uint16, np.int32, np.uint32):
        room = np.iinfo(candidate)
        if room.min <= ends[0] and ends[1] <= room.max:
            return np.dtype(candidate)
    return np.dtype(np.float32)


class Rescaled:
    """`array[index] * slope + intercept`, computed when read."""

    def __init__(self, array: Any, slope: float, intercept: float) -> None:
        self._array, self._slope, self._intercept = array, slope, intercept
        self.shape = tuple(array.shape)
        self.dtype = rescaled_type(np.dtype(array.dtype), slope, intercept)

    def __getitem__(self, index: Any) -> NDArray[np.generic]:
        return rescale(np.asarray(self._array[index]), self._slope, self._intercept, self.dtype)


def rescale(
    stored: NDArray[np.generic], slope: float, intercept: float, dtype: np.dtype[Any]
) -> NDArray[np.generic]:
    """Apply slope and intercept, computed in float64 or, for whole numbers, exactly."""
    if slope == 1 and intercept == 0:
        return stored.astype(dtype, copy=False)
    if dtype.kind in "iu":
        return (stored.astype(np.int64) * int(slope) + int(intercept)).astype(dtype)
    return (stored.astype(np.float64) * slope + intercept).astype(dtype)
