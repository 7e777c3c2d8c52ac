"""Training a classifier of voxels on the scribbles of one or several images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import InputError
from volseg.models.threads import one_thread
from volseg.pipelines.pixels.options import PixelTrainOptions
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from volseg.classify.voxels.classifier import VoxelClassifier
    from volseg.classify.voxels.definition import FeatureDefinition
    from volseg.classify.voxels.features import VoxelFeatures
    from volseg.classify.voxels.samples import Samples
    from volseg.classify.voxels.strokes import Strokes
    from volseg.images.image import Volume
    from volseg.images.labels import Labels

Scribbled = tuple["Volume | str", str]


@dataclass(frozen=True)
class _Image:
    """An image with its strokes."""

    volume: Volume
    labels: Labels
    level: int
    channels: tuple[int, ...]
    strokes: Strokes


@dataclass(frozen=True)
class TrainResult:
    """A trained classifier, and where it lies.

    Parameters
    ----------
    classifier
        The classifier.
    place
        Its folder; None where it was not kept.
    sha256
        Its digest; None where it was not kept.
    voxels, strokes
        By class number.
    """

    classifier: VoxelClassifier
    place: str | None
    sha256: str | None
    voxels: dict[int, int]
    strokes: dict[int, int]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "model": self.place,
            "sha256": self.sha256,
            "classes": [
                {"number": n, "name": name, "strokes": self.strokes[n], "voxels": self.voxels[n]}
                for n, name in sorted(self.classifier.classes.items())
            ],
            "features": len(self.classifier.definition.names),
            "temperature": self.classifier.temperature,
        }

    def describe(self) -> str:
        """Return the result for people, a line a class."""
        lines = [f"{self.place}: {len(self.classifier.definition.names)} features"]
        for n, name in sorted(self.classifier.classes.items()):
            called = f"{n} {name}" if name else str(n)
            strokes, voxels = (
                f"{count} {noun}{'' if count == 1 else 's'}"
                for count, noun in ((self.strokes[n], "stroke"), (self.voxels[n], "voxel"))
            )
            lines.append(f"  class {called}: {strokes}, {voxels}")
        return "\n".join(lines)


def train(
    images: Sequence[Scribbled],
    out: str | None = None,
    options: PixelTrainOptions | None = None,
    *,
    progress: Progress = silent,
    **choices: Any,
) -> TrainResult:
    """Train a classifier on all voxels that the scribbles of some images label, and on no others.

    Parameters
    ----------
    images
        Pairs of a volume (opened, or its path or URL) and the name of its label image of class numbers. All have as
        many channels.
    out
        Folder or URL to write the classifier to; None: nowhere.
    options, choices
        As `PixelTrainOptions`.
    progress
        Told the images that were looked at.

    Raises
    ------
    InputError
        If there is no label image of a name, nothing or only one class is labelled, or channels differ.
    ExistsError
        If something is at `out` that may not be replaced.
    """
    from volseg.classify.voxels.classifier import KIND, VoxelClassifier
    from volseg.classify.voxels.samples import joined
    from volseg.models.folder import check_target
    from volseg.uncertainty.calibration import calibrated

    chosen = options or PixelTrainOptions.of(**choices)
    if not images:
        raise InputError("nothing to train on: give at least one image with scribbles")
    if out is not None:
        check_target(out, KIND, overwrite=chosen.overwrite)
    opened = [_open(volume, name, chosen) for volume, name in images]
    _check_alike(opened)
    definition = _definition(opened, chosen)
    with one_thread():
        parts = []
        for done, image in enumerate(opened):
            progress("features", done, len(opened))
            parts.append(_samples(image, definition))
        samples = joined(parts)
        progress("features", len(opened), len(opened))
        names = _class_names(opened)
        about = {"images": [_told(image) for image in opened]}
        classifier = VoxelClassifier.train(samples, definition, names, about)
        classifier = calibrated(classifier, samples)
    sha256 = None if out is None else classifier.save(out, overwrite=chosen.overwrite)
    voxels = {n: int((samples.classes == n).sum()) for n in classifier.classes}
    strokes = {n: len(np.unique(samples.strokes[samples.classes == n])) for n in classifier.classes}
    return TrainResult(classifier, out, sha256, voxels, strokes)


def _open(volume: Volume | str, name: str, options: PixelTrainOptions) -> _Image:
    from volseg.classify.voxels.strokes import read_strokes
    from volseg.images.image import Volume, open_volume
    from volseg.images.labels import open_labels
    from volseg.pipelines.pixels.inputs import channels_of

    image = volume if isinstance(volume, Volume) else open_volume(volume)
    labels = open_labels(image, name)
    strokes = read_strokes(labels)
    return _Image(
        image, labels, _level_of(image, labels), channels_of(image, options.channel), strokes
    )


def _level_of(volume: Volume, labels: Labels) -> int:
    """Return the level of the image that has the scribbles' grid."""
    shapes = [level.grid.shape for level in volume.levels]
    said = labels.metadata.level
    if said < len(shapes) and shapes[said] == labels.shape:
        return said
    if labels.shape in shapes:
        return shapes.index(labels.shape)
    raise InputError(
        f"{labels.location} has {labels.shape} voxels (z, y, x), but the levels of the image have "
        f"{', '.join(map(str, shapes))}: scribbles must lie on the grid of one of them"
    )


