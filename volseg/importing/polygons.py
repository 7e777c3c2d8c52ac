"""Polygons filled as ImageJ and QuPath do: a pixel belongs to what its centre lies in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]


def filled(rings: Sequence[NDArray[np.float64]], rows: Span, columns: Span) -> NDArray[np.bool_]:
    """Fill rings by the even-odd rule, so that rings inside others are holes.

    Parameters
    ----------
    rings : sequence of ndarray (n, 2)
        Corners as x, y; pixel (0, 0) is the square from (0, 0) to (1, 1). Closed or not.
    rows, columns : (start, stop)
        The window of pixels that is wanted.

    Returns
    -------
    ndarray of bool (y, x)
        Of the window. A centre on an edge belongs to the right-hand or lower side.
    """
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    turns = np.zeros((height, width + 1), bool)
    for ring in rings:
        first = np.asarray(ring, np.float64) - (columns[0] + 0.5, rows[0] + 0.5)
        second = np.roll(first, -1, axis=0)
        _cross(turns, first, second)
    return np.logical_xor.accumulate(turns, axis=1)[:, :width]


def _cross(
    turns: NDArray[np.bool_], first: NDArray[np.float64], second: NDArray[np.float64]
) -> None:
    """Turn from outside to inside, or back, where the edges cross the rows of pixel centres."""
    height, last = turns.shape[0], turns.shape[1] - 1
    up = first[:, 1] > second[:, 1]
    low, high = np.where(up[:, None], second, first), np.where(up[:, None], first, second)
    start = np.clip(np.ceil(low[:, 1]), 0, height).astype(np.int64)
    stop = np.clip(np.ceil(high[:, 1]), 0, height).astype(np.int64)
    counts = np.maximum(stop - start, 0)
    edges = np.repeat(np.arange(len(counts)), counts)
    if not len(edges):
        return
    steps = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts)
    y = start[edges] + steps
    slope = (high[edges, 0] - low[edges, 0]) / (high[edges, 1] - low[edges, 1])
    x = low[edges, 0] + (y - low[edges, 1]) * slope
    column = np.clip(np.ceil(x), 0, last).astype(np.int64)
    np.logical_xor.at(turns, (y, column), True)
