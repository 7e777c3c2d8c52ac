"""Blocks of ids in the type of an export, read by several threads into memory that each uses again.

Fresh memory costs more than decoding into it, so nothing is allocated per block.
"""

from __future__ import annotations

import threading
from math import prod

import numpy as np
from numpy.typing import NDArray

from volseg.exporting.narrow import check_fits, narrowed
from volseg.exporting.selection import Selection
from volseg.geometry import (
    Region,
    Triple,
    intersection,
    region_origin,
    region_shape,
    shifted,
    slices,
)


class BlockReader:
    """Reads blocks of a selection, storage object by storage object where that is possible.

    Parameters
    ----------
    selection : Selection
    dtype : dtype
        Type of what is read.
    """

    def __init__(self, selection: Selection, dtype: np.dtype[np.generic]) -> None:
        self._selection, self._dtype = selection, dtype
        self._level = selection.labels.levels[selection.level]
        self._codec = self._level.codec
        kinds = self._level.kinds  # in any other order a time's voxels are not in one piece
        self._direct = self._codec.fill == 0 and kinds == tuple(k for k in "tczyx" if k in kinds)
        self._own = threading.local()

    def read(self, region: Region) -> NDArray[np.generic] | None:
        """Read one block.

        Parameters
        ----------
        region : Region
            Half-open voxels, counted from the selection's corner.

        Returns
        -------
        ndarray, shape (z, y, x), or None
            The ids, good until the same thread reads again; None where all is background.

        Raises
        ------
        TooNarrowError
            If an id does not fit the type.
        """
        if not self._direct:
            return self._read_slowly(region)
        where = shifted(region, self._selection.origin)
        data, chunk = self._buffers(region_shape(region))
        time = self._selection.time
        view = self._codec.view(chunk, time)
        written = False
        for index in self._level.grid.index_of(where):
            box = self._level.grid.region(index)
            part = intersection(box, where)
            if part is None:
                continue
            target = data[slices(part, region_origin(where))]
            stored = self._selection.labels.store.get_or_none(self._codec.key(index, time))
            if stored is None:
                target[...] = 0
                continue
            if not self._codec.unpack_into(stored, chunk):
                return self._read_slowly(region)
            written |= self._keep(view)
            inside = view[slices(part, region_origin(box))]
            check_fits(inside, self._dtype)
            np.copyto(target, inside, casting="unsafe")
        return data if written else None

    def _read_slowly(self, region: Region) -> NDArray[np.generic] | None:
        data = narrowed(self._selection.read(region), self._dtype)
        return data if data.any() else None

    def _keep(self, view: NDArray[np.generic]) -> bool:
        """Make the objects background that were not asked for; returns whether there may be others."""
        if self._selection.ids is None:
            return True
        import fastremap

        fastremap.mask_except(view, list(self._selection.ids), in_place=True)
        return bool(view.any())

    def _buffers(self, shape: Triple) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
        """This thread's memory for a block and for a storage object."""
        size = prod(shape)
        own = self._own
        if getattr(own, "block", None) is None or own.block.size < size:
            own.block = np.empty(size, self._dtype)
            own.chunk = np.empty(self._codec.shape, self._level.dtype)
        return own.block[:size].reshape(shape), own.chunk
