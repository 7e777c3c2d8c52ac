"""Surfaces without the steps of voxels: fairing that neither shrinks an object nor loses its thin parts.

Method: Taubin, A signal processing approach to fair surface design, SIGGRAPH 1995; vertices stay within a third of a
voxel of where marching cubes put them (Gibson, Constrained elastic surface nets, MICCAI 1998), then the
volume is set to that of the voxels by moving the surface along its normals.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHRINK, GROW = 0.5, -0.51
"""Taubin's λ and μ."""
ROUNDS = 30
"""… of both, times the anisotropy of the voxels, whose steps are as much longer."""
ROOM = 0.35
"""Voxels by which a vertex may move: less than half, so that what is one voxel thin keeps two sides."""
_MOST_ROUNDS = 200
VOLUME_ROUNDS, VOLUME_STEP, VOLUME_ERROR = 30, 0.1, 1e-3
"""How often the surface is moved for its volume, by how many voxels at most, and which share may be left."""


def smoothed(mesh: Any, spacing: tuple[float, float, float], volume: float) -> Any:
    """Return a mesh without steps, of the same topology and a given volume.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        Closed, normals outward.
    spacing : (x, y, z)
        Of the voxels, in the order of the vertices' coordinates.
    volume : float
        That the mesh will enclose.
    """
    import trimesh
    from scipy.sparse import csr_array, diags_array

    edges = mesh.edges_unique
    both = np.concatenate([edges, edges[:, ::-1]])
    links = csr_array(
        (np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(len(mesh.vertices),) * 2
    )
    mean = diags_array(1 / np.maximum(links.sum(axis=1), 1)) @ links
    start = np.asarray(mesh.vertices, np.float64)
    room = ROOM * np.array(spacing)
    places: NDArray[np.float64] = start.copy()
    rounds = min(_MOST_ROUNDS, round(ROUNDS * max(spacing) / min(spacing)))
    for _ in range(rounds):
        for step in (SHRINK, GROW):
            places = places + step * (mean @ places - places)
        places = np.clip(places, start - room, start + room)
    made = trimesh.Trimesh(places, mesh.faces, process=False)
    most = VOLUME_STEP * min(spacing)
    for _ in range(VOLUME_ROUNDS):
        missing = volume - made.volume
        if abs(missing) < VOLUME_ERROR * volume or made.area <= 0:
            break
        step = np.clip(missing / made.area, -most, most)
        made = trimesh.Trimesh(
            made.vertices + step * made.vertex_normals, mesh.faces, process=False
        )
    return made
