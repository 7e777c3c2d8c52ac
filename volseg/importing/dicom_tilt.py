"""Slices that a tilted gantry shifts against each other, resampled onto a straight grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.importing.dicom_frames import Frames


class Straightened:
    """The frames (…, z, y, x) moved back by what each is shifted, on a grid that holds all of them.

    Values between pixels are interpolated linearly, along y and x only; what was not scanned gets `frames.outside`.

    Parameters
    ----------
    frames : Frames
    shift : (y, x)
        Pixels by which each slice is shifted against the one before.
    """

    def __init__(self, frames: Frames, shift: tuple[float, float]) -> None:
        self._frames = frames
        *lead, slices, rows, columns = frames.shape[: len(frames.shape) - frames.is_colour]
        ends = [n * (slices - 1) for n in shift]
        self._shift = shift
        self.first = tuple(min(0.0, end) for end in ends)
        """Pixels (y, x) from the first slice's first pixel to the grid's."""
        grown = [
            n + math.ceil(abs(end) - 1e-9) for n, end in zip((rows, columns), ends, strict=True)
        ]
        self.shape: tuple[int, ...] = (*lead, slices, *grown)
        self.dtype = frames.dtype
        if frames.is_colour:
            self.shape = (*self.shape, 3)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[np.generic]:
        lead = self._frames.order.ndim
        chosen = np.asarray(self._frames.order[index[:lead]])
        slices = np.broadcast_to(np.arange(self._frames.order.shape[-1]), self._frames.order.shape)
        found = [
            self._straight(int(n), int(z))[index[lead:]]
            for n, z in zip(chosen.ravel(), np.asarray(slices[index[:lead]]).ravel(), strict=True)
        ]
        return np.stack(found).reshape(chosen.shape + found[0].shape)

    def _straight(self, number: int, z: int) -> NDArray[np.generic]:
        values = self._frames.frame(number)
        outside = self._frames.outside
        for axis in (0, 1):
            offset = self._shift[axis] * z - self.first[axis]
            values = _moved(
                values, axis, offset, self.shape[axis - 2 - self._frames.is_colour], outside
            )
        if self.dtype.kind in "iu":
            values = np.rint(values)
        return values.astype(self.dtype)


def _moved(
    values: NDArray[np.generic], axis: int, offset: float, length: int, outside: float
) -> NDArray[np.float64]:
    """Move pixels by `offset` ≥ 0 along an axis into an array of `length`, linearly interpolated."""
    whole = math.floor(offset)
    part = offset - whole
    before = values.astype(np.float64)
    result = np.full((*before.shape[:axis], length, *before.shape[axis + 1 :]), outside)
    target = np.moveaxis(result, axis, 0)
    source = np.moveaxis(before, axis, 0)
    if part < 1e-9:
        target[whole : whole + len(source)] = source
        return result
    inner = slice(whole + 1, whole + len(source))
    target[inner] = source[:-1] * part + source[1:] * (1 - part)
    return result
