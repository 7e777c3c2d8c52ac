"""Where a volume lies in the space of the patient or specimen: the affine that its source told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from volseg.images.image import Volume


def affine_of_volume(volume: Volume) -> NDArray[np.float64]:
    """Return the affine (4, 4) from voxels (x, y, z) of level 0 to millimetres to the right, front and up.

    The directions are those of the imported file where it told them; the steps are the volume's voxel size, which may
    have been corrected since.
    """
    scale_mm = np.array(volume.levels[0].scale[::-1]) / 1000
    affine = np.diag([*scale_mm, 1.0])
    affine[:3, 3] = np.array(volume.levels[0].translation[::-1]) / 1000
    known = _source_affine(volume)
    if known is not None:
        lengths = np.linalg.norm(known[:3, :3], axis=0)
        affine[:3, :3] = known[:3, :3] / lengths * scale_mm
        affine[:3, 3] = known[:3, 3]
    return affine


def _source_affine(volume: Volume) -> NDArray[np.float64] | None:
    data = volume.store.get_or_none("volseg/source.json")
    try:
        facts = json.loads(data)["facts"] if data is not None else {}
        affine = np.array(facts["affine_ras_mm"], float)
    except (KeyError, TypeError, ValueError):
        return None
    usable = affine.shape == (4, 4) and np.isfinite(affine).all()
    return affine if usable and (np.linalg.norm(affine[:3, :3], axis=0) > 0).all() else None
