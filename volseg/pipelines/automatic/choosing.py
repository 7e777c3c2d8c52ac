"""What the maps of a few slices say of a volume: at which zoom to look, and which method fits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from volseg.features.tiling import choose_zoom
from volseg.pipelines.automatic.plan import Choice, Method
from volseg.predict.dense_slices import OBJECT_SIZE
from volseg.proposals.fragments import SEPARATE, SliceMaps, as_bytes, fragments_of

if TYPE_CHECKING:
    from volseg.pipelines.automatic.open_maps import MapsOpener
    from volseg.predict.dense_volume import VolumeMaps

NAMES = ("foreground", "boundary", "depth")
ZOOMS = (0.5, 1.0, 2.0)
SLICES = 3
LOOKED_AT = 512
"""Voxels of a slice's middle, down and across, that are looked at."""
TISSUE = 0.6
"""Where more than this share is foreground, objects lie side by side: regions."""


class Look:
    """What one zoom shows in a few slices."""

    def __init__(self, maps: VolumeMaps) -> None:
        height, width = maps.tiling.shape_yx
        (top, bottom), (left, right) = _middle(height), _middle(width)
        box = (top, left, bottom, right)
        diameters: list[float] = []
        covered = seen = 0
        for z in slices_looked_at(maps.depth):
            (planes,) = maps.slices((z, z + 1), NAMES, box)
            found = SliceMaps(*(as_bytes(plane) for plane in planes))
            _, table = fragments_of(z, found, maps.tiling.scale, SEPARATE)
            diameters += (2 * np.sqrt(table["area"] / math.pi)).tolist()
            covered += int((found.foreground >= 128).sum())
            seen += found.foreground.size
        self.diameters = diameters
        self.foreground = covered / seen
        self.pixels = float(np.median(diameters)) * maps.tiling.scale if diameters else None

    @property
    def misfit(self) -> float:
        """How far the median object is from the size that dense models like, in doublings."""
        return math.inf if self.pixels is None else abs(math.log2(self.pixels / OBJECT_SIZE))


def choose(
    opener: MapsOpener, method: Method | None, size_um: float | None
) -> tuple[float, Method, Choice]:
    """Decide zoom and method; what was given stands.

    Returns
    -------
    zoom
        Model pixels per voxel.
    method
        ``seeds`` or ``regions``.
    choice
        What decided.
    """
    pitch = math.sqrt(opener.source.voxel_um[1] * opener.source.voxel_um[2])
    if size_um is not None:
        zoom = choose_zoom([size_um / pitch], OBJECT_SIZE)
        if method is not None:
            return zoom, method, Choice()
        look = Look(opener.at(zoom, in_memory=True)[0])
    else:
        looks = [(Look(opener.at(zoom, in_memory=True)[0]), zoom) for zoom in ZOOMS]
        look, _ = min(looks, key=lambda one: (one[0].misfit, abs(math.log2(one[1]))))
        zoom = choose_zoom(look.diameters, OBJECT_SIZE)
    found: Method = method or ("regions" if look.foreground > TISSUE else "seeds")
    diameter = float(np.median(look.diameters)) * pitch if look.diameters else None
    return zoom, found, Choice(foreground=round(look.foreground, 4), diameter_um=diameter)


def slices_looked_at(depth: int) -> list[int]:
    """Return slices spread over the stack, the middle one among them."""
    return sorted({round((i + 1) * depth / (SLICES + 1) - 0.5) for i in range(SLICES)})


def _middle(length: int) -> tuple[int, int]:
    side = min(length, LOOKED_AT)
    start = (length - side) // 2
    return start, start + side
