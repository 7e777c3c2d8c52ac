"""Where tiles lie: keys, the grids of levels, and which part of a coarser level stands for a part of a finer one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from volseg.volume.blocks import Region, Triple


class Key(NamedTuple):
    """One tile: level, time, group of channels in one storage object, and chunk index."""

    level: int
    time: int
    channel: int
    z: int
    y: int
    x: int


@dataclass(frozen=True)
class TileLevel:
    """Voxels (z, y, x) of a level and of one of its chunks, and how many voxels of level 0 one of its voxels spans."""

    shape: Triple
    chunk: Triple
    factors: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def region(self, index: Sequence[int]) -> Region:
        """Return the voxels of a chunk, cut at the level's end."""
        z, y, x = (
            (i * c, min((i + 1) * c, n))
            for i, c, n in zip(index, self.chunk, self.shape, strict=True)
        )
        return z, y, x

    def indices(self, region: Region) -> Iterator[Triple]:
        """Yield the chunks that a region touches."""
        z, y, x = (range(a // c, -(-b // c)) for (a, b), c in zip(region, self.chunk, strict=True))
        return product(z, y, x)

    def part(self, index: Sequence[int], region: Region) -> tuple[Any, Any]:
        """Return where a chunk lies in a region's array, and which part of the chunk that is, as slices."""
        box = self.region(index)
        meets = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, region, strict=True)]
        part = tuple(slice(a - r[0], b - r[0]) for (a, b), r in zip(meets, region, strict=True))
        inner = tuple(slice(a - t[0], b - t[0]) for (a, b), t in zip(meets, box, strict=True))
        return part, inner

    def lines_of(self, fine: TileLevel, region: Region) -> list[np.ndarray]:
        """Return per axis which of this level's voxels stands for each voxel of a finer level's region."""
        ratios = [c / f for c, f in zip(self.factors, fine.factors, strict=True)]
        return [
            np.minimum(((np.arange(a, b) + 0.5) / ratio).astype(int), size - 1)
            for (a, b), ratio, size in zip(region, ratios, self.shape, strict=True)
        ]
