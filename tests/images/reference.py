"""Plain, slow references that the fast code is held against."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np


def mode(block: np.ndarray, factors: tuple[int, int, int], keep_thin: bool = False) -> np.ndarray:
    """The rule of `volseg.images.downsample`, voxel by voxel, in plain Python."""
    out = np.zeros([-(-n // f) for n, f in zip(block.shape, factors, strict=True)], block.dtype)
    for index in product(*map(range, out.shape)):
        part = block[tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factors, strict=True))]
        counts = Counter(int(v) for v in part.reshape(-1))
        if keep_thin and len(counts) > 1:
            counts.pop(0, None)
        most = max(counts.values())
        tied = sorted(value for value, count in counts.items() if count == most)
        out[index] = next((value for value in tied if value != 0), 0)
    return out


def objects(labels: np.ndarray) -> dict[int, tuple[tuple[tuple[int, int], ...], int]]:
    """Bounding box and number of voxels of every number but 0."""
    found = {}
    for number in np.unique(labels[labels != 0]):
        where = np.argwhere(labels == number)
        box = tuple((int(a), int(b) + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
        found[int(number)] = (box, len(where))
    return found


def blobs(shape: tuple[int, int, int], n: int, seed: int, dtype: str = "uint32") -> np.ndarray:
    """Random balls, later ones over earlier ones: touching objects with background between."""
    rng = np.random.default_rng(seed)
    grid = np.ogrid[tuple(slice(0, s) for s in shape)]
    labels = np.zeros(shape, dtype)
    for number in range(1, n + 1):
        centre = [rng.uniform(0, s) for s in shape]
        radius = rng.uniform(2, max(3, min(shape) / 4))
        inside = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < radius**2
        labels[inside] = number
    return labels
