"""The features of the voxels of a box, of a volume on a store.

What a voxel gets does not depend on the box: filters are computed with their whole halo, embeddings and maps on one
fixed grid of tiles (invariant 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.classify.voxels.definition import FeatureDefinition
from volseg.classify.voxels.embedded import EmbeddedFeatures
from volseg.features.reading import SlabReader
from volseg.geometry import Region

if TYPE_CHECKING:
    from volseg.images.image import Volume

Limits = tuple[float, float]
READ_BYTES = 64 << 20
_CLIPPED = (-2.0, 4.0)  # ranges of contrast; defects and hot voxels end there


class VoxelFeatures:
    """Computes features of one volume, level and time.

    Parameters
    ----------
    volume
        The image.
    definition
        Which features.
    level, time
        What is looked at.
    channels
        Channels of the image, as many as the definition has.
    limits
        Values (low, high) of each channel that count as 0 and 1.
    """

    def __init__(
        self,
        volume: Volume,
        definition: FeatureDefinition,
        *,
        level: int,
        time: int,
        channels: Sequence[int],
        limits: Sequence[Limits],
    ) -> None:
        self.definition = definition
        self.shape = volume.level(level).grid.shape
        self._limits = tuple(limits)
        self._read = SlabReader(volume, level, time, tuple(channels), max_bytes=READ_BYTES)
        self._embedded = (
            None
            if definition.embedding is None
            else EmbeddedFeatures.of(
                volume, definition.embedding, level=level, time=time, channels=channels,
                limits=limits,
            )
        )  # fmt: skip
        self._slices: dict[tuple[int, tuple[tuple[int, int], tuple[int, int]]], Planes] = {}

    def of_slice(self, z: int, rows: tuple[int, int], columns: tuple[int, int]) -> Planes:
        """Compute the features of a part of a slice.

        Parameters
        ----------
        z, rows, columns
            Half-open voxel ranges of the level.

        Returns
        -------
        ndarray
            (features, y, x) float32, in the order of the definition's names.
        """
        parts = [self._filtered(z, rows, columns)]
        if self.definition.neighbours:
            last = self.shape[0] - 1
            above, below = (
                self._filtered(min(max(at, 0), last), rows, columns) for at in (z - 1, z + 1)
            )
            parts.append((above + below) * np.float32(0.5))
        if self._embedded is not None:
            parts.append(self._embedded.of_slice(z, rows, columns))
        return np.concatenate(parts)

    def close(self) -> None:
        """Wait until new embeddings are on the store."""
        if self._embedded is not None:
            self._embedded.close()

    def _filtered(self, z: int, rows: tuple[int, int], columns: tuple[int, int]) -> Planes:
        """Return the filters (features, y, x) of all channels; those of the last slices are kept."""
        key = (z, (rows, columns))
        if key not in self._slices:
            if len(self._slices) >= 3:
                del self._slices[next(iter(self._slices))]
            planes = self._padded(z, rows, columns)
            self._slices[key] = np.concatenate([self.definition.bank.apply(p) for p in planes])
        return self._slices[key]

    def _padded(self, z: int, rows: tuple[int, int], columns: tuple[int, int]) -> Planes:
        """Return the voxels (c, y, x) of a part of a slice with its halo, mirrored at the slice's edges."""
        ranges, missing = [], []
        for (low, high), halo, n in zip(
            (rows, columns), self.definition.bank.halo, self.shape[1:], strict=True
        ):
            first, last = max(0, low - halo), min(n, high + halo)
            ranges.append((first, last))
            missing.append((first - (low - halo), high + halo - last))
        region: Region = ((z, z + 1), ranges[0], ranges[1])
        block = self._read(region)[:, 0]
        scaled = np.stack([_unit(one, *lim) for one, lim in zip(block, self._limits, strict=True)])
        return np.pad(scaled, ((0, 0), *missing), mode="symmetric")


Planes = NDArray[np.float32]


def _unit(values: NDArray[np.generic], low: float, high: float) -> Planes:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (values.astype(np.float64) - low) / (high - low)
    return np.clip(np.nan_to_num(scaled, nan=0.0), *_CLIPPED).astype(np.float32)
