"""Maps of overlapping tiles brought back to the voxels of a slice.

Every tile of the slice's one fixed grid has its say, weighed by the distance to its own edge: what a voxel gets does
not depend on the box that was asked for, nor on how a volume is cut into blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from volseg.features.tiling import Tile, Tiling
from volseg.geometry import Box

Maps = NDArray[np.float32]


def blended(maps_of: Callable[[Tile], Maps], tiling: Tiling, box: Box) -> Maps:
    """Blend the maps of the tiles that touch a box of a slice.

    Parameters
    ----------
    maps_of : callable
        The maps (m, s, s) of a tile in 0..1, as one slice of `volseg.models.dense.DenseModel.maps`; called once for
        each tile that touches the box.
    tiling : Tiling
        The slice's.
    box : (y0, x0, y1, x1)
        Half-open voxels of the slice.

    Returns
    -------
    ndarray (m, y1 - y0, x1 - x0) float32
        Bilinear between the maps' pixels. An affinity's offset is still in pixels of the map: multiply it by
        ``tile.size / s`` to have voxels.
    """
    y0, x0, y1, x1 = box
    weights = np.zeros((y1 - y0, x1 - x0), np.float32)
    total: Maps | None = None
    for tile in tiling.touching(box):
        top, left, bottom, right = tile.box
        rows, columns = (max(y0, top), min(y1, bottom)), (max(x0, left), min(x1, right))
        within = (..., slice(rows[0] - y0, rows[1] - y0), slice(columns[0] - x0, columns[1] - x0))
        cut = (
            ...,
            slice(rows[0] - top, rows[1] - top),
            slice(columns[0] - left, columns[1] - left),
        )
        maps = enlarged(maps_of(tile), tile.size)[cut]
        weight = tiling.weight(tile, (rows[0], columns[0], rows[1], columns[1]))
        if total is None:
            total = np.zeros((len(maps), *weights.shape), np.float32)
        total[within] += maps * weight
        weights[within] += weight
    assert total is not None, f"no tile touches {box}"
    return total / weights


def enlarged(maps: Maps, size: int) -> Maps:
    """Maps (m, s, s) at ``size`` x ``size`` voxels: bilinear, with antialiasing where it shrinks.

    Always the whole tile, so that a voxel's value never depends on a box.
    """
    if maps.shape[-1] == size:
        return maps
    wide = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(maps))[None], size=(size, size), mode="bilinear",
        align_corners=False, antialias=True,
    )  # fmt: skip
    return np.asarray(wide[0].numpy())
