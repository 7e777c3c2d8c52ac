"""What a plan costs: bytes of memory per block of each stage, numbers of blocks, rough time and output size.

The memory figures are upper bounds that a plan is refused by; times are rough and for people only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from volseg.jobs.geometry import PYRAMID_VOXELS

if TYPE_CHECKING:
    from volseg.jobs.geometry import Geometry
    from volseg.jobs.plan import PlannedModel, PlannedOracle
    from volseg.prompts import PromptedObject

PROCESS_BYTES = 250 << 20
"""A worker with NumPy, Zarr, SciPy and Dask loaded (measured 170–210 MiB)."""
TORCH_BYTES = 450 << 20
"""More with torch loaded, its thread pools and allocator included."""
KEPT_BYTES = 384 << 20
"""Embeddings (256 MiB) and slabs of voxels (128 MiB) that a worker keeps in memory."""
TRACK_BYTES = 64 << 20
"""Tracks and prompts of a block's objects; run lengths, so far below this even for large objects."""

SHARED_BYTES = 320 << 20
"""More where others write the same labels: chunks kept between levels (256 MiB), and the journal's index."""


class Estimates(BaseModel):
    """Of one plan; not in its hash.

    Parameters
    ----------
    task_bytes
        Memory that a worker needs for one block, by stage.
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

    task_bytes: dict[str, int]
    blocks_at_most: dict[str, int]
    tiles_at_most: int
    seconds_at_most: float
    label_bytes_at_most: int


# weights in float32, working memory per tile in a batch, seconds per tile and per prompt on one core
_VARIANTS = {
    "nano": (60 << 20, 120 << 20, 0.12, 0.015),
    "vit_b": (375 << 20, 1400 << 20, 9.0, 0.12),
    "vit_l": (1250 << 20, 1800 << 20, 22.0, 0.12),
    "vit_h": (2560 << 20, 2200 << 20, 40.0, 0.12),
}
_PROMPT_ROUNDS = 2.0  # decoder calls per object and slice, on average


def estimate(
    shape: tuple[int, int, int],
    dtype: str,
    geometry: Geometry,
    predictor: PlannedModel | PlannedOracle,
    objects: Sequence[PromptedObject],
    shared: bool = False,
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
    shared
        The labels exist, and others may be writing them too.
    """
    groups = -(-len(objects) // geometry.group)
    windows = -(-shape[0] // geometry.window)
    model = _model_bytes(predictor, np.dtype(dtype).itemsize)
    composed = int(np.prod(geometry.compose_shape, dtype=np.int64)) * 4
    tiles = _tiles(shape, predictor) * shape[0]
    writing = PROCESS_BYTES + (SHARED_BYTES if shared else 0)
    return Estimates(
        task_bytes={
            "seed": model,
            "propagate": model,
            "settle": model,
            "compose": writing + TRACK_BYTES + 3 * composed,
            "pyramid": writing + PYRAMID_VOXELS * 4 * 2,
            "objects": PROCESS_BYTES + TRACK_BYTES + 1000 * len(objects),
        },
        blocks_at_most={
            "seed": groups,
            "propagate": groups * (windows + 1),
            "settle": groups,
            "compose": geometry.compose_blocks(shape),
        },
        tiles_at_most=tiles,
        seconds_at_most=_seconds(predictor, tiles, len(objects) * shape[0]),
        label_bytes_at_most=int(np.prod(shape, dtype=np.int64)) * 4,
    )


def _model_bytes(predictor: PlannedModel | PlannedOracle, itemsize: int) -> int:
    base = PROCESS_BYTES + TRACK_BYTES
    if predictor.kind == "oracle":
        return base
    weights, working, _, _ = _figures(predictor)
    side = predictor.img_size / predictor.zoom
    pixels = int(side * side) * (itemsize * len(predictor.rendering) + 16)
    batches = working * max(1, predictor.encode_batch) + 8 * predictor.img_size**2 * 12
    decoding = predictor.decode_batch * 3 * int(side * side) * 8
    return base + TORCH_BYTES + KEPT_BYTES + weights + batches + decoding + 8 * pixels


def _tiles(shape: tuple[int, int, int], predictor: PlannedModel | PlannedOracle) -> int:
    if predictor.kind == "oracle":
        return 1
    from volseg.sam.tiling import Tiling

    return len(Tiling(shape[1:], predictor.img_size, predictor.zoom, predictor.overlap).tiles)


def _seconds(predictor: PlannedModel | PlannedOracle, tiles: int, decodes: int) -> float:
    if predictor.kind == "oracle":
        return 0.001 * decodes
    _, _, encode, decode = _figures(predictor)
    return tiles * encode + decodes * decode * _PROMPT_ROUNDS


def _figures(predictor: PlannedModel) -> tuple[int, int, float, float]:
    return _VARIANTS.get(predictor.variant, _VARIANTS["vit_h"])


def as_text(estimates: Estimates) -> dict[str, Any]:
    """The estimates in units for people."""
    minutes = estimates.seconds_at_most / 60
    return {
        "memory per worker": f"{max(estimates.task_bytes.values()) / 2**30:.2f} GiB",
        "embeddings": f"at most {estimates.tiles_at_most:,}",
        "time": f"at most about {minutes:,.0f} min on one CPU worker"
        if minutes >= 1
        else "seconds",
        "labels": f"at most {estimates.label_bytes_at_most / 1e9:,.2f} GB before compression",
    }
