"""Where tiles lie: keys, the grids of levels, and which part of a coarser level stands for a part of a finer one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from volseg.geometry import Grid, Region, Slices, intersection, region_origin, slices


class Key(NamedTuple):
    """One tile: level, time, group of channels in one storage object, and chunk index."""

    level: int
    time: int
    channel: int
    z: int
    y: int
    x: int


@dataclass(frozen=True)
class TileLevel(Grid):
    """The chunks of a level, and how many voxels of level 0 one of its voxels spans along z, y, x."""

    factors: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def part(self, index: Sequence[int], region: Region) -> tuple[Slices, Slices]:
        """Return where a chunk touched by a region lies in its array, and which part of the chunk that is."""
        box = self.region(index)
        part = intersection(box, region)
        assert part is not None, f"chunk {index} does not touch {region}"
        return slices(part, region_origin(region)), slices(part, region_origin(box))

    def lines_of(self, fine: TileLevel, region: Region) -> list[np.ndarray]:
        """Return per axis which of this level's voxels stands for each voxel of a finer level's region."""
        ratios = [c / f for c, f in zip(self.factors, fine.factors, strict=True)]
        return [
            np.minimum(((np.arange(a, b) + 0.5) / ratio).astype(int), size - 1)
            for (a, b), ratio, size in zip(region, ratios, self.shape, strict=True)
        ]
