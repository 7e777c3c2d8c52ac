"""TIFF, BigTIFF, OME-TIFF, ImageJ hyperstacks and LSM through tifffile, page by page or mapped."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing.guard import check_size, reading, shown
from volseg.importing.opened import OpenedImage
from volseg.importing.tiff_chain import check_chain
from volseg.importing.tiff_facts import channel_names_of, voxel_size_um

_LARGE_PAGE = 2**26  # bytes; larger pages are read tile by tile instead of whole


def open_tiff(path: Path, axes: str | None, series: int | None = None) -> OpenedImage:
    """Open a TIFF file.

    Parameters
    ----------
    axes : str, optional
        Overrides what the file says about the axes that are longer than 1.
    series : int, optional
        Which image, where the file holds several that differ in shape or type.

    Raises
    ------
    UnsupportedFormatError
        If it is damaged or truncated, or holds several different images and none was chosen.
    """
    import tifffile

    with reading(path, "TIFF"):
        file = tifffile.TiffFile(path)
    try:
        with reading(path, "TIFF"):
            check_chain(file, path)
            chosen = _choose(file, path, series)
            _check_data(file, chosen, path)
            return _opened(file, chosen, path, axes)
    except BaseException:
        file.close()
        raise


def _choose(file: Any, path: Path, series: int | None) -> Any:
    found = list(file.series)
    if not found or not len(file.pages):
        raise UnsupportedFormatError(f"{shown(path)}: a TIFF without any image")
    if series is not None:
        if not 0 <= series < len(found):
            raise InputError(f"{shown(path)}: has images 0 to {len(found) - 1}, not {series}")
        return found[series]
    if len(found) > 1 and not (file.is_svs or file.is_ndpi):
        shapes = ", ".join(f"{'×'.join(map(str, one.shape))} {one.dtype}" for one in found[:4])
        raise UnsupportedFormatError(
            f"{shown(path)}: holds {len(found)} images of different shape or type ({shapes}"
            f"{', …' if len(found) > 4 else ''}); expected slices of one shape. Export the one "
            "wanted to a file of its own"
        )
    return found[0]


def _check_data(file: Any, series: Any, path: Path) -> None:
    """Refuse a file whose header announces data that can't be in it, before anything is written."""
    size = int(file.filehandle.size)
    if series.dtype is None or math.prod(series.shape) == 0:
        raise UnsupportedFormatError(f"{shown(path)}: a TIFF without image data")
    compressed = int(series.keyframe.compression) != 1
    check_size(path, series.nbytes, size, compressed=True)
    if series.dataoffset is not None and not compressed:
        check_size(path, series.dataoffset + series.nbytes, size, compressed=False)
        return
    for number, page in enumerate(series.pages):
        if page is None:
            continue
        offsets, counts = page.dataoffsets, page.databytecounts
        if len(offsets) != len(counts) or not offsets:
            raise UnsupportedFormatError(f"{shown(path)}: page {number} has no image data")
        end = max(o + c for o, c in zip(offsets, counts, strict=True))
        if end > size:
            raise UnsupportedFormatError(
                f"{shown(path)}: truncated; page {number} ends at byte {end:,}, "
                f"the file at {size:,}"
            )


def _opened(file: Any, series: Any, path: Path, axes: str | None) -> OpenedImage:
    letters, keep = _letters(series, path, axes)
    mapped = series.dataoffset is not None and int(series.keyframe.compression) == 1
    if mapped and _plain(series.keyframe):
        array: Any = np.memmap(
            path,
            series.dtype.newbyteorder(file.byteorder),
            "r",
            series.dataoffset,
            tuple(series.shape),
        )
    else:
        array = _Pages(file, series)
    array = _Picked(array, keep)
    rgb = letters.endswith("s") and np.dtype(series.dtype) == np.uint8
    if letters.endswith("s") and array.shape[-1] == 4:  # the fourth is opacity
        array = _Picked(array.inner, keep, last=3)
    return OpenedImage(
        path,
        "TIFF",
        array,
        letters,
        scale_um=voxel_size_um(file),
        channel_names=channel_names_of(file),
        is_rgb=rgb and array.shape[-1] == 3,
        close_with=file.close,
    )


