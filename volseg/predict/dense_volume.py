"""The dense maps of a volume's slices, a few at a time: tiles are embedded through the cache, mapped and blended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.features.tiling import Tile, Tiling
from volseg.geometry import Box
from volseg.models.dense import DenseModel, Place
from volseg.predict.dense_blending import blended

if TYPE_CHECKING:
    from volseg.features.rendering import Rendering
    from volseg.images.image import Volume
    from volseg.models.model import Model

Look = Callable[[tuple[int, int], Tile], tuple[NDArray[np.uint8], NDArray[np.float16]]]
"""Slices and a tile -> pixels (n, 3, S, S) uint8 and embeddings (n, C, E, E) float16."""


class VolumeMaps:
    """Maps of the slices of a volume. What a slice gets depends on no other, but for its affinity to the next one.

    Parameters
    ----------
    model
        The dense model.
    look
        Renders and embeds tiles.
    tiling
        Of the slices.
    depth
        Number of slices.
    """

    def __init__(self, model: DenseModel, look: Look, tiling: Tiling, depth: int) -> None:
        self.model, self.look, self.tiling, self.depth = model, look, tiling, depth

    def slices(
        self, z_range: tuple[int, int], names: Iterable[str], box: Box | None = None
    ) -> list[NDArray[np.float32]]:
        """Compute the named maps of some slices.

        Parameters
        ----------
        z_range
            Half-open.
        names
            As in the model's `DenseSpec.maps`. The affinity to the next slice is 0 on the last slice of `z_range`.
        box
            (y0, x0, y1, x1) of the slices; all of them by default.

        Returns
        -------
        list of ndarray (maps, y, x) float32
            A slice each, 0..1.
        """
        chosen = self.model.spec.indices(names)
        height, width = self.tiling.shape_yx
        wanted = box or (0, 0, height, width)
        kept: dict[int, NDArray[np.float32]] = {}
        for tile in self.tiling.touching(wanted):
            pixels, embeddings = self.look(z_range, tile)
            maps = self.model.maps(
                pixels, embeddings, Place(z_range[0], tile.y0, tile.x0, tile.size)
            )
            kept[tile.index] = np.ascontiguousarray(maps[:, chosen])

        def of_slice(i: int) -> NDArray[np.float32]:
            return blended(lambda tile: kept[tile.index][i], self.tiling, wanted)

        return [of_slice(i) for i in range(z_range[1] - z_range[0])]


def blind_look(model: DenseModel) -> Look:
    """Show nothing, to models that look at places alone."""
    spec = model.spec

    def look(z_range: tuple[int, int], tile: Tile) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        count = z_range[1] - z_range[0]
        return (
            np.zeros((count, 3, spec.img_size, spec.img_size), np.uint8),
            np.zeros((count, *spec.embedding), np.float16),
        )

    return look


def cached_look(
    volume: Volume,
    model: Model,
    rendering: Rendering,
    tiling: Tiling,
    *,
    level: int,
    time: int,
    in_memory: bool = False,
) -> tuple[Look, Callable[[], None]]:
    """Show tiles as a promptable model sees them, embeddings through the volume's cache.

    Returns
    -------
    look
        As `VolumeMaps` takes it.
    flush
        Waits until new embeddings are on the store.
    """
    from volseg.features.cache import cache_of
    from volseg.features.reading import SlabReader, TileEncoder

    cache = cache_of(
        volume, model.spec, rendering, tiling, level=level, time=time, in_memory=in_memory
    )
    encoder = TileEncoder(
        model, tiling, rendering, SlabReader(volume, level, time, rendering.channels)
    )
    name = model.spec.arrays[0][0]

    def look(z_range: tuple[int, int], tile: Tile) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        found = [cache.embedding(z, tile, encoder)[name] for z in range(*z_range)]
        return encoder.images(z_range, tile), np.stack(found)

    return look, cache.flush
