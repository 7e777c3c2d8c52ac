"""Low-resolution mask logits of tiles brought back to the slice: windows of it, and seams between
tiles.

Logits of overlapping tiles are averaged with each tile's distance to its own edge as weight, so
that nothing jumps where one tile ends. Nothing here decodes or reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from volseg.features.tiling import Tile, Tiling
from volseg.geometry import Box

Logits = NDArray[np.float32]


def mask_box(logits: Logits, tile: Tile) -> Box | None:
    """Voxels of the slice outside which masks of a tile are empty: y0, x0, y1, x1, half-open.

    Parameters
    ----------
    logits : ndarray (k, m, m)
        Low-resolution logits.
    tile : Tile
        Their tile.

    Returns
    -------
    tuple or None
        None where no mask has a voxel.
    """
    positive = np.asarray((logits > 0).any(axis=0))
    rows, columns = np.flatnonzero(positive.max(axis=1)), np.flatnonzero(positive.max(axis=0))
    if not len(rows):
        return None
    pitch = tile.size / logits.shape[-1]  # voxels per low-resolution pixel
    # between two pixels bilinear interpolation is positive only beside a positive one
    y0, y1 = _reach(rows[0], rows[-1], pitch, tile.height)
    x0, x1 = _reach(columns[0], columns[-1], pitch, tile.width)
    if y1 <= y0 or x1 <= x0:  # only in the padding beyond a narrow slice
        return None
    return tile.y0 + y0, tile.x0 + x0, tile.y0 + y1, tile.x0 + x1


def _reach(first: int, last: int, pitch: float, length: int) -> tuple[int, int]:
    low = max(0, math.floor((first - 0.5) * pitch))
    return low, min(length, math.ceil((last + 1.5) * pitch))


def upsampled(logits: Logits, tile: Tile, box: Box) -> Logits:
    """Logits at the voxels of a box inside a tile, interpolated as SAM does (bilinear, pixel
    centres).

    Parameters
    ----------
    logits : ndarray (k, m, m)
        Low-resolution logits of the tile.
    tile : Tile
        Their tile.
    box : (y0, x0, y1, x1)
        Voxels of the slice, half-open; only this window is computed.

    Returns
    -------
    ndarray (k, y1 - y0, x1 - x0) float32
    """
    pitch, last = tile.size / logits.shape[-1], logits.shape[-1] - 1
    rows = _taps(box[0] - tile.y0, box[2] - tile.y0, pitch, last)
    columns = _taps(box[1] - tile.x0, box[3] - tile.x0, pitch, last)
    values = torch.from_numpy(np.ascontiguousarray(logits))
    values = _lerp(values, 1, *rows)
    return np.asarray(_lerp(values, 2, *columns).numpy())


def _taps(first: int, last: int, pitch: float, most: int) -> tuple[torch.Tensor, ...]:
    at = (torch.arange(first, last, dtype=torch.float32) + 0.5) / pitch - 0.5
    at = at.clamp(0, most)
    low = at.floor().long()
    return low, (low + 1).clamp(max=most), at - low


def _lerp(
    values: torch.Tensor, axis: int, low: torch.Tensor, high: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    shape = [1, 1, 1]
    shape[axis] = -1
    first = values.index_select(axis, low)
    return first.lerp_(values.index_select(axis, high), share.view(shape).expand_as(first))


def open_edges(tile: Tile, shape_yx: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    """Whether the slice goes on beyond the tile: above, left, below, right."""
    y0, x0, y1, x1 = tile.box
    return y0 > 0, x0 > 0, y1 < shape_yx[0], x1 < shape_yx[1]


def reached(
    mask: NDArray[np.bool_], edges: tuple[bool, bool, bool, bool], margin: int
) -> NDArray[np.bool_]:
    """The part of a tile's mask (m, m) that lies within `margin` pixels of an open edge."""
    near = np.zeros_like(mask)
    above, left, below, right = edges
    if above:
        near[:margin] = True
    if left:
        near[:, :margin] = True
    if below:
        near[-margin:] = True
    if right:
        near[:, -margin:] = True
    return mask & near


def merged(pieces: Mapping[int, Logits], tiling: Tiling) -> tuple[Logits, Box] | None:
    """Logits of one mask that several tiles have a part of.

    Parameters
    ----------
    pieces : mapping
        Tile index -> low-resolution logits (m, m) of that tile.
    tiling : Tiling
        The tiles.

    Returns
    -------
    (logits, box) or None
        Logits (h, w) float32 in the window `box` of the slice; None where the mask is empty.
    """
    boxes = [mask_box(logits[None], tiling.tiles[i]) for i, logits in sorted(pieces.items())]
    found = [box for box in boxes if box is not None]
    if not found:
        return None
    window = (
        min(b[0] for b in found), min(b[1] for b in found),
        max(b[2] for b in found), max(b[3] for b in found),
    )  # fmt: skip
    shape = (window[2] - window[0], window[3] - window[1])
    total, weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for index, logits in sorted(pieces.items()):
        tile = tiling.tiles[index]
        part = intersection(tile.box, window)
        if part is None:
            continue
        weight = tiling.weight(tile, part)
        rows = slice(part[0] - window[0], part[2] - window[0])
        columns = slice(part[1] - window[1], part[3] - window[1])
        total[rows, columns] += weight * upsampled(logits[None], tile, part)[0]
        weights[rows, columns] += weight
    return np.asarray(total / np.maximum(weights, np.float32(1e-6)), np.float32), window


def intersection(a: Box, b: Box) -> Box | None:
    """What two boxes (y0, x0, y1, x1) share, None for nothing."""
    y0, x0, y1, x1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


def agreement(a: Logits, tile_a: Tile, b: Logits, tile_b: Tile) -> NDArray[np.float32]:
    """IoU of a mask of one tile with each mask of another, over the voxels that both tiles show.

    Parameters
    ----------
    a : ndarray (m, m)
        Logits of the first tile.
    tile_a, tile_b : Tile
        The tiles.
    b : ndarray (k, m, m)
        Logits of the second tile.

    Returns
    -------
    ndarray (k,) float32
        0 where they share nothing.
    """
    box = intersection(tile_a.box, tile_b.box)
    if box is None:
        return np.zeros(len(b), np.float32)
    one = upsampled(a[None], tile_a, box)[0] > 0
    others = upsampled(b, tile_b, box) > 0
    both = (others & one).sum(axis=(1, 2))
    either = (others | one).sum(axis=(1, 2))
    return np.asarray(both / np.maximum(either, 1), np.float32)
