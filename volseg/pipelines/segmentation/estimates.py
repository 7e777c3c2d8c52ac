"""What a plan costs: bytes of memory per block of each stage, numbers of blocks, rough time and output size.

The memory figures are upper bounds that a plan is refused by; times are rough and for people only.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from volseg.geometry import Triple

if TYPE_CHECKING:
    from volseg.models.spec import ModelSpec
    from volseg.pipelines.segmentation.geometry import Geometry
    from volseg.pipelines.segmentation.plan import PlannedModel, PlannedOracle
    from volseg.prompts import PromptedObject

PROCESS_BYTES = 250 << 20
"""An idle worker with NumPy, Zarr, SciPy and Dask loaded (measured 170–210 MiB)."""
ANY_BLOCK_BYTES = 40 << 20
"""Whatever any block takes: buffers of requests, stacks of threads, code that is loaded when first used."""
TORCH_BYTES = 450 << 20
"""More with torch loaded, its thread pools and allocator included."""
KEPT_EMBEDDINGS, KEPT_SLABS = 256 << 20, 128 << 20
"""Most bytes of embeddings and of voxels that a worker keeps in memory."""
TRACK_BYTES = 64 << 20
"""Most of tracks and prompts of a block's objects; run lengths, so far below this even for large objects."""
CACHE_BYTES = 256 << 20
"""Most of chunks that are kept between levels where others write the same labels."""
PAINTED = 1.75
"""Bytes per byte of a compose block: the block, its coarser levels, and what making these takes."""
SCANNED_BYTES, SCANNED_VOXELS = 24, 1 << 18
"""Bytes per voxel while ids are counted, a part of the block at a time."""
WRITERS = 8
"""Storage objects that are packed at once."""
PLANE_BYTES = 16
"""Bytes per voxel of a slice while masks are found on it, for an object that fills it."""
TRUTH_SLICES = 8
"""Slices of true labels that are read with one, by the thickness of their chunks."""
ROW_BYTES = 16
"""Bytes of both passes of a track per row of a slice, two runs to a row; never more than four for each voxel."""


class Estimates(BaseModel):
    """Of one plan; not in its hash.

    Parameters
    ----------
    process_bytes
        Memory of an idle worker.
    task_bytes
        Memory that a worker needs for one block beyond that, by stage.
    blocks_at_most
        Numbers of blocks by stage, if every object went through the whole stack.
    tiles_at_most
        Embeddings, under the same assumption.
    seconds_at_most
        On one worker.
    label_bytes_at_most
        Level 0 of the labels, uncompressed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    process_bytes: int
    task_bytes: dict[str, int]
    blocks_at_most: dict[str, int]
    tiles_at_most: int
    seconds_at_most: float
    label_bytes_at_most: int

    @property
    def worker_bytes(self) -> int:
        """Memory of a worker with its largest block."""
        return self.process_bytes + max(self.task_bytes.values())


_PROMPT_ROUNDS = 2.0  # decoder calls per object and slice, on average


def estimate(
    shape: tuple[int, int, int],
    dtype: str,
    geometry: Geometry,
    predictor: PlannedModel | PlannedOracle,
    objects: Sequence[PromptedObject],
    labels_dtype: str = "uint32",
    shared: bool = False,
    spec: ModelSpec | None = None,
) -> Estimates:
    """Estimate a plan.

    Parameters
    ----------
    shape
        Of the level, voxels z, y, x.
    dtype
        Of the image.
    geometry, predictor, objects
        Of the plan.
    labels_dtype
        Of the label image.
    shared
        The labels exist, and others may be writing them too.
    spec
        Of the planned model.
    """
    groups = -(-len(objects) // geometry.group)
    windows = -(-shape[0] // geometry.window)
    tiles = _tiles(shape, predictor)
    tracks = _track_bytes(shape, len(objects))
    asking = (
        ANY_BLOCK_BYTES + tracks + _asking_bytes(predictor, spec, shape, dtype, geometry, tiles)
    )
    itemsize = np.dtype(labels_dtype).itemsize
    return Estimates(
        process_bytes=PROCESS_BYTES,
        task_bytes={
            "seed": asking,
            "propagate": asking,
            "settle": asking,
            "compose": ANY_BLOCK_BYTES + tracks + _composing_bytes(geometry, itemsize, shared),
            "pyramid": ANY_BLOCK_BYTES + _coarsening_bytes(geometry, itemsize, shared),
            "objects": ANY_BLOCK_BYTES + 1000 * len(objects),
        },
        blocks_at_most={
            "seed": groups,
            "propagate": groups * (windows + 1),
            "settle": groups,
            "compose": geometry.compose_blocks(shape),
        },
        tiles_at_most=tiles * shape[0],
        seconds_at_most=_seconds(spec, tiles * shape[0], len(objects) * shape[0]),
        label_bytes_at_most=prod(shape) * itemsize,
    )


def _track_bytes(shape: tuple[int, int, int], objects: int) -> int:
    return min(TRACK_BYTES, objects * shape[0] * shape[1] * ROW_BYTES, 4 * prod(shape))


def _composing_bytes(geometry: Geometry, itemsize: int, shared: bool) -> int:
    """A block in memory with all levels that it owns, counted and packed; where others write too, chunk by chunk."""
    inside = _inside(geometry.compose_shape, geometry.levels[0].shape)
    voxels = prod(inside)
    owned = range(geometry.owned)
    packing = max(_packing_bytes(geometry, i, inside, itemsize, shared) for i in owned)
    counting = min(voxels, SCANNED_VOXELS) * SCANNED_BYTES
    block = voxels * itemsize
    if shared:
        return 2 * block + _cached_bytes(2 * block, geometry, itemsize) + counting + packing
    return int(PAINTED * block) + counting + packing


def _coarsening_bytes(geometry: Geometry, itemsize: int, shared: bool) -> int:
    """A block of a level that compose blocks don't own, and the voxels of the finer level below it."""
    needed = 0
    for i in range(geometry.owned, len(geometry.levels)):
        inside = _inside(geometry.pyramid_shapes[i - 1], geometry.levels[i].shape)
        block = prod(inside) * itemsize
        finer = min(
            block * prod(geometry.levels[i].factors), prod(geometry.levels[i - 1].shape) * itemsize
        )
        own = int(PAINTED * block) + int(1.25 * finer)
        own += _packing_bytes(geometry, i, inside, itemsize, shared)
        own += _cached_bytes(block + finer, geometry, itemsize) if shared else 0
        needed = max(needed, own)
    return needed


