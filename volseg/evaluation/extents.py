"""Bounding boxes of objects, gathered block by block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volseg.geometry import Region, joined


class Extents:
    """Bounding boxes of the objects seen so far; add blocks in any order."""

    def __init__(self) -> None:
        self.boxes: dict[int, Region] = {}

    def add(self, block: NDArray[np.integer], origin: tuple[int, int, int]) -> None:
        """Take the objects of a block into account.

        Parameters
        ----------
        block : ndarray, shape (z, y, x)
            Ids, 0 being background.
        origin : (z, y, x)
            Where the block begins, in voxels of the volume.
        """
        if not block.any():
            return
        import fastremap
        from scipy.ndimage import find_objects

        small, ids = fastremap.renumber(
            np.ascontiguousarray(block), preserve_zero=True, in_place=False
        )
        place = {int(new): int(old) for old, new in ids.items()}
        for number, found in enumerate(find_objects(small.astype(np.int32, copy=False)), 1):
            if found is None:
                continue
            z, y, x = (
                (int(part.start) + start, int(part.stop) + start)
                for part, start in zip(found, origin, strict=True)
            )
            self.boxes[place[number]] = joined(self.boxes.get(place[number]), (z, y, x))
