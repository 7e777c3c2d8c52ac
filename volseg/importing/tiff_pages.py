"""The pages of a TIFF image as a lazy array, mapped where the bytes in the file are the values."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.importing.tiff_series import TiffImage

_LARGE_PAGE = 2**26  # bytes; larger pages are read tile by tile instead of whole


def stored_array(file: Any, image: TiffImage, path: Path) -> Any:
    """Return the stored numbers as a lazy array of the image's shape."""
    page = image.page
    plain = int(page.fillorder) == 1 and int(page.predictor) == 1 and int(page.compression) == 1
    if image.offset is not None and plain and int(page.bitspersample) in (8, 16, 32, 64):
        dtype = image.dtype.newbyteorder(file.byteorder)
        return np.memmap(path, dtype, "r", image.offset, image.shape)
    return _Pages(image)


class Picked:
    """A lazy array without some of the axes of another, and with some of them cut.

    Parameters
    ----------
    keep : tuple of int
        Axes that stay; of the others the first entry is taken.
    cut : dict of int
        Length by axis, where only the first entries are taken.
    """

    def __init__(self, inner: Any, keep: tuple[int, ...], cut: dict[int, int]) -> None:
        self._inner, self._keep, self._cut = inner, keep, cut
        self.dtype = np.dtype(inner.dtype)
        self.shape = tuple(cut.get(at, int(inner.shape[at])) for at in keep)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[np.generic]:
        whole: list[Any] = [0] * len(self._inner.shape)
        for at, length, part in zip(self._keep, self.shape, index, strict=True):
            whole[at] = slice(*part.indices(length)) if isinstance(part, slice) else part
        return np.asarray(self._inner[tuple(whole)])


class _Pages:
    """Pages one by one; the page last decoded is kept."""

    def __init__(self, image: TiffImage) -> None:
        self.shape, self.dtype = image.shape, image.dtype
        self._image = image
        page_shape = tuple(int(n) for n in image.page.shape)
        lead, total = 0, 1
        count = math.prod(self.shape) // math.prod(page_shape)
        while total < count:
            total *= self.shape[lead]
            lead += 1
        self._lead = lead
        self._page_shape = self.shape[lead:]
        self._tiles = None
        if image.whole is not None and math.prod(page_shape) * self.dtype.itemsize > _LARGE_PAGE:
            import zarr

            opened = zarr.open(image.whole.aszarr(level=0), mode="r")
            self._tiles = opened if isinstance(opened, zarr.Array) else None
        self._lock = threading.Lock()
        self._last: tuple[int, NDArray[np.generic]] | None = None

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[np.generic]:
        if self._tiles is not None:
            return np.asarray(self._tiles[index])
        head, tail = index[: self._lead], index[self._lead :]
        ranges = [
            range(*part.indices(n)) if isinstance(part, slice) else range(part, part + 1)
            for part, n in zip(head, self.shape, strict=False)
        ]
        kept = [len(r) for r, part in zip(ranges, head, strict=True) if isinstance(part, slice)]
        numbers = np.arange(math.prod(self.shape[: self._lead])).reshape(self.shape[: self._lead])
        wanted = numbers[np.ix_(*ranges)].reshape(-1) if head else np.zeros(1, int)
        first = self._page(int(wanted[0]))[tail]
        out = np.empty((len(wanted), *first.shape), self.dtype)
        out[0] = first
        for place, number in enumerate(wanted[1:], 1):
            out[place] = self._page(int(number))[tail]
        return out.reshape(*kept, *first.shape)

    def _page(self, number: int) -> NDArray[np.generic]:
        with self._lock:
            if self._last is None or self._last[0] != number:
                page = self._image.pages[number]
                if page is None:
                    data = np.zeros(self._page_shape, self.dtype)
                else:
                    data = page.asarray().reshape(self._page_shape)
                self._last = (number, data)
            return self._last[1]