def _check_alike(images: Sequence[_Image]) -> None:
    first = images[0]
    for image in images[1:]:
        if len(image.channels) != len(first.channels):
            raise InputError(
                f"{image.volume.location} has {len(image.channels)} channels, but {first.volume.location} "
                f"{len(first.channels)}: choose as many with --channel"
            )


def _definition(images: Sequence[_Image], options: PixelTrainOptions) -> FeatureDefinition:
    from volseg.classify.voxels.definition import FeatureDefinition
    from volseg.classify.voxels.embedded import define_embedding
    from volseg.features.filters.bank import FilterBank

    first = images[0]
    without = options.embedding.strip().lower() in ("", "none")
    return FeatureDefinition(
        channels=len(first.channels),
        bank=FilterBank.of_voxel(first.volume.level(first.level).scale),
        neighbours=any(image.labels.shape[0] > 1 for image in images),
        embedding=None if without else define_embedding(options.embedding, options.zoom),
    )


def features_of(
    volume: Volume, scribbles: str, time: int, options: PixelTrainOptions
) -> VoxelFeatures:
    """Return what computes the features that a classifier of these scribbles would be trained on."""
    image = _open(volume, scribbles, options)
    return _features(image, _definition([image], options), time)


def _features(image: _Image, definition: FeatureDefinition, time: int) -> VoxelFeatures:
    from volseg.classify.voxels.features import VoxelFeatures
    from volseg.pipelines.pixels.inputs import limits_of

    limits = limits_of(image.volume, image.level, time, image.channels)
    return VoxelFeatures(
        image.volume,
        definition,
        level=image.level,
        time=time,
        channels=image.channels,
        limits=limits,
    )


def _samples(image: _Image, definition: FeatureDefinition) -> Samples:
    from volseg.classify.voxels.samples import joined, sample

    parts = []
    for time in np.unique(image.strokes.places[:, 0]).tolist():
        if time >= image.volume.n_times:
            raise InputError(
                f"{image.labels.location} has strokes at time {time}, but the image has "
                f"{image.volume.n_times} time points"
            )
        features = _features(image, definition, time)
        parts.append(sample(image.strokes, features, time))
        features.close()
    return joined(parts)


def _class_names(images: Sequence[_Image]) -> dict[int, str]:
    """Return the names of classes; where images call one differently, they don't fit together."""
    names: dict[int, str] = {}
    for image in images:
        for number, name in image.labels.classes.items():
            if names.setdefault(number, name) != name:
                raise InputError(
                    f"class {number} is {names[number]!r} in one image and {name!r} in {image.labels.location}: "
                    "scribbles that train together must number their classes alike"
                )
    return names


def _told(image: _Image) -> dict[str, Any]:
    return {
        "image": image.volume.name,
        "identity": image.volume.identity(image.level),
        "scribbles": image.labels.name,
        "voxels": len(image.strokes),
        "strokes": image.strokes.count,
    }
