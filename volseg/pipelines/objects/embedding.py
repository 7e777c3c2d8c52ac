"""The embedding of a model added up over objects, in whole numbers: each voxel counts with the cell that it lies in.

Of tiles that overlap, the one whose edge is farthest away says which cell: a voxel's cell does not depend on the block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.geometry import Region, region_shape
from volseg.measurement.features import EMBEDDING_STEPS
from volseg.measurement.sums import ObjectSums

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.features import EmbeddingCache, TileEncoder
    from volseg.features.tiling import Tile, Tiling
    from volseg.images.image import Volume
    from volseg.measurement.block_sums import BlockSums
    from volseg.measurement.definition import EmbeddingDefinition
    from volseg.pipelines.objects.plan import MeasurePlan

_MOST = 2**20


class EmbeddingReader:
    """Embeddings of one time of a volume, from the cache, else made and kept there."""

    def __init__(self, plan: MeasurePlan, volume: Volume, time: int) -> None:
        from volseg.features import SlabReader, TileEncoder, cache_of
        from volseg.features.rendering import Rendering
        from volseg.features.tiling import Tiling
        from volseg.models.registry import find_planned, load_model

        wanted = plan.definition.embedding
        level = plan.source.image_level
        assert wanted is not None and level is not None and plan.rendering is not None
        model = load_model(find_planned(wanted.model, wanted.sha256))
        check_digest(model.spec.sha256, wanted)
        rendering = Rendering.model_validate(plan.rendering)
        self.tiling: Tiling = Tiling(plan.source.shape[1:], model.spec.img_size, wanted.zoom)
        self.name: str = model.spec.arrays[0][0]
        self.cells: tuple[int, int] = model.spec.arrays[0][1][1:]
        self.cache: EmbeddingCache = cache_of(
            volume, model.spec, rendering, self.tiling, level=level, time=time
        )
        reader = SlabReader(volume, level, time, rendering.channels)
        self._encoder: TileEncoder = TileEncoder(model, self.tiling, rendering, reader)

    def vectors(self, z: int, tile: Tile) -> NDArray[np.int64]:
        """Return the embedding of a tile of a slice (cells, numbers), in steps."""
        found = self.cache.embedding(z, tile, self._encoder)[self.name]
        flat = found.reshape(found.shape[0], -1).T.astype(np.float32)
        steps = np.rint(np.nan_to_num(flat) * EMBEDDING_STEPS)
        return np.clip(steps, -_MOST, _MOST).astype(np.int64)


def check_digest(found: str | None, wanted: EmbeddingDefinition) -> None:
    """Raise ModelUnavailableError where the weights here are not those of a definition."""
    from volseg.errors import ModelUnavailableError

    if found != wanted.sha256:
        raise ModelUnavailableError(
            f"the weights of {wanted.model} here have SHA-256 {found}, but the features were made with "
            f"{wanted.sha256}; put those in place, or measure and train anew"
        )


def with_embedding(
    plan: MeasurePlan,
    volume: Volume,
    block: BlockSums,
    region: Region,
    time: int,
    context: BlockContext,
) -> ObjectSums:
    """Return a block's sums with those of the embedding, and of its squares, beside them."""
    reader: EmbeddingReader = context.resources.keep(
        f"embedding-{time}", lambda: EmbeddingReader(plan, volume, time)
    )
    sums, numbers = block.sums, _numbers(plan)
    total = np.zeros((len(sums.ids), numbers), np.int64)
    squares = np.zeros_like(total)
    if len(block.own):
        rows = np.searchsorted(sums.ids, block.own)
        _add(reader, block, region, rows, total, squares)
        reader.cache.flush()
    add = sums.add | {"embedding": total, "embedding_squares": squares}
    return ObjectSums(sums.ids, add, sums.low, sums.high, sums.pairs)


def _numbers(plan: MeasurePlan) -> int:
    assert plan.definition.embedding is not None
    return plan.definition.embedding.numbers


def _add(
    reader: EmbeddingReader,
    block: BlockSums,
    region: Region,
    rows: NDArray[Any],
    total: NDArray[np.int64],
    squares: NDArray[np.int64],
) -> None:
    _, height, width = region_shape(region)
    places = block.inside[block.groups.order]
    z, plane = np.divmod(places, height * width)
    tiles, cells = cells_of(reader.tiling, reader.cells, region)
    owners = rows[block.groups.owners]
    count = reader.cells[0] * reader.cells[1]
    for depth in np.unique(z).tolist():
        there = z == depth
        for number in np.unique(tiles[plane[there]]).tolist():
            chosen = np.flatnonzero(there)
            chosen = chosen[tiles[plane[chosen]] == number]
            code = owners[chosen] * count + cells[plane[chosen]]
            pairs, voxels = np.unique(code, return_counts=True)
            vectors = reader.vectors(region[0][0] + depth, reader.tiling.tiles[number])
            values = vectors[pairs % count]
            owner = pairs // count
            starts = np.flatnonzero(np.diff(owner, prepend=-1))
            total[owner[starts]] += np.add.reduceat(values * voxels[:, None], starts, axis=0)
            squares[owner[starts]] += np.add.reduceat(values**2 * voxels[:, None], starts, axis=0)


def cells_of(
    tiling: Tiling, cells: tuple[int, int], region: Region
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which tile, and which cell of its embedding, each voxel of a region's slices belongs to.

    Parameters
    ----------
    tiling
        Of the slice.
    cells
        Height and width of an embedding.
    region
        Half-open voxels.

    Returns
    -------
    tiles, cells : ndarray of int64 (y * x,)
        Indices of tiles, the lowest where several are as near; cells in row order.
    """
    _, (y0, y1), (x0, x1) = region
    box = (y0, x0, y1, x1)
    best = np.full((y1 - y0, x1 - x0), -1.0, np.float32)
    tiles = np.zeros(best.shape, np.int64)
    places = np.zeros(best.shape, np.int64)
    rows, columns = np.arange(y0, y1)[:, None], np.arange(x0, x1)[None, :]
    for tile in tiling.touching(box):
        weight = tiling.weight(tile, box)
        ahead = weight > best
        y = np.clip((2 * (rows - tile.y0) + 1) * cells[0] // (2 * tile.size), 0, cells[0] - 1)
        x = np.clip((2 * (columns - tile.x0) + 1) * cells[1] // (2 * tile.size), 0, cells[1] - 1)
        best[ahead], tiles[ahead] = weight[ahead], tile.index
        places[ahead] = (y * cells[1] + x)[ahead]
    return tiles.reshape(-1), places.reshape(-1)
