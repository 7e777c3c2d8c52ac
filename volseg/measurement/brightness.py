"""Brightness as whole numbers of one scale, so that sums over it are exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP = 65535
"""Largest brightness; sums of squares of a block of 2**21 voxels stay below 2**53."""
BINS = 64
_EXACT = {
    "bool": (1 << 8, 0),
    "uint8": (1 << 8, 0),
    "int8": (1 << 8, 128),
    "uint16": (1, 0),
    "int16": (1, 32768),
}
"""Steps of one of the type's values, and what is added to it first."""


@dataclass(frozen=True)
class BrightnessScale:
    """How a channel's values become whole numbers from 0 to `TOP`.

    Types of up to 16 bits are taken exactly; others in `TOP` steps over `span`, what lies outside being cut off, and
    what is no number being its lowest value.

    Parameters
    ----------
    dtype
        Of the image.
    span
        Lowest and highest value; of types of up to 16 bits unused.
    window
        Values (low, high) between which brightness is told apart in histograms.
    """

    dtype: str
    span: tuple[float, float]
    window: tuple[float, float]

    @property
    def is_exact(self) -> bool:
        """Whether the type's values are taken as they are."""
        return self.dtype in _EXACT

    @property
    def unit(self) -> float:
        """How much of the image's own values one step is."""
        if self.dtype in _EXACT:
            return 1 / _EXACT[self.dtype][0]
        return max(self.span[1] - self.span[0], 1e-30) / TOP

    @property
    def offset(self) -> float:
        """The image's own value at 0."""
        return -float(_EXACT[self.dtype][1]) if self.dtype in _EXACT else self.span[0]

    def steps(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """Return values of the image in steps, int32 of the same shape."""
        if self.dtype in _EXACT:
            factor, offset = _EXACT[self.dtype]
            return (values.astype(np.int32) + offset) * factor
        with np.errstate(invalid="ignore", over="ignore"):
            found = np.rint((values.astype(np.float64) - self.offset) / self.unit)
        return np.clip(np.nan_to_num(found, nan=0.0), 0, TOP).astype(np.int32)

    def bins(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bin, 0 to `BINS` - 1, of values in steps: the window cut evenly, what lies beyond at its ends."""
        low, high = self._window_steps
        return np.clip((steps - low) * BINS // (high - low), 0, BINS - 1)

    def bin_centres(self) -> NDArray[np.float64]:
        """Return the image's own values in the middle of the bins (BINS,)."""
        low, high = self._window_steps
        return (low + (np.arange(BINS) + 0.5) * (high - low) / BINS) * self.unit + self.offset

    @property
    def _window_steps(self) -> tuple[int, int]:
        low, high = (round((v - self.offset) / self.unit) for v in self.window)
        low = min(max(low, 0), TOP - 1)
        return low, min(max(high, low + 1), TOP)
