"""A SAM as the 2D model of propagation: slice prompts to tiles, embeddings from the cache, masks
back to the slice.

A mask that reaches the edge of its tile is followed into the neighbouring tiles and merged there.
Nothing about z.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.features.cache import EmbeddingCache, cache_of
from volseg.features.reading import ReadBlock, SlabReader, TileEncoder
from volseg.features.rendering import Rendering
from volseg.features.tiling import Tiling
from volseg.models.model import Model
from volseg.predict.search import MOST_TILES, Request, Search
from volseg.propagation.predictor import Candidates, SlicePrompt
from volseg.propagation.window import MaskWindow, overlap

if TYPE_CHECKING:
    from volseg.images.image import Volume


class SamSlicePredictor:
    """Predicts masks on slices of one volume with a SAM; a `SlicePredictor`.

    What it says about a prompt does not depend on the other prompts of a call.

    Parameters
    ----------
    cache : EmbeddingCache
        Where embeddings are looked up and kept.
    model : Model
        The model.
    tiling : Tiling
        Of the volume's slices.
    rendering : Rendering
        How voxels are shown.
    shape : (int, int, int)
        The level's z, y, x in voxels.
    read_block : callable
        Region -> voxels (c, z, y, x).
    """

    def __init__(
        self,
        cache: EmbeddingCache,
        model: Model,
        tiling: Tiling,
        rendering: Rendering,
        shape: tuple[int, int, int],
        read_block: ReadBlock,
    ) -> None:
        self.cache, self.model, self.tiling = cache, model, tiling
        self.shape = shape
        self._encoder = TileEncoder(model, tiling, rendering, read_block)
        self._unfiltered = rendering.model_copy(update={"preprocess": ()})

    def predict(
        self, z: int, prompts: Sequence[SlicePrompt], *, most_tiles: int = MOST_TILES
    ) -> list[Candidates]:
        """Candidate masks of each prompt on slice `z`, in the order of `prompts`.

        Parameters
        ----------
        z : int
            Slice of the level.
        prompts : sequence of SlicePrompt
            In voxels of the slice.
        most_tiles : int
            Tiles that a mask is followed into at most; 1: none but the one nearest to its prompt.

        Returns
        -------
        list of Candidates
            Windows around what was found; empty masks are left out.
        """
        size = self.model.mask_size
        searches = [Search(prompt, self.tiling, size, most_tiles) for prompt in prompts]
        while True:
            requests = [(s, r) for s in searches for r in s.requests()]
            if not requests:
                break
            by_tile: dict[int, list[tuple[Search, Request]]] = defaultdict(list)
            for search, request in requests:
                by_tile[request.tile.index].append((search, request))
            for index in sorted(by_tile):
                self._answer(z, by_tile[index])
        return [search.candidates() for search in searches]

    def brightness(self, z: int, mask: MaskWindow) -> tuple[float, ...]:
        """Mean of each channel under a mask on slice `z`, 0 for what is shown black to 1 for white.

        Of the voxels as they are, without the rendering's filters. They are read as the embedding
        of the tile nearest to the mask's centroid reads them, so that what was read for one serves
        the other; of a mask wider than a tile the part in it counts.

        Parameters
        ----------
        z : int
            Slice of the level.
        mask : MaskWindow
            Not empty.

        Returns
        -------
        tuple of float
            Of the three colours; () where the tile holds nothing of the mask.
        """
        tile = self.tiling.nearest(*mask.centroid)
        region = self._encoder.region((z, z + 1), tile)
        (_, (top, bottom), (left, right)) = region
        window = overlap((top, left, bottom, right), mask.box)
        inside = mask.mask[window[1]]
        if not inside.any():
            return ()
        voxels = self._encoder.read_block(region)[:, :, *window[0]]
        shown = self._unfiltered.render(voxels)[0]
        return tuple(float(v) / 255 for v in shown[:, inside].mean(1))

    def flush(self) -> None:
        """Wait until new embeddings are on the store."""
        self.cache.flush()

    def _answer(self, z: int, asked: list[tuple[Search, Request]]) -> None:
        tile = asked[0][1].tile
        embedding = self.cache.embedding(z, tile, self._encoder)
        answers = self.model.decode(embedding, [request.prompt for _, request in asked])
        for (search, request), (logits, scores) in zip(asked, answers, strict=True):
            search.take(request, logits, scores)


def open_sam_predictor(
    volume: Volume,
    model: Model,
    rendering: Rendering,
    *,
    level: int = 0,
    time: int = 0,
    zoom: float = 1.0,
    overlap: int | None = None,
    in_memory: bool = False,
) -> SamSlicePredictor:
    """A predictor over a level of a volume, with the volume's embedding cache.

    Parameters
    ----------
    volume : Volume
        The image.
    model : Model
        The model.
    rendering : Rendering
        Of `measure_rendering`.
    level, time : int
        What is looked at.
    zoom : float
        Model pixels per voxel.
    overlap : int, optional
        Voxels that tiles share; a quarter of a tile by default.
    in_memory : bool
        Keep embeddings in memory only.
    """
    depth, height, width = volume.levels[level].grid.shape
    tiling = Tiling((height, width), model.spec.img_size, zoom, overlap)
    cache = cache_of(
        volume, model.spec, rendering, tiling, level=level, time=time, in_memory=in_memory
    )
    reader = SlabReader(volume, level, time, rendering.channels)
    return SamSlicePredictor(cache, model, tiling, rendering, (depth, height, width), reader)


def array_predictor(
    array: NDArray[np.generic], model: Model, rendering: Rendering, *, zoom: float = 1.0
) -> SamSlicePredictor:
    """A predictor over an array in memory, (z, y, x) or (c, z, y, x), with embeddings in memory."""
    stack = array[None] if array.ndim == 3 else array
    depth, height, width = stack.shape[1:]
    tiling = Tiling((height, width), model.spec.img_size, zoom)
    cache = EmbeddingCache(None, "memory", depth, model.spec.embedding_dtype)

    def read(region: tuple[tuple[int, int], ...]) -> NDArray[np.generic]:
        (z0, z1), (y0, y1), (x0, x1) = region
        return stack[:, z0:z1, y0:y1, x0:x1]

    return SamSlicePredictor(cache, model, tiling, rendering, (depth, height, width), read)
