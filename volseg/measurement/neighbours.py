"""Who lies near whom: distances between centroids, and how many objects touch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEAR = 3.0
"""Objects are near whose centroids lie within so many of an object's own diameters."""
MOST_NEAR = 64
"""More are not counted."""
_AT_ONCE = 65536


def neighbour_features(
    ids: NDArray[np.int64],
    centroids: NDArray[np.float64],
    diameters: NDArray[np.float64],
    pairs: NDArray[np.int64],
) -> dict[str, NDArray[np.float64]]:
    """Return the features of neighbourhood of all objects of one time.

    Parameters
    ----------
    ids : ndarray of int64 (n,)
        Sorted.
    centroids : ndarray (n, 3)
        z, y, x in micrometres.
    diameters : ndarray (n,)
        In micrometres.
    pairs : ndarray of int64 (m, 2)
        Ids that touch, each pair once.

    Returns
    -------
    dict of ndarray of float64 (n,)
        `neighbors_touching`; `neighbor_distance` and `neighbor_distance_5` in micrometres, to the nearest and on
        average to the five nearest, NaN where there is no other; `neighbors_near`.
    """
    from scipy.spatial import KDTree

    touching = np.bincount(np.searchsorted(ids, pairs.reshape(-1)), minlength=len(ids))
    count = min(MOST_NEAR + 1, len(ids))
    found = {
        name: np.full(len(ids), np.nan) for name in ("neighbor_distance", "neighbor_distance_5")
    }
    near = np.zeros(len(ids))
    if count > 1:
        tree = KDTree(centroids)
        for start in range(0, len(ids), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            away, _ = tree.query(centroids[part], count)
            found["neighbor_distance"][part] = away[:, 1]
            found["neighbor_distance_5"][part] = away[:, 1:6].mean(axis=1)
            near[part] = (away[:, 1:] <= NEAR * diameters[part, None]).sum(axis=1)
    return {"neighbors_touching": touching.astype(np.float64), **found, "neighbors_near": near}
