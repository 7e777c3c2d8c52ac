"""Samples: the features of labelled voxels, with weights by which every class and every stroke of it counts alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volseg.classify.voxels.features import VoxelFeatures
from volseg.classify.voxels.strokes import Strokes

CELL = 64  # voxels; features are computed in cells of a slice that hold labelled voxels


@dataclass(frozen=True)
class Samples:
    """What a classifier learns from.

    Parameters
    ----------
    features
        (n, features) float32.
    classes
        (n,) int64 class numbers.
    strokes
        (n,) int64: which stroke, from 0; no two images share a number.
    """

    features: NDArray[np.float32]
    classes: NDArray[np.int64]
    strokes: NDArray[np.int64]

    @property
    def weights(self) -> NDArray[np.float64]:
        """(n,) with mean 1: classes alike, in a class strokes alike, in a stroke voxels alike."""
        _, stroke = np.unique(self.strokes, return_inverse=True)
        voxels = np.bincount(stroke)
        _, first = np.unique(stroke, return_index=True)
        kinds, of_stroke = np.unique(self.classes[first], return_inverse=True)
        strokes = np.bincount(of_stroke)
        share = 1 / (len(kinds) * strokes[of_stroke] * voxels)
        return np.asarray(share[stroke] * len(stroke))

    def chosen(self, which: NDArray[np.bool_]) -> Samples:
        """Return some of the samples."""
        return Samples(self.features[which], self.classes[which], self.strokes[which])


def sample(strokes: Strokes, features: VoxelFeatures, time: int) -> Samples:
    """Compute the features of the labelled voxels of one time, and of no other voxel's surroundings than theirs."""
    at_time = np.flatnonzero(strokes.places[:, 0] == time)
    places = strokes.places[at_time]
    cells = np.stack([places[:, 1], places[:, 2] // CELL, places[:, 3] // CELL], axis=1)
    found = np.empty((len(at_time), len(features.definition.names)), np.float32)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    order = np.argsort(cell.ravel(), kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(cell.ravel()[order])) + 1):
        z, (y0, x0), (y1, x1) = _bounds(places[members])
        planes = features.of_slice(z, (y0, y1), (x0, x1))
        found[members] = planes[:, places[members, 2] - y0, places[members, 3] - x0].T
    return Samples(found, strokes.classes[at_time], strokes.strokes[at_time])


def joined(parts: Sequence[Samples]) -> Samples:
    """Put the samples of several images together."""
    offsets = np.cumsum([0, *(int(part.strokes.max(initial=-1)) + 1 for part in parts)])
    return Samples(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([p.strokes + o for p, o in zip(parts, offsets[:-1], strict=True)]),
    )


def _bounds(places: NDArray[np.int64]) -> tuple[int, tuple[int, int], tuple[int, int]]:
    low, high = places.min(axis=0), places.max(axis=0) + 1
    return int(low[1]), (int(low[2]), int(low[3])), (int(high[2]), int(high[3]))
