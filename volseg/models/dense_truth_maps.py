"""What the maps of a labelled tile are, exactly: the definition of what a dense model predicts, and its training
target.

Every map comes with weights, 0 where the labels don't say: beyond the tile, and where nobody labelled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volseg.errors import InputError
from volseg.models.dense import NEXT_SLICE, PLANAR_OFFSETS, depth_of_distance

Labels = NDArray[np.integer]
Mask = NDArray[np.bool_]
Map = NDArray[np.float32]
UNKNOWN = -1


@dataclass(frozen=True)
class TruthMaps:
    """Maps of one tile and how much each of their pixels is worth.

    Attributes
    ----------
    maps, weights : ndarray (m, h / 2, w / 2) float32
        In the order of `volseg.models.dense.MAPS`, both in 0..1.
    """

    maps: Map
    weights: Map


def truth_maps(
    labels: Labels,
    known: Mask | None = None,
    following: Labels | None = None,
    following_known: Mask | None = None,
) -> TruthMaps:
    """Compute the maps of a labelled tile.

    *Foreground* is the part of each map pixel that objects cover. *Boundary* is 1 where one of its four pixels has
    a direct neighbour of another label (background counts as one). *Depth* is the mean of
    `volseg.models.dense.depth_of_distance` over its four pixels, of the distance to the nearest outermost pixel of the
    object, plus 1, in pixels of the tile. An *affinity* is 1 where both ends belong to one object, 0 where just one
    end does or both belong to different ones; pairs of background have no weight.

    Where something is not labelled, labelled objects are still taken as complete: an unlabelled pixel is not known
    to be background, but known to be none of *them*. So it has no weight itself in any map, nor has a pair with it.

    Parameters
    ----------
    labels : ndarray (h, w) of int
        0 for background; h and w are even.
    known : ndarray (h, w) of bool, optional
        False where nobody labelled; what `labels` says there is not looked at. All is known by default.
    following, following_known : ndarray (h, w), optional
        The next slice's. Without it the affinity to it has no weight.

    Raises
    ------
    InputError
        The tile has an odd side.
    """
    if labels.ndim != 2 or labels.shape[0] % 2 or labels.shape[1] % 2:
        raise InputError(f"a labelled tile is (y, x) with even sides, not {labels.shape}")
    seen = _seen(labels, known)
    planar = [_foreground(seen), _boundary(seen), _depth(seen)]
    coarse = seen[1::2, 1::2]
    pairs = [_affinity(coarse, _moved(coarse, dy, dx)) for _, dy, dx in PLANAR_OFFSETS]
    beyond = np.full_like(coarse, UNKNOWN)
    after = beyond if following is None else _seen(following, following_known)[1::2, 1::2]
    assert NEXT_SLICE == (1, 0, 0)
    every = [*planar, *pairs, _affinity(coarse, after)]
    return TruthMaps(np.stack([m for m, _ in every]), np.stack([w for _, w in every]))


def _seen(labels: Labels, known: Mask | None) -> NDArray[np.int64]:
    """Labels with `UNKNOWN` where nobody labelled."""
    wide = labels.astype(np.int64)
    return wide if known is None else np.where(known, wide, UNKNOWN)


def _halved(values: Map) -> NDArray[np.float32]:
    """Means over 2 x 2."""
    height, width = values.shape
    return values.reshape(height // 2, 2, width // 2, 2).mean((1, 3), dtype=np.float32)


def _weighted(values: Map, weights: Map) -> tuple[Map, Map]:
    """Means over 2 x 2 of values that weigh differently, and their weights."""
    weight = _halved(weights)
    return np.asarray(_halved(values * weights) / np.maximum(weight, 1e-6), np.float32), weight


def _foreground(seen: NDArray[np.int64]) -> tuple[Map, Map]:
    return _weighted((seen > 0).astype(np.float32), (seen >= 0).astype(np.float32))


def _borders(seen: NDArray[np.int64]) -> tuple[Mask, Mask]:
    """Pixels with a direct neighbour of another label, and those with one that nobody labelled."""
    padded = np.pad(seen, 1, mode="edge")
    around = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    differs = np.zeros(seen.shape, bool)
    unknown = np.zeros(seen.shape, bool)
    for other in around:
        differs |= other != seen
        unknown |= other == UNKNOWN
    return differs, unknown


def _boundary(seen: NDArray[np.int64]) -> tuple[Map, Map]:
    differs, unknown = _borders(seen)
    told = (seen > 0) | ((seen == 0) & ~unknown)
    height, width = seen.shape
    marked = (differs & told).reshape(height // 2, 2, width // 2, 2).any((1, 3))
    return marked.astype(np.float32), _halved(told.astype(np.float32))


def _depth(seen: NDArray[np.int64]) -> tuple[Map, Map]:
    height, width = seen.shape
    inside = seen > 0
    edge = inside & _borders(seen)[0]
    rows, columns = np.arange(height)[:, None], np.arange(width)
    cut = np.minimum(np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns))
    if edge.any():
        distance = ndimage.distance_transform_edt(~edge).astype(np.float32) + 1
    else:  # one object fills the tile, or none is there
        distance = np.full(seen.shape, np.inf, np.float32)
    # an object that the tile cuts may end right beyond it
    told = (seen == 0) | (inside & (distance <= cut + 1))
    depth = depth_of_distance(np.where(inside, distance, np.float32(0)))
    values, _ = _weighted(depth, (seen >= 0).astype(np.float32))
    return values, _halved(told.astype(np.float32))


def _moved(coarse: NDArray[np.int64], dy: int, dx: int) -> NDArray[np.int64]:
    """The label `dy` rows below and `dx` columns to the right; `UNKNOWN` beyond the tile."""
    height, width = coarse.shape
    moved = np.full_like(coarse, UNKNOWN)
    rows = slice(max(0, -dy), min(height, height - dy))
    columns = slice(max(0, -dx), min(width, width - dx))
    if rows.start < rows.stop and columns.start < columns.stop:
        there = (
            slice(rows.start + dy, rows.stop + dy),
            slice(columns.start + dx, columns.stop + dx),
        )
        moved[rows, columns] = coarse[there]
    return moved


def _affinity(here: NDArray[np.int64], there: NDArray[np.int64]) -> tuple[Map, Map]:
    told = (here >= 0) & (there >= 0) & ((here > 0) | (there > 0))
    return ((here == there) & (here > 0)).astype(np.float32), told.astype(np.float32)
