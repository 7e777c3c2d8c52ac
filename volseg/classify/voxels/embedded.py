"""Features from a promptable model: its embedding, projected, and the maps of the dense model that belongs to it.

Both are computed for whole tiles of the slice's one fixed grid and blended by fixed weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.classify.voxels.definition import EmbeddingDefinition
from volseg.errors import ModelUnavailableError
from volseg.models.dense_heads import find_dense, load_dense

if TYPE_CHECKING:
    from volseg.features.cache import EmbeddingCache
    from volseg.features.reading import TileEncoder
    from volseg.features.tiling import Tile
    from volseg.images.image import Volume
    from volseg.models.dense import DenseModel, DenseSpec
    from volseg.models.spec import ModelSpec

Planes = NDArray[np.float32]

COMPONENTS = 16
MAPS = ("foreground", "boundary", "depth", "affinity +0 +1 +0", "affinity +0 +0 +1")
"""Maps that are taken, where the dense model has them."""
KEPT_TILES = 64
_SEED = 20


def define_embedding(model: str, zoom: float = 1.0) -> EmbeddingDefinition:
    """Describe what is taken from a model by name; its weights are fetched where they are missing."""
    from volseg.models.registry import fetch, find_model

    fetch(model)
    spec = find_model(model)
    assert spec.sha256 is not None
    dense = _dense_of(spec)
    return EmbeddingDefinition(
        model=spec.name,
        sha256=spec.sha256,
        zoom=zoom,
        components=COMPONENTS,
        dense_sha256=None if dense is None else dense.sha256,
        maps=() if dense is None else tuple(m.name for m in dense.maps if m.name in MAPS),
    )


class EmbeddedFeatures:
    """Computes them for one volume, level and time; embeddings come from the volume's cache.

    Parameters
    ----------
    definition
        What is taken.
    cache, encoder
        The volume's.
    dense
        The dense model; None where none belongs to the model.
    """

    def __init__(
        self,
        definition: EmbeddingDefinition,
        cache: EmbeddingCache,
        encoder: TileEncoder,
        dense: DenseModel | None,
    ) -> None:
        self._definition = definition
        self._cache, self._encoder, self._dense = cache, encoder, dense
        names = encoder.model.spec.embedding_dtype.names or ()
        self._array = "image" if "image" in names else names[0]
        channels = encoder.model.spec.embedding_dtype[self._array].shape[0]
        self._projection = projection(channels, definition.components)
        self._kept: OrderedDict[tuple[int, int], tuple[Planes, Planes]] = OrderedDict()

    @staticmethod
    def of(
        volume: Volume,
        definition: EmbeddingDefinition,
        *,
        level: int,
        time: int,
        channels: Sequence[int],
        limits: Sequence[tuple[float, float]],
    ) -> EmbeddedFeatures:
        """Load the models of a definition, and open the volume's cache.

        Raises
        ------
        ModelUnavailableError
            The weights here are not those that the classifier was trained with.
        """
        from volseg.features.cache import cache_of
        from volseg.features.reading import SlabReader, TileEncoder
        from volseg.features.rendering import make_rendering
        from volseg.features.tiling import Tiling
        from volseg.models.registry import find_planned, load_model

        model = load_model(find_planned(definition.model, definition.sha256))
        if model.spec.sha256 != definition.sha256:
            raise ModelUnavailableError(
                f"the classifier was trained with the weights {definition.sha256} of {definition.model}, but those "
                f"here have SHA-256 {model.spec.sha256}; put the former in place, or train it anew"
            )
        known = _dense_of(model.spec)
        if definition.dense_sha256 not in (None, None if known is None else known.sha256):
            raise ModelUnavailableError(
                f"the classifier was trained with the dense model {definition.dense_sha256}, which is not here; "
                "train it anew"
            )
        dense = None if definition.dense_sha256 is None else load_dense(model.spec)
        shown = list(range(min(3, len(channels))))  # a model sees three channels at most
        low, high = zip(*(limits[i] for i in shown), strict=True)
        whole = volume.is_rgb and len(shown) == 3
        rendering = make_rendering([channels[i] for i in shown], low, high, is_rgb=whole)
        shape = volume.level(level).grid.shape
        tiling = Tiling((shape[1], shape[2]), model.spec.img_size, definition.zoom)
        kept_nowhere = volume.output_store.read_only
        cache = cache_of(
            volume, model.spec, rendering, tiling, level=level, time=time, in_memory=kept_nowhere
        )
        reader = SlabReader(volume, level, time, rendering.channels)
        return EmbeddedFeatures(
            definition, cache, TileEncoder(model, tiling, rendering, reader), dense
        )

    def of_slice(self, z: int, rows: tuple[int, int], columns: tuple[int, int]) -> Planes:
        """Compute the features (features, y, x) of a part of a slice."""
        from volseg.predict.dense_blending import blended

        box = (rows[0], columns[0], rows[1], columns[1])
        tiling = self._encoder.tiling
        parts = [blended(lambda tile: self._tile(z, tile)[0], tiling, box)]
        if self._dense is not None:
            parts.append(blended(lambda tile: self._tile(z, tile)[1], tiling, box))
        return np.concatenate(parts)

    def _tile(self, z: int, tile: Tile) -> tuple[Planes, Planes]:
        """Return the projected embedding (k, e, e) and the maps (m, s, s) of a tile."""
        from volseg.models.dense import Place

        key = (z, tile.index)
        if key not in self._kept:
            record = self._cache.embedding(z, tile, self._encoder)
            embedding = np.asarray(record[self._array])
            flat = embedding.reshape(len(embedding), -1).astype(np.float32)
            projected = (self._projection @ flat).reshape(-1, *embedding.shape[1:])
            maps = np.zeros((0, 1, 1), np.float32)
            if self._dense is not None:
                pixels = self._encoder.images((z, z + 1), tile)
                place = Place(z, tile.y0, tile.x0, tile.size)
                found = self._dense.maps(pixels, embedding[None], place)[0]
                maps = found[self._dense.spec.indices(self._definition.maps)]
            self._kept[key] = (projected, maps)
            while len(self._kept) > KEPT_TILES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def close(self) -> None:
        """Wait until new embeddings are on the store, and end the threads that write them."""
        self._cache.close()


def projection(channels: int, components: int) -> Planes:
    """Return the fixed matrix (components, channels): random signs, drawn once and for all (Achlioptas 2003)."""
    bits = np.random.default_rng(_SEED).integers(0, 2, (components, channels))
    return np.asarray((2 * bits - 1) / np.sqrt(channels), np.float32)


def _dense_of(spec: ModelSpec) -> DenseSpec | None:
    """Return what is known of the dense model that takes a model's embeddings."""
    try:
        return find_dense(spec)
    except ModelUnavailableError:
        return None
