"""Tracks painted into a block of labels; overlaps go to the higher score, then to the lower id."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from volseg.errors import InputError
from volseg.geometry import Region
from volseg.propagation.track import Track
from volseg.propagation.window import overlap


def compose_block(
    region: Region,
    tracks: Iterable[tuple[int, Track, float]],
    dtype: DTypeLike = np.uint32,
) -> NDArray[np.unsignedinteger]:
    """Labels of a region.

    Parameters
    ----------
    region : ((z0, z1), (y0, y1), (x0, x1))
        Voxels, half-open.
    tracks : iterable of (object id, Track, score)
        In any order; tracks that don't meet the region may be among them.
    dtype : unsigned integer type

    Returns
    -------
    (z, y, x) array of `dtype`
        0 where no object is.

    Raises
    ------
    InputError
        An id is 0, negative, or too large for `dtype`, or is given twice.
    """
    (z0, z1), (y0, y1), (x0, x1) = region
    block: NDArray[np.unsignedinteger] = np.zeros((z1 - z0, y1 - y0, x1 - x0), dtype=dtype)
    ordered = sorted(tracks, key=lambda item: (item[2], -item[0]))
    _check_ids([i for i, _, _ in ordered], block.dtype)
    for i, track, _ in ordered:
        for z in track.slices:
            if not z0 <= z < z1:
                continue
            in_mask, in_block = overlap(track.bbox(z), (y0, x0, y1, x1))
            if in_mask[0].stop > in_mask[0].start:
                mask = track.window(z)[1][in_mask]
                block[z - z0][in_block][mask] = i
    return block


def _check_ids(ids: list[int], dtype: np.dtype[np.unsignedinteger]) -> None:
    largest = int(np.iinfo(dtype).max)
    for i in ids:
        if not 0 < i <= largest:
            raise InputError(
                f"object id {i} does not fit labels of type {dtype}: expected 1 to {largest}; "
                "choose a wider type or other ids"
            )
    if len(set(ids)) != len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})[:5]
        raise InputError(f"object ids given twice: {twice}; give each object one track")