def _plain(page: Any) -> bool:
    """Whether the bytes in the file are the values."""
    return (
        int(page.fillorder) == 1
        and int(page.bitspersample) in (8, 16, 32, 64)
        and int(page.predictor) == 1
    )


def _letters(series: Any, path: Path, axes: str | None) -> tuple[str, tuple[int, ...]]:
    """Letters of the axes that are kept, and which those are (axes of length 1 may be dropped)."""
    given = str(series.axes).lower()
    shape = tuple(int(n) for n in series.shape)
    long = tuple(at for at, n in enumerate(shape) if n > 1)
    if axes is not None:
        for kept in (tuple(range(len(shape))), long):
            if len(axes) == len(kept):
                return axes, kept
        raise InputError(
            f"{shown(path)}: axes {axes!r} name {len(axes)} axes, the file has {len(shape)} "
            f"of lengths {shape} ({given})"
        )
    found, kept_axes, unknown = [], [], []
    for at, letter in enumerate(given):
        if letter in "tczyxs":
            found.append(letter)
        elif shape[at] == 1:
            continue
        else:
            found.append("?")
            unknown.append(at)
        kept_axes.append(at)
    if len(unknown) > 1 or (unknown and {"z", "t"} <= set(found)):
        raise InputError(
            f"{shown(path)}: can't tell what its axes {shape} ({given}) are; "
            "say it with --axes, such as tzyx"
        )
    if unknown:
        found[found.index("?")] = "z" if "z" not in found else "t"
    return "".join(found), tuple(kept_axes)


class _Picked:
    """A lazy array without some axes of length 1, and with the last axis cut to `last`."""

    def __init__(self, inner: Any, keep: tuple[int, ...], last: int | None = None) -> None:
        self.inner, self.keep, self.last = inner, keep, last
        self.dtype = np.dtype(inner.dtype)
        shape = [int(inner.shape[at]) for at in keep]
        if last is not None:
            shape[-1] = last
        self.shape = tuple(shape)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        whole: list[Any] = [0] * len(self.inner.shape)
        for at, part in zip(self.keep, index, strict=True):
            whole[at] = part
        if self.last is not None and isinstance(index[-1], slice):
            whole[self.keep[-1]] = slice(0, self.last)
        return np.asarray(self.inner[tuple(whole)])


class _Pages:
    """The pages of a series as a lazy array; the pages last decoded are kept."""

    def __init__(self, file: Any, series: Any) -> None:
        self.shape = tuple(int(n) for n in series.shape)
        self.dtype = np.dtype(series.dtype)
        self._series, self._file = series, file
        page_shape = tuple(int(n) for n in series.keyframe.shape)
        lead, total = 0, 1
        count = math.prod(self.shape) // math.prod(page_shape)
        while total < count:
            total *= self.shape[lead]
            lead += 1
        self._lead = lead
        self._page_shape = self.shape[lead:]
        self._tiles = None
        if math.prod(page_shape) * self.dtype.itemsize > _LARGE_PAGE:
            import zarr

            opened = zarr.open(series.aszarr(level=0), mode="r")
            self._tiles = opened if isinstance(opened, zarr.Array) else None
        self._lock = threading.Lock()
        self._last: tuple[int, NDArray[Any]] | None = None

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
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

    def _page(self, number: int) -> NDArray[Any]:
        with self._lock:
            if self._last is None or self._last[0] != number:
                page = self._series[number]
                if page is None:
                    data = np.zeros(self._page_shape, self.dtype)
                else:
                    data = page.asarray().reshape(self._page_shape)
                self._last = (number, data)
            return self._last[1]
