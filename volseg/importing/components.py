"""Objects of a mask: voxels of one value that touch by a face, an edge or a corner (26 neighbours), block by block.

Blocks are labelled by connected-components-3d and joined where they meet, so that any cut gives the same objects;
they are numbered in the order of their first voxels (z, then y, then x), at each time from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.geometry import Region, region_shape
from volseg.importing.label_layer import LabelLayer, Piece

MOST_VALUES = 255
"""With more values than these, it is no mask but an image."""
_SHIFTS = list(product((0, 1, 2), (0, 1, 2)))
_Ids = NDArray[np.int64]


def components_of(layer: LabelLayer) -> LabelLayer:
    """Return a layer whose ids are the components of another's voxels.

    Memory: a block, a slice, and one number per component and block.

    Raises
    ------
    InputError
        When it is read, if there are more values than a mask has.
    """

    def pieces(regions: list[Region]) -> Iterator[Piece]:
        for time in range(layer.n_times):
            joining = _Joining(layer.shape)
            for region, values in _blocks(layer, regions, time):
                joining.add(region, values)
            table, first = joining.table(), 1
            for region, values in _blocks(layer, regions, time):
                found, count = _labelled(values)
                if count:
                    own = np.concatenate([[0], table[first : first + count]])
                    yield time, region, own[found]
                first += count

    return replace(layer, pieces=pieces, objects=[])


def _blocks(
    layer: LabelLayer, regions: list[Region], time: int
) -> Iterator[tuple[Region, NDArray[Any]]]:
    """All blocks of one time, in the order of `regions`; those of which the layer tells nothing are empty."""
    following = iter(regions)
    for at, region, values in layer.pieces(regions):
        if at == time:
            for other in following:
                if other == region:
                    break
                yield other, _nothing(other)
            yield region, values
    yield from ((other, _nothing(other)) for other in following)


def _nothing(region: Region) -> NDArray[np.uint8]:
    return np.zeros(region_shape(region), np.uint8)


def _labelled(values: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Components (z, y, x) of a block, from 1, and how many there are."""
    import cc3d

    found, count = cc3d.connected_components(
        np.require(values, requirements=["C", "W"]), connectivity=26, return_N=True
    )
    return found, int(count)


class _Joining:
    """Finds which components of blocks are one, from blocks in z, then y order, rows along x whole.

    Parameters
    ----------
    shape : (z, y, x)
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        _, height, width = shape
        self._below = np.zeros((height + 2, width + 2), np.int64)
        self._above = self._below.copy()
        self._row: _Ids = np.zeros((0, 0), np.int64)
        self._count = 0
        self._first: list[_Ids] = [np.zeros(1, np.int64)]
        self._values: list[NDArray[Any]] = [np.zeros(1, np.int64)]
        self._pairs: list[_Ids] = []

    def add(self, region: Region, values: NDArray[Any]) -> None:
        """Take in the next block."""
        (z0, _), (y0, y1), _ = region
        depth, _, width = values.shape
        if y0 == 0:
            self._below, self._above = self._above, np.zeros_like(self._below)
            self._row = np.zeros((depth + 2, width + 2), np.int64)
        found, count = _labelled(values)
        ids = found.astype(np.int64)
        ids[ids > 0] += self._count
        self._note(found, count, values, (z0 * self._shape[1] + y0) * self._shape[2])
        self._meet(ids[0], self._below[y0 : y1 + 2])
        self._meet(ids[:, 0], self._row)
        self._above[y0 + 1 : y1 + 1, 1:-1] = ids[-1]
        self._row[1:-1, 1:-1] = ids[:, -1]
        self._count += count

    def _note(self, found: NDArray[Any], count: int, values: NDArray[Any], start: int) -> None:
        """Write down each component's first voxel and value."""
        _, rows, width = found.shape
        flat = found.reshape(-1)
        heads = np.flatnonzero(np.diff(flat, prepend=np.zeros(1, flat.dtype)))
        first = np.full(count + 1, flat.size, np.int64)
        np.minimum.at(first, flat[heads], heads)
        first = first[1:]
        self._values.append(values.reshape(-1)[first].astype(np.int64))
        slices, inside = np.divmod(first, rows * width)
        self._first.append(start + slices * self._shape[1] * width + inside)

    def _meet(self, ids: _Ids, others: _Ids) -> None:
        """Note which components touch across a border, `others` being one voxel wider on each side."""
        height, width = ids.shape
        for dy, dx in _SHIFTS:
            other = others[dy : dy + height, dx : dx + width]
            both = (ids > 0) & (other > 0)
            if both.any():
                self._pairs.append(np.unique(np.stack([ids[both], other[both]], axis=1), axis=0))

    def table(self) -> _Ids:
        """Return the final number of each block's component, in the order in which they were found; 0 for 0."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        values, first = np.concatenate(self._values), np.concatenate(self._first)
        if len(np.unique(values[1:])) > MOST_VALUES:
            raise InputError(
                f"--components takes a mask, of at most {MOST_VALUES} values; this has more: it is an image or has ids "
                "already"
            )
        pairs = np.concatenate(self._pairs) if self._pairs else np.zeros((0, 2), np.int64)
        pairs = pairs[values[pairs[:, 0]] == values[pairs[:, 1]]]
        n = len(values)
        graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (n, n))
        _, group = connected_components(graph, directed=False)
        start = np.full(group.max() + 1, np.iinfo(np.int64).max)
        np.minimum.at(start, group[1:], first[1:])
        rank = np.empty(len(start), np.int64)
        rank[np.argsort(start, kind="stable")] = np.arange(1, len(start) + 1)
        numbers: _Ids = rank[group]
        numbers[0] = 0
        return numbers
