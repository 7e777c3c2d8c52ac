"""Surface meshes per object (PLY, OBJ): marching cubes by scikit-image, files by trimesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import InputError, StorageError
from volseg.exporting.measure import measure
from volseg.exporting.selection import Selection
from volseg.exporting.smoothing import smoothed
from volseg.geometry import Region, region_shape
from volseg.progress import Progress

LARGEST_VOXELS = 2**27


def write_ply(
    selection: Selection, folder: Path, provenance: dict[str, Any], progress: Progress
) -> None:
    """Write `ID.ply` per object, vertices x, y, z in micrometres."""
    _write(selection, folder, "ply", progress)


def write_obj(
    selection: Selection, folder: Path, provenance: dict[str, Any], progress: Progress
) -> None:
    """Write `ID.obj` per object, vertices x, y, z in micrometres."""
    _write(selection, folder, "obj", progress)


def mesh_of(selection: Selection, object_id: int, box: Region) -> Any:
    """Return the closed surface of one object, without the steps of voxels and of the voxels' volume.

    Parameters
    ----------
    box : Region
        Holds the object, in voxels of the level.

    Returns
    -------
    trimesh.Trimesh
        Vertices x, y, z in micrometres, voxel (0, 0, 0) of the level at the origin; normals point
        outward.

    Raises
    ------
    InputError
        If the object's box is too large for one piece.
    """
    import trimesh
    from skimage.measure import marching_cubes

    shape = region_shape(box)
    if int(np.prod(shape, dtype=np.int64)) > LARGEST_VOXELS:
        raise InputError(
            f"object {object_id} spans {' × '.join(map(str, shape))} voxels, too many for one mesh; "
            "choose a coarser --level"
        )
    part: Any = tuple(
        (low - start, high - start)
        for (low, high), start in zip(box, selection.origin, strict=True)
    )
    mask = np.pad(selection.read(part) == object_id, 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(mask, 0.5, spacing=selection.scale)
    corner = (np.array([low for low, _ in box]) - 1) * np.array(selection.scale)
    mesh = trimesh.Trimesh((vertices + corner)[:, ::-1], faces, process=False)
    if mesh.volume < 0:
        mesh.invert()
    voxels = np.count_nonzero(mask) * float(np.prod(selection.scale))
    return smoothed(mesh, selection.scale[::-1], voxels)


def _write(selection: Selection, folder: Path, kind: str, progress: Progress) -> None:
    import trimesh

    found = measure(selection, intensities=False, surfaces=False, progress=progress)
    boxes = sorted(found.boxes().items())
    for done, (one, box) in enumerate(boxes, 1):
        mesh = mesh_of(selection, one, box)
        path = folder / f"{one}.{kind}"
        mesh.export(path)
        again = trimesh.load_mesh(path, process=False)
        if len(again.faces) != len(mesh.faces):
            raise StorageError(f"{path}: reads back with {len(again.faces)} faces; try again")
        progress("export", done, len(boxes))
