"""A dense model made from true labels, blurred and noised: what builds on maps is tested without a network's errors.

It is to dense maps what `volseg.pipelines.segmentation.predictors.OraclePredictor` is to prompts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray
from scipy import ndimage

from volseg.errors import InputError
from volseg.geometry import Region, slices
from volseg.images.labels import Labels
from volseg.models.dense import DenseSpec, Place, check_inputs
from volseg.models.dense_truth_maps import truth_maps

Read = Callable[[Region], NDArray[np.integer]]
HALO = 0.25  # of a tile: what lies this far outside still has its say in depth and blur


@dataclass(frozen=True)
class Blemishes:
    """How far the maps are from the truth.

    Parameters
    ----------
    blur : float
        Deviation of the Gaussian that softens every map, in pixels of the map.
    noise : float
        Deviation of the noise that is added before values are cut to 0..1.
    grain : float
        Width of the noise's spots in pixels of the map, for networks err in spots.
    seed : int
        With the slice and the tile it decides the noise.
    """

    blur: float = 1.0
    noise: float = 0.03
    grain: float = 2.0
    seed: int = 0


DEFAULT = Blemishes()


class TruthDenseModel:
    """Gives the maps of true labels, blurred and noised. It looks at the place alone, not at pixels or embeddings.

    The same place always gets the same maps, on any machine with these versions of numpy and scipy.

    Parameters
    ----------
    read : callable
        ``read(((z0, z1), (y0, y1), (x0, x1)))`` gives labels (z, y, x), 0 for background.
    shape : (int, int, int)
        The volume's voxels (z, y, x).
    blemishes : Blemishes
        How far from the truth.
    img_size : int
        Side of a tile in pixels, a multiple of 4.
    embedding : (int, int, int)
        What it shall expect, so that it can stand in for a real model; it is not looked at.
    """

    def __init__(
        self,
        read: Read,
        shape: tuple[int, int, int],
        blemishes: Blemishes = DEFAULT,
        *,
        img_size: int = 256,
        embedding: tuple[int, int, int] = (128, 32, 32),
    ) -> None:
        if img_size % 4:
            raise InputError(f"a tile of {img_size} pixels is no multiple of 4")
        self._read, self._shape, self._blemishes = read, shape, blemishes
        digest = hashlib.sha256(f"{shape} {blemishes}".encode()).hexdigest()
        self._spec = DenseSpec("truth", digest, None, img_size, embedding)

    @classmethod
    def of_array(
        cls, labels: NDArray[np.integer], blemishes: Blemishes = DEFAULT
    ) -> TruthDenseModel:
        """Make it from labels (z, y, x) in memory."""
        shape = (int(labels.shape[0]), int(labels.shape[1]), int(labels.shape[2]))
        return cls(lambda region: labels[slices(region)], shape, blemishes)

    @classmethod
    def of_labels(
        cls, labels: Labels, time: int = 0, blemishes: Blemishes = DEFAULT
    ) -> TruthDenseModel:
        """Make it from a label image on a store."""
        return cls(lambda region: labels.read(region, time=time), labels.shape, blemishes)

    @property
    def spec(self) -> DenseSpec:
        """What it is; ``sha256`` is the digest of the shape and the blemishes."""
        return self._spec

    def maps(
        self, pixels: NDArray[np.uint8], embeddings: NDArray[np.float16], place: Place
    ) -> NDArray[np.float32]:
        """Give the maps of consecutive slices of a tile; see `volseg.models.dense.DenseModel.maps`."""
        check_inputs(self.spec, pixels, embeddings)
        if not 0 <= place.z <= self._shape[0] - len(pixels):
            raise InputError(
                f"slices {place.z} to {place.z + len(pixels) - 1} are not all in a volume of "
                f"{self._shape[0]} slices"
            )
        planes = [self._plane(place, place.z + i) for i in range(len(pixels))]
        after: list[NDArray[np.integer] | None] = [*planes[1:], None]
        return np.stack([
            self._blemished(plane, following, place, place.z + i)
            for i, (plane, following) in enumerate(zip(planes, after, strict=True))
        ])  # fmt: skip

    def _plane(self, place: Place, z: int) -> NDArray[np.integer]:
        """Labels at the pixels of a tile and its halo, background beyond the slice."""
        rows = self._voxels(place.y0, place.size)
        columns = self._voxels(place.x0, place.size)
        height, width = self._shape[1:]
        y, x = rows.clip(0, height - 1), columns.clip(0, width - 1)
        region = (
            (z, z + 1), (int(y[0]), int(y[-1]) + 1), (int(x[0]), int(x[-1]) + 1)
        )  # fmt: skip
        labels = self._read(region)[0][np.ix_(y - y[0], x - x[0])]
        inside = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
        return np.where(inside, labels, 0)

    def _voxels(self, start: int, size: int) -> NDArray[np.int64]:
        """The voxel under the middle of each pixel, halo included."""
        halo = self._halo
        at = np.arange(-halo, self.spec.img_size + halo) + 0.5
        return np.floor(start + at * size / self.spec.img_size).astype(np.int64)

    @property
    def _halo(self) -> int:
        return 2 * round(HALO * self.spec.img_size / 2)

    def _blemished(
        self,
        plane: NDArray[np.integer],
        following: NDArray[np.integer] | None,
        place: Place,
        z: int,
    ) -> NDArray[np.float32]:
        flaws = self._blemishes
        maps = truth_maps(plane, following=following).maps
        inner = slice(self._halo // 2, self._halo // 2 + self.spec.map_size)
        if flaws.blur > 0:
            maps = ndimage.gaussian_filter(maps, (0, flaws.blur, flaws.blur))
        maps = maps[:, inner, inner]
        if flaws.noise > 0:
            rng = default_rng([flaws.seed, z, place.y0, place.x0, place.size])
            noise = rng.standard_normal(maps.shape, dtype=np.float32)
            noise = ndimage.gaussian_filter(noise, (0, flaws.grain / 2, flaws.grain / 2))
            maps = maps + noise * np.float32(flaws.noise / max(float(noise.std()), 1e-6))
        maps = np.clip(maps, 0, 1).astype(np.float32)
        if following is None:
            maps[-1] = 0
        return np.ascontiguousarray(maps)
