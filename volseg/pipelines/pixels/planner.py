"""Making plans: everything about applying a classifier is checked and decided here, and nothing is written."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import InputError
from volseg.geometry import Triple
from volseg.pipelines.pixels.inputs import channels_of, limits_of
from volseg.pipelines.pixels.options import PixelApplyOptions
from volseg.pipelines.pixels.plan import PixelOutputs, PixelPlan, PixelSource, PlannedClassifier
from volseg.pipelines.segmentation.estimates import (
    ANY_BLOCK_BYTES,
    PROCESS_BYTES,
    TORCH_BYTES,
    WRITERS,
)
from volseg.pipelines.segmentation.geometry import LabelLevel, label_levels
from volseg.storage import check_name

if TYPE_CHECKING:
    from volseg.classify.voxels.classifier import VoxelClassifier
    from volseg.images.image import Volume

BLOCK_VOXELS = 1 << 21
"""Most voxels of a block, unless a single storage object has more: some seconds of work, times the features."""
FEATURE_BYTES = 96 << 20
"""Features that are in memory at once: as many rows of a slice are looked at together."""
PYRAMID_BYTES = 64 << 20
"""Of the finer level that a block of a coarser one reads."""
SLICES_KEPT = 3
_SECONDS_PER_FEATURE = 2e-8  # and voxel, on one slow core
_SECONDS_PER_TILE = 0.3


def make_plan(
    volume: Volume,
    model: str,
    options: PixelApplyOptions | None = None,
    **choices: Any,
) -> PixelPlan:
    """Decide how a classifier is applied to an image.

    Parameters
    ----------
    volume
        The image.
    model
        Folder or URL of the classifier.
    options, choices
        As `PixelApplyOptions`.

    Raises
    ------
    ModelUnavailableError
        If there is no such classifier, or its features are not this version's.
    InputError
        If image and classifier don't fit together, or names are wrong.
    """
    from volseg.classify.voxels.classifier import VoxelClassifier
    from volseg.images.labels import LABEL_CHUNKS

    chosen = options or PixelApplyOptions.of(**choices)
    classifier, manifest, _ = VoxelClassifier.load(model)
    source = _source(volume, classifier, chosen)
    levels = label_levels(volume, chosen.level)
    block = _block(levels, LABEL_CHUNKS)
    features = len(classifier.definition.names)
    rows = max(1, min(block[1], FEATURE_BYTES // (4 * features * block[2])))
    embedding = classifier.definition.embedding
    place = volume.output_store.location
    return PixelPlan(
        source=source,
        classifier=PlannedClassifier(
            sha256=manifest["sha256"],
            classes=dict(classifier.classes),
            features=features,
            halo=classifier.definition.bank.halo,
            embedding=None if embedding is None else embedding.model,
        ),
        outputs=_outputs(chosen),
        levels=levels,
        block=block,
        rows=rows,
        url=str(volume.location.url),
        labels_at=None if place == volume.location else str(place.url),
        model=model,
        overwrite=chosen.overwrite,
        overwrite_edits=chosen.overwrite and chosen.overwrite_edits,
        process_bytes=PROCESS_BYTES,
        task_bytes=_task_bytes(source, classifier, levels, block, rows, chosen),
        seconds_at_most=_seconds(source, classifier),
    )


def _source(volume: Volume, classifier: VoxelClassifier, options: PixelApplyOptions) -> PixelSource:
    at = volume.level(options.level)
    times = tuple(range(volume.n_times)) if options.time is None else (options.time,)
    if times[-1] >= volume.n_times:
        raise InputError(
            f"time point {options.time} does not exist; {volume.location} has {volume.n_times}, from 0"
        )
    channels = channels_of(volume, options.channel)
    wanted = classifier.definition.channels
    if len(channels) != wanted:
        raise InputError(
            f"{volume.location} has {len(channels)} channels, but the classifier was trained on {wanted}: choose as "
            "many with --channel, in the same order"
        )
    limits = tuple(limits_of(volume, options.level, time, channels) for time in times)
    return PixelSource(
        identity=volume.identity(options.level),
        level=options.level,
        times=times,
        channels=channels,
        limits=limits,
        shape=at.grid.shape,
        dtype=str(volume.dtype),
    )


def _outputs(options: PixelApplyOptions) -> PixelOutputs:
    check_name(options.labels, "label image")
    if options.instances is not None:
        check_name(options.instances, "label image")
    if options.instances == options.labels:
        raise InputError(
            f"--labels and --instances are both {options.labels!r}: one holds class numbers, the other objects"
        )
    if options.maps is not None:
        check_name(options.maps, "maps")
    return PixelOutputs(labels=options.labels, instances=options.instances, maps=options.maps)


def _block(levels: tuple[LabelLevel, ...], chunk: Triple) -> Triple:
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


def _task_bytes(
    source: PixelSource,
    classifier: VoxelClassifier,
    levels: tuple[LabelLevel, ...],
    block: Triple,
    rows: int,
    options: PixelApplyOptions,
) -> dict[str, int]:
    """Return the bytes that a worker needs for a block of each stage, at most."""
    definition, classes = classifier.definition, len(classifier.classes)
    halo_y, halo_x = definition.bank.halo
    wide = (rows + 2 * halo_y) * (block[2] + 2 * halo_x)
    features = 4 * rows * block[2] * (2 * len(definition.names) + 6 * classes)
    filters = 4 * SLICES_KEPT * rows * block[2] * definition.channels * len(definition.bank.names)
    working = 4 * wide * (2 * len(definition.bank.names) + 4 * definition.channels)
    read = (64 << 20) + 8 * wide * len(source.channels)
    made = prod(block) * (4 + 2 * (classes + 1))
    chunk = prod(levels[0].chunk)
    packing = WRITERS * 3 * chunk * 4
    torch = 0 if definition.embedding is None else TORCH_BYTES + (320 << 20)
    found = {
        "classify": ANY_BLOCK_BYTES + features + filters + working + read + made + packing + torch,
        "pyramid": ANY_BLOCK_BYTES + 3 * PYRAMID_BYTES + packing,
    }
    if options.instances is not None:
        faces = 2 * sum(prod(source.shape) // n for n in block)
        found["pieces"] = ANY_BLOCK_BYTES + 24 * prod(block) + packing
        found["join"] = ANY_BLOCK_BYTES + 64 * min(faces, prod(source.shape))
    return found


def _seconds(source: PixelSource, classifier: VoxelClassifier) -> float:
    voxels = prod(source.shape) * len(source.times)
    seconds = voxels * len(classifier.definition.names) * _SECONDS_PER_FEATURE
    if classifier.definition.embedding is not None:
        seconds += _SECONDS_PER_TILE * np.ceil(voxels / 150**2)
    return float(seconds)
