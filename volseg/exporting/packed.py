"""Slices as compressed strips, read and packed by several threads, in the order that a TIFF file wants them.

Only packed strips wait for their turn; labels pack to a few hundredths, so that little lies in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice, pairwise
from typing import Any

import imagecodecs
import numpy as np

from volseg.exporting.ahead import in_order
from volseg.exporting.block_reader import BlockReader
from volseg.exporting.selection import Selection
from volseg.geometry import Region
from volseg.progress import Progress

_THREADS = 4
_AHEAD = 2 * _THREADS


def _zlib(data: Any) -> bytes:
    """zlib at its first level, which takes less time than writing the bytes that it saves."""
    encode = imagecodecs.zlibng_encode if imagecodecs.ZLIBNG.available else imagecodecs.zlib_encode
    return bytes(encode(data, 1))


PACKINGS: dict[str, Callable[[Any], bytes]] = {
    "zlib": _zlib,
    "zstd": lambda data: bytes(imagecodecs.zstd_encode(data)),
    "lzw": lambda data: bytes(imagecodecs.lzw_encode(data)),
}


def packed_strips(
    selection: Selection, dtype: np.dtype[np.generic], rows: int, packing: str, progress: Progress
) -> Generator[bytes, None, None]:
    """Compress a selection strip by strip.

    Parameters
    ----------
    selection : Selection
    dtype : dtype
        Of the ids in the file.
    rows : int
        Rows y of a strip; the last of a slice may have fewer.
    packing : str
        One of `PACKINGS`.
    progress : Progress

    Yields
    ------
    bytes
        Slice after slice, in each from y = 0 on.

    Raises
    ------
    TooNarrowError
        If an id does not fit the type.
    """
    reader, pack = BlockReader(selection, dtype), PACKINGS[packing]
    _, height, width = selection.shape

    @cache
    def background(count: int) -> bytes:
        return pack(np.zeros((count, width), dtype))

    def packed(region: Region) -> list[bytes]:
        (z0, z1), (y0, y1), _ = region
        data = reader.read(region)
        return [background(y1 - y0)] * (z1 - z0) if data is None else [pack(one) for one in data]

    strips = [(y, min(y + rows, height)) for y in range(0, height, rows)]
    slabs = _slabs(selection)
    regions = [(slab, strip, (0, width)) for slab in slabs for strip in strips]
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = in_order(pool, packed, regions, _AHEAD)
        for done, _ in enumerate(slabs, 1):
            for of_one_slice in zip(*islice(parts, len(strips)), strict=True):
                yield from of_one_slice
            progress("export", done, len(slabs))


def _slabs(selection: Selection) -> list[tuple[int, int]]:
    """Ranges of z that each lie within one layer of storage objects."""
    depth, chunk = selection.shape[0], selection.labels.levels[selection.level].grid.chunk[0]
    first = chunk - selection.origin[0] % chunk
    cuts = [0, *range(first, depth, chunk), depth]
    return list(pairwise(cuts))
