"""The frames of DICOM files as one lazy array of real values: rescaled, upright in brightness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.dicom_files import DicomFile
from volseg.importing.dicom_pixels import PixelFormat, decode
from volseg.importing.dicom_planes import Plane
from volseg.importing.guard import shown
from volseg.importing.rescaled import rescale, rescaled_type


class Frames:
    """Frames as a lazy array (…, z, y, x), for colours (…, z, y, x, 3).

    Parameters
    ----------
    files
        The files that the planes are in.
    planes
        One per frame.
    order : int array (…, z)
        Which plane is where.
    """

    def __init__(
        self, files: Sequence[DicomFile], planes: Sequence[Plane], order: NDArray[np.intp]
    ) -> None:
        self._files, self._planes, self.order = files, planes, order
        used = [files[plane.file].pixels for plane in planes]
        self.is_colour = used[0].is_colour
        if any(pixels.is_colour != self.is_colour for pixels in used):
            raise UnsupportedFormatError(
                f"{shown(files[0].path)}: colour and grey images are mixed in one series"
            )
        size = (*order.shape, used[0].rows, used[0].columns)
        self.shape: tuple[int, ...] = (*size, 3) if self.is_colour else size
        self.dtype = np.dtype(np.uint8) if self.is_colour else self._common_type()

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        lead = self.order.ndim
        chosen = np.asarray(self.order[index[:lead]])
        found = [self.frame(int(n))[index[lead:]] for n in chosen.ravel()]
        return np.stack(found).reshape(chosen.shape + found[0].shape)

    def frame(self, number: int) -> NDArray[Any]:
        """Return the real values of a plane by its number, (y, x) or (y, x, 3)."""
        plane = self._planes[number]
        file = self._files[plane.file]
        stored = decode(file.path, file.dataset, file.pixels, plane.frame)
        if self.is_colour:
            return stored
        values = rescale(stored, plane.slope, plane.intercept, self.dtype)
        if file.pixels.photometric == "MONOCHROME1":
            return _inverted(values, file.pixels, plane)
        return values

    @property
    def outside(self) -> float:
        """The value to take where nothing was scanned: that of a stored 0, which is air in CT."""
        return 0.0 if self.is_colour else self._planes[0].intercept

    def _common_type(self) -> np.dtype[np.generic]:
        """The one type that holds the rescaled values of all frames exactly, else float32."""
        kinds = {(self._files[p.file].pixels, p.slope, p.intercept) for p in self._planes}
        common = np.result_type(*(_value_type(*kind) for kind in kinds))
        if common.kind == "f":
            return common if common.itemsize <= 8 and self._stores_doubles() else np.dtype("f4")
        return np.dtype(np.float32) if common.itemsize > 4 else common

    def _stores_doubles(self) -> bool:
        return any(f.pixels.real and f.pixels.allocated == 64 for f in self._files)


def _value_type(pixels: PixelFormat, slope: float, intercept: float) -> np.dtype[np.generic]:
    """As `rescaled_type`, but by the bits that are really used (12 of 16 is usual)."""
    if pixels.real or (slope, intercept) == (1.0, 0.0):
        return pixels.dtype
    if not (slope.is_integer() and intercept.is_integer()):
        return rescaled_type(pixels.dtype, slope, intercept)
    ends = sorted(end * int(slope) + int(intercept) for end in pixels.range)
    for candidate in (np.uint8, np.uint16, np.int16, np.int32, np.uint32):
        room = np.iinfo(candidate)
        if room.min <= ends[0] and ends[1] <= room.max:
            return np.dtype(candidate)
    return np.dtype(np.float32)


def _inverted(values: NDArray[Any], pixels: PixelFormat, plane: Plane) -> NDArray[Any]:
    """MONOCHROME1 shows low values bright: mirror the values within the range they can have."""
    low, high = pixels.range
    total = (low + high) * plane.slope + 2 * plane.intercept
    if values.dtype.kind == "f":
        return np.asarray(total - values, values.dtype)
    return (int(total) - values.astype(np.int64)).astype(values.dtype)