def _inside(block: Triple, shape: Triple) -> Triple:
    """The most of a block that lies in the image: others' storage objects may be far larger than what they hold."""
    z, y, x = map(min, block, shape)
    return z, y, x


def _packing_bytes(
    geometry: Geometry, level: int, block: tuple[int, int, int], itemsize: int, shared: bool
) -> int:
    """Objects of a block of a level on their way to the store, several at once: whole, and packed.

    Where the labels are shared, whole ones are counted with the cache, and here their voxels, as they were and packed.
    """
    whole = _moving_bytes(geometry.levels[level].chunk, block, itemsize)
    voxels = min(whole, prod(block) * itemsize)
    return 2 * voxels if shared else whole + voxels


def _cached_bytes(wanted: int, geometry: Geometry, itemsize: int) -> int:
    """Chunks of a block in the editor's cache, and those being compared and put."""
    moving = max(_moving_bytes(level.chunk, level.shape, itemsize) for level in geometry.levels)
    return min(CACHE_BYTES, wanted) + moving


def _moving_bytes(chunk: Sequence[int], shape: Sequence[int], itemsize: int) -> int:
    """Whole storage objects of a part of a level, as many as are read or written at once."""
    objects = prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
    return min(WRITERS, objects) * prod(chunk) * itemsize


def _asking_bytes(
    predictor: PlannedModel | PlannedOracle,
    spec: ModelSpec | None,
    shape: tuple[int, int, int],
    dtype: str,
    geometry: Geometry,
    tiles: int,
) -> int:
    """What is in memory while a predictor is asked on one slice."""
    plane = shape[1] * shape[2]
    if predictor.kind == "oracle" or spec is None:
        slices = min(shape[0], max(TRUTH_SLICES, geometry.chunk[0]))
        return plane * (PLANE_BYTES + 4 * slices)
    itemsize = np.dtype(dtype).itemsize
    side = predictor.img_size / predictor.zoom
    pixels = int(side * side) * (itemsize * len(predictor.rendering) + 16)
    batches = spec.cost.tile_bytes * max(1, predictor.encode_batch) + 8 * predictor.img_size**2 * 12
    decoding = predictor.decode_batch * 3 * int(side * side) * 8
    kept = min(KEPT_EMBEDDINGS, tiles * shape[0] * 2 * spec.embedding_bytes)
    kept += min(KEPT_SLABS, prod(shape) * itemsize * len(predictor.rendering["channels"]))
    return TORCH_BYTES + kept + spec.cost.weights_bytes + batches + decoding + 8 * pixels


def _tiles(shape: tuple[int, int, int], predictor: PlannedModel | PlannedOracle) -> int:
    if predictor.kind == "oracle":
        return 1
    from volseg.features.tiling import Tiling

    return len(Tiling(shape[1:], predictor.img_size, predictor.zoom, predictor.overlap).tiles)


def _seconds(spec: ModelSpec | None, tiles: int, decodes: int) -> float:
    if spec is None:
        return 0.001 * decodes
    return tiles * spec.cost.tile_s + decodes * spec.cost.prompt_s * _PROMPT_ROUNDS


def as_text(estimates: Estimates) -> dict[str, Any]:
    """The estimates in units for people."""
    minutes = estimates.seconds_at_most / 60
    return {
        "memory per worker": f"{estimates.worker_bytes / 2**30:.2f} GiB",
        "embeddings": f"at most {estimates.tiles_at_most:,}",
        "time": f"at most about {minutes:,.0f} min on one CPU worker"
        if minutes >= 1
        else "seconds",
        "labels": f"at most {estimates.label_bytes_at_most / 1e9:,.2f} GB before compression",
    }
