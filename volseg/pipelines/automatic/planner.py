"""Making plans: everything about an automatic job is checked and decided here, and nothing is written."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from volseg.errors import InputError
from volseg.features.tiling import Tiling
from volseg.geometry import Triple
from volseg.pipelines.automatic.options import AutoOptions
from volseg.pipelines.automatic.plan import AutoPlan, PlannedMaps
from volseg.pipelines.segmentation.estimates import (
    ANY_BLOCK_BYTES,
    KEPT_EMBEDDINGS,
    KEPT_SLABS,
    PROCESS_BYTES,
    TORCH_BYTES,
    WRITERS,
)
from volseg.pipelines.segmentation.geometry import LabelLevel, label_levels
from volseg.pipelines.segmentation.planner import labels_at_of, predictor_of, source_of, spec_of
from volseg.pipelines.segmentation.zoom import Zooming
from volseg.proposals.agglomeration import THRESHOLD
from volseg.storage import check_name

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.models.dense import DenseSpec
    from volseg.pipelines.segmentation.plan import Source

RUN = 8
"""Slices of a block that computes maps; one more is looked at, for its contacts with the next."""
BLOCK_VOXELS = 1 << 22
"""Most voxels of a block of labels, unless a single storage object has more."""
SLICE_BYTES = 120
"""Bytes per voxel of a slice while it is parted into fragments (estimated)."""
CANDIDATE_BYTES, CONTACT_BYTES = 160, 700
"""Bytes of a fragment among all when seeds are found, and of a contact when fragments are joined."""
_SECONDS_PER_TILE, _SECONDS_PER_VOXEL = 0.2, 1.5e-6


def make_plan(volume: Volume, options: AutoOptions | None = None, **choices: Any) -> AutoPlan:
    """Decide an automatic job.

    Where zoom or method are to be found, the model looks at a few slices now.

    Parameters
    ----------
    volume
        The image.
    options, choices
        As `AutoOptions`. ``model`` may be the `PlannedOracle`, too: maps of true labels.

    Raises
    ------
    ModelUnavailableError
        The model has no dense maps.
    InputError
        Whatever else is wrong, as its own class.
    """
    from volseg.pipelines.automatic.choosing import choose
    from volseg.pipelines.automatic.open_maps import MapsOpener, dense_spec

    chosen = options or AutoOptions.of(**choices)
    check_name(chosen.labels, "label image")
    _check_together(chosen)
    source = source_of(volume, chosen.level, chosen.time, chosen.channel)
    zooming = Zooming(1.0, (), chosen.labels)  # found below, from the maps
    predictor = predictor_of(volume, source, chosen.model, zooming, chosen.preprocess, (None, None))
    spec_of(predictor)
    dense = dense_spec(predictor, source)
    wanted = None if chosen.method == "auto" else chosen.method
    zoom, method, choice = choose(MapsOpener(volume, source, predictor), wanted, chosen.size)
    if method == "regions" and chosen.into_existing:
        raise InputError("--into-existing adds separate objects: it needs --method seeds")
    if predictor.kind == "sam":
        predictor = predictor.model_copy(update={"zoom": zoom})
    levels = label_levels(volume, chosen.level)
    block = _block(levels)
    pitch = (source.voxel_um[1] * source.voxel_um[2]) ** 0.5
    return AutoPlan(
        source=source,
        predictor=predictor,
        maps=PlannedMaps(sha256=dense.sha256, img_size=dense.img_size, zoom=zoom),
        method=method,
        threshold=THRESHOLD,
        smallest=(chosen.min_size or 0.0) / pitch,
        confidence=chosen.min_confidence,
        labels=chosen.labels,
        existing=chosen.into_existing,
        levels=levels,
        run=RUN,
        block=block,
        choice=choice,
        url=str(volume.location.url),
        labels_at=labels_at_of(volume),
        overwrite=chosen.overwrite,
        overwrite_edits=chosen.overwrite_edits,
        process_bytes=PROCESS_BYTES,
        task_bytes=_task_bytes(source, dense, zoom, block),
        seconds_at_most=_seconds(source, dense, zoom),
    )


def _check_together(options: AutoOptions) -> None:
    if options.overwrite and options.into_existing:
        raise InputError("to overwrite a label image and to add to it exclude each other")
    if options.overwrite_edits and not (options.overwrite or options.into_existing):
        raise InputError(
            "overwriting edits is for label images that exist; give --into-existing or --overwrite, too"
        )


def _block(levels: tuple[LabelLevel, ...]) -> Triple:
    """Return the voxels of a block: whole storage objects of level 0, several where they are small."""
    shape = levels[0].shape
    z, y, x = (min(c, n) for c, n in zip(levels[0].chunk, shape, strict=True))
    block = [z, y, x]
    while True:
        axes = [i for i in (2, 1) if block[i] < shape[i]]
        if not axes or 2 * prod(block) > BLOCK_VOXELS:
            return (block[0], block[1], block[2])
        axis = min(axes, key=lambda i: block[i])
        block[axis] = min(2 * block[axis], shape[axis])


def _task_bytes(source: Source, dense: DenseSpec, zoom: float, block: Triple) -> dict[str, int]:
    """Return the bytes that a worker needs for a block of each stage, at most."""
    plane = prod(source.shape[1:])
    tiling = Tiling(source.shape[1:], dense.img_size, zoom)
    tile_maps = 4 * (RUN + 1) * dense.map_size**2 * (4 * len(tiling.tiles) + len(dense.maps))
    embeddings = 2 * (RUN + 1) * prod(dense.embedding)
    look = TORCH_BYTES + KEPT_EMBEDDINGS + KEPT_SLABS + (320 << 20) + embeddings
    # as many as would be if every object were the size that models like
    across = (dense.img_size / tiling.size) / 40
    fragments = max(100, int(plane * across**2) * source.shape[0])
    return {
        "fragments": ANY_BLOCK_BYTES + look + tile_maps + SLICE_BYTES * plane,
        "join": ANY_BLOCK_BYTES + max(CANDIDATE_BYTES, 6 * CONTACT_BYTES) * fragments + 8 * plane,
        "label": ANY_BLOCK_BYTES + 16 * prod(block) + 12 * plane + WRITERS * 3 * 4 * prod(block),
    }


def _seconds(source: Source, dense: DenseSpec, zoom: float) -> float:
    depth, height, width = source.shape
    tiles = len(Tiling((height, width), dense.img_size, zoom).tiles)
    return float(
        depth * (1 + 1 / RUN) * (tiles * _SECONDS_PER_TILE + height * width * _SECONDS_PER_VOXEL)
    )
