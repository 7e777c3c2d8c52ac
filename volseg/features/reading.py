"""From the volume to embeddings: reading voxels in whole chunks, rendering and encoding tiles,
versions of the source.

What is kept and where is told by `cache`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.features.rendering import Rendering, render_tile, tile_region
from volseg.features.tiling import Tile, Tiling

if TYPE_CHECKING:
    from volseg.geometry import Region
    from volseg.images.image import Volume
    from volseg.models.model import Model

ReadBlock = Callable[["Region"], NDArray[np.generic]]
"""Region of the level -> voxels (c, z, y, x) of the rendering's channels."""

SLAB_BYTES = 128 * 2**20
HEADS_AT_ONCE = 16


class SlabReader:
    """Reads regions of a volume, keeping the slabs read last: neighbouring slices lie in the same
    chunks.

    Parameters
    ----------
    volume : Volume
        The image.
    level, time : int
        What is read.
    channels : tuple of int
        Channels, in the order of the result.
    max_bytes : int
        Bytes of slabs that are kept.
    """

    def __init__(
        self,
        volume: Volume,
        level: int,
        time: int,
        channels: tuple[int, ...],
        max_bytes: int = SLAB_BYTES,
    ) -> None:
        self.volume, self.level, self.time, self.channels = volume, level, time, channels
        self.max_bytes = max_bytes
        self._kept: OrderedDict[Region, NDArray[np.generic]] = OrderedDict()

    def __call__(self, region: Region) -> NDArray[np.generic]:
        """Voxels (c, z, y, x) of a region."""
        z0, z1 = region[0]
        slab = self._slab(region)
        if slab not in self._kept:
            self._kept[slab] = self._read(slab)
            while len(self._kept) > 1 and self._bytes() > self.max_bytes:
                self._kept.popitem(last=False)
        self._kept.move_to_end(slab)
        first = slab[0][0]
        return self._kept[slab][:, z0 - first : z1 - first]

    def _slab(self, region: Region) -> Region:
        """The region enlarged along z to whole chunks, as far as half of the kept bytes hold it."""
        (z0, z1), rows, columns = region
        level = self.volume.levels[self.level]
        depth = max(1, level.chunks[-3])
        low, high = z0 // depth * depth, min(level.grid.shape[0], -(-z1 // depth) * depth)
        area = (rows[1] - rows[0]) * (columns[1] - columns[0]) * level.dtype.itemsize
        if (high - low) * area * len(self.channels) > self.max_bytes // 2:
            low, high = z0, z1
        return ((low, high), rows, columns)

    def _read(self, region: Region) -> NDArray[np.generic]:
        parts = [
            self.volume.read(region, level=self.level, time=self.time, channel=channel)
            for channel in self.channels
        ]
        return np.stack(parts)

    def _bytes(self) -> int:
        return sum(array.nbytes for array in self._kept.values())


class TileEncoder:
    """Voxels to embeddings: reads, renders and encodes tiles of slices.

    Parameters
    ----------
    model : Model
        The model.
    tiling : Tiling
        Its `img_size` is the model's.
    rendering : Rendering
        How voxels are shown.
    read_block : callable
        Region -> voxels (c, z, y, x).
    """

    def __init__(
        self, model: Model, tiling: Tiling, rendering: Rendering, read_block: ReadBlock
    ) -> None:
        self.model, self.tiling, self.rendering = model, tiling, rendering
        self.read_block = read_block

    def region(self, z_range: tuple[int, int], tile: Tile) -> Region:
        """The voxels that the embeddings of a tile of some slices depend on."""
        return tile_region(tile, z_range, self.rendering.halo[1], self.tiling.shape_yx)

    def images(self, z_range: tuple[int, int], tile: Tile) -> NDArray[np.uint8]:
        """The model's input (n, 3, S, S) for a tile of some slices."""
        region = self.region(z_range, tile)
        block = self.read_block(region)
        return render_tile(
            self.rendering, block, region, tile, self.tiling.shape_yx, self.tiling.img_size
        )

    def encode(self, z_range: tuple[int, int], tile: Tile) -> NDArray[np.void]:
        """Embeddings (n,) of a tile of some slices."""
        return self.model.encode(self.images(z_range, tile))


class SourceVersions:
    """Size and entity tag of the storage objects that a region is read from; each is asked for
    once.

    Parameters
    ----------
    volume : Volume
        The image.
    level, time : int
        What is read.
    channels : tuple of int
        Which channels are read.
    """

    def __init__(self, volume: Volume, level: int, time: int, channels: tuple[int, ...]) -> None:
        self.volume, self.level, self.time, self.channels = volume, level, time, channels
        self._known: dict[str, list[Any] | None] = {}
        self._lock = threading.Lock()

    def __call__(self, region: Region) -> dict[str, list[Any] | None]:
        """``{key: [size, etag]}``, None for an object that does not exist (all fill values)."""
        level = self.volume.levels[self.level]
        keys = [
            key
            for channel in self.channels
            for key in level.source_objects(region, time=self.time, channel=channel)
        ]
        with self._lock:
            self._ask(sorted(set(keys) - self._known.keys()))
            return {key: self._known[key] for key in sorted(set(keys))}

    def _ask(self, unknown: list[str]) -> None:
        if not unknown:
            return
        store = self.volume.store
        with ThreadPoolExecutor(min(HEADS_AT_ONCE, len(unknown))) as pool:
            for key, stat in zip(unknown, pool.map(store.head, unknown), strict=True):
                self._known[key] = None if stat is None else [stat.size, stat.etag]
