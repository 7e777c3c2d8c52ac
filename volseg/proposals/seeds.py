"""Seeds in 3D among the fragments of all slices: a fragment is one if it is the highest within its own radius.

The rule looks at pairs alone, so that no chain of suppressions crosses a volume, and the order of looking decides
nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SLICES_SEEN = 1.5
"""A fragment is compared with the next slices however thin it is: slices may be further apart than it is wide."""
WIDTH = 0.75
"""Of the radius of a disc as large as a fragment: as far as that it is compared at least, as a model tells less depth
than there is, and its deepest place moves from slice to slice."""


def seeds_of(fragments: NDArray[np.void], anisotropy: float) -> NDArray[np.int64]:
    """Find the fragments that are the highest within their radius.

    Parameters
    ----------
    fragments
        (n,) of `volseg.proposals.fragments.FRAGMENT`.
    anisotropy
        Distance of two slices in voxels of a slice.

    Returns
    -------
    ndarray (m,) int64
        Their indices, by z, y, x. Of equally high ones within reach the first by z, y, x stays.
    """
    from scipy.spatial import cKDTree

    if not len(fragments):
        return np.zeros(0, np.int64)
    position = np.lexsort((fragments["x"], fragments["y"], fragments["z"]))
    ordered = fragments[position]
    # rank 0 is the highest; a stable sort keeps the order of position among equals
    rank = np.empty(len(ordered), np.int64)
    rank[np.argsort(-ordered["height"].astype(np.int64), kind="stable")] = np.arange(len(ordered))
    places = np.stack([ordered["z"], ordered["y"], ordered["x"]], axis=1).astype(np.float64)
    disc = np.sqrt(ordered["area"] / math.pi)
    radius = np.maximum(ordered["radius"].astype(np.float64), WIDTH * disc)
    deep = np.maximum(radius / anisotropy, SLICES_SEEN)  # in slices
    reach = np.maximum(radius, deep * anisotropy)
    tree = cKDTree(places * (anisotropy, 1.0, 1.0))
    stays = np.ones(len(ordered), bool)
    for i in range(len(ordered)):
        near = np.asarray(tree.query_ball_point(places[i] * (anisotropy, 1.0, 1.0), reach[i]))
        higher = near[rank[near] < rank[i]]
        if not len(higher):
            continue
        away = places[higher] - places[i]
        across = (away[:, 1] ** 2 + away[:, 2] ** 2) / max(radius[i], 1.0) ** 2
        stays[i] = not ((away[:, 0] / deep[i]) ** 2 + across <= 1).any()
    return position[stays].astype(np.int64)
