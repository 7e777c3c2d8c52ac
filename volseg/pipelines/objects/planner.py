"""Making plans of measuring jobs: everything is checked and decided here, and nothing is written."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from volseg.errors import InputError, NoListingError
from volseg.geometry import Triple
from volseg.images.contrast import measure_contrast, sample_regions
from volseg.measurement.block_sums import BLOCK_VOXELS
from volseg.measurement.brightness import BrightnessScale
from volseg.measurement.definition import EmbeddingDefinition, FeatureDefinition
from volseg.pipelines.objects.options import FeatureOptions
from volseg.pipelines.objects.plan import ChannelScale, LabelName, MeasuredSource, MeasurePlan

if TYPE_CHECKING:
    from volseg.images.arrays import LevelArray
    from volseg.images.image import Volume
    from volseg.images.labels import Labels

BLOCK_SIDE = 1024


def make_plan(
    volume: Volume,
    labels: str,
    options: FeatureOptions | None = None,
    *,
    definition: FeatureDefinition | None = None,
    block: Triple | None = None,
) -> MeasurePlan:
    """Decide how the objects of a label image are measured.

    Parameters
    ----------
    volume
        The image.
    labels
        Name of the label image.
    options
        What is measured.
    definition
        Instead of `options`: the features of a classifier.
    block
        Voxels (z, y, x) of a block; features don't depend on it.

    Raises
    ------
    InputError
        There is no such channel, or the image has no level of the labels' voxels.
    NotThereError, UnknownModelError
        There is no such label image, or model.
    """
    found = volume.labels[labels]
    level = _image_level(volume, found)
    chosen = options or FeatureOptions.of()
    wanted = _definition(volume, found, chosen) if definition is None else definition
    flat = found.shape[0] == 1
    if wanted.flat != flat:
        kinds = ("2D", "3D") if wanted.flat else ("3D", "2D")
        raise InputError(
            f"{found.location} has {kinds[1]} objects, but the features asked for are of {kinds[0]} ones"
        )
    _check_channels(volume, found, wanted.channels, level)
    scales = [
        _scale(volume, level, time, channel)
        for time in range(found.n_times)
        for channel in wanted.channels
    ]
    embedded = wanted.embedding is not None
    if embedded and level is None:
        raise InputError(_no_level(volume, found, "--embedding none"))
    reads_image = bool(wanted.channels) or embedded
    at = volume.levels[level] if reads_image and level is not None else None
    return MeasurePlan(
        source=MeasuredSource(
            labels=found.levels[0].identity(),
            image=None if at is None else at.identity(),
            image_level=level if reads_image else None,
            state=_state(found.levels[0], at),
            shape=found.shape,
            times=found.n_times,
            voxel_um=found.scale,
        ),
        definition=wanted,
        scales=tuple(scales),
        rendering=_rendering(volume, level, wanted),
        block=block or _block(found),
        labels=LabelName(name=labels),
        url=str(volume.location.url),
        labels_at=_labels_at(volume),
    )


def _labels_at(volume: Volume) -> str | None:
    place = volume.output_store.location
    return None if place == volume.location else str(place.url)


def _image_level(volume: Volume, labels: Labels) -> int | None:
    """The image's level of the labels' voxels."""
    return next((one.index for one in volume.levels if one.grid.shape == labels.shape), None)


def _no_level(volume: Volume, labels: Labels, way_out: str) -> str:
    return (
        f"{volume.location} has no level of {labels.shape} voxels (z, y, x), as the labels {labels.name} have; leave "
        f"the image out with {way_out}"
    )


def _definition(volume: Volume, labels: Labels, options: FeatureOptions) -> FeatureDefinition:
    channels = options.channels
    return FeatureDefinition(
        flat=labels.shape[0] == 1,
        channels=tuple(range(volume.n_channels)) if channels is None else channels,
        ring=options.ring,
        embedding=_embedding(options),
    )


def _embedding(options: FeatureOptions) -> EmbeddingDefinition | None:
    if options.embedding in (None, "", "none"):
        return None
    from volseg.models.registry import find_model
    from volseg.models.weights import fetch_weights

    spec = find_model(str(options.embedding))
    if spec.sha256 is None:
        fetch_weights(spec)
        spec = find_model(spec.name)
    return EmbeddingDefinition(
        model=spec.name, sha256=spec.sha256 or "", numbers=spec.arrays[0][1][0], zoom=options.zoom
    )


def _check_channels(
    volume: Volume, labels: Labels, channels: tuple[int, ...], level: int | None
) -> None:
    beyond = [one for one in channels if not 0 <= one < volume.n_channels]
    if beyond:
        raise InputError(
            f"channel {beyond[0]} does not exist; {volume.location} has {volume.n_channels}, from 0"
        )
    if channels and level is None:
        raise InputError(_no_level(volume, labels, "--channels none"))
    if channels and labels.n_times > volume.n_times:
        raise InputError(
            f"{labels.location} has {labels.n_times} time points, but the image has {volume.n_times}; leave the image "
            "out with --channels none"
        )


def _scale(volume: Volume, level: int | None, time: int, channel: int) -> ChannelScale:
    assert level is not None, "checked before"
    kind = str(volume.dtype)
    window = measure_contrast(volume, level, time, channel)
    span = (0.0, 1.0)
    if not BrightnessScale(kind, span, window).is_exact:
        span = _span(volume, level, time, channel)
    return ChannelScale(time=time, channel=channel, dtype=kind, span=span, window=window)


def _span(volume: Volume, level: int, time: int, channel: int) -> tuple[float, float]:
    """Lowest and highest finite value of a channel, where it is large of the parts that its contrast is measured on."""
    low, high = np.inf, -np.inf
    for region in sample_regions(volume.levels[level].grid.shape):
        values = volume.read(region, level=level, time=time, channel=channel)
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (
        (low, high) if low < high else (0.0 if low > high else low, 1.0 if low > high else low + 1)
    )


def _rendering(
    volume: Volume, level: int | None, definition: FeatureDefinition
) -> dict[str, object] | None:
    if definition.embedding is None or level is None:
        return None
    from volseg.features.rendering import measure_rendering

    channels = definition.channels[:3] or (0,)
    shown = (0, 1, 2) if volume.is_rgb else channels
    return measure_rendering(volume, level, 0, shown, ()).model_dump(mode="json")


def _state(labels: LevelArray, image: LevelArray | None) -> str:
    """Digest of key, size and entity tag of every stored object that is read; of nothing where a place can't list."""
    digest = hashlib.blake2b(digest_size=16)
    for level in (labels, image):
        if level is None:
            continue
        try:
            for stat in level.store.list(level.path.strip("/")):
                digest.update(f"{stat.key}\0{stat.size}\0{stat.etag}\n".encode())
        except NoListingError:
            digest.update(b"unlisted\n")
    return digest.hexdigest()


def _block(labels: Labels) -> Triple:
    """Voxels of a block: whole chunks as far as `BLOCK_VOXELS` holds them, else a part of one."""
    grid = labels.grid
    size = [min(c, n, BLOCK_SIDE) for c, n in zip(grid.chunk, grid.shape, strict=True)]
    while size[0] * size[1] * size[2] > BLOCK_VOXELS:
        axis = size.index(max(size))
        size[axis] = -(-size[axis] // 2)
    for axis in (2, 1, 0, 2, 1, 0, 0, 0, 0):
        grown = min(2 * size[axis], grid.shape[axis], BLOCK_SIDE)
        if size[0] * size[1] * size[2] // size[axis] * grown <= BLOCK_VOXELS:
            size[axis] = grown
    return (size[0], size[1], size[2])
