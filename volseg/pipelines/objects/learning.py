"""Training: label images with classes that people gave become a classifier in a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.classify.objects.families import find_family
from volseg.classify.objects.training import Learned, Samples, learn, names_of
from volseg.errors import InputError
from volseg.geometry import Triple
from volseg.measurement.definition import FeatureDefinition
from volseg.measurement.table import FeatureRows, FeatureTable
from volseg.models.folder import ENDING, check_target, read_model, write_model
from volseg.pipelines.objects.job import run
from volseg.pipelines.objects.options import FeatureOptions, PatchOptions
from volseg.pipelines.objects.patches import patch_reader, patch_size
from volseg.pipelines.objects.planner import make_plan
from volseg.pipelines.objects.sources import ObjectKey, ObjectSource, as_sources
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from volseg.images.image import Volume

KIND = "objects"
CARD = "README.md"


@dataclass(frozen=True)
class ObjectModel:
    """A classifier of objects, read from its folder.

    Attributes
    ----------
    learned
        The classifier.
    definition
        The features that it was trained on.
    patch
        Voxels (z, y, x) of the patches that it looks at; None: it looks at features.
    place
        Its folder.
    sha256
        Names it.
    """

    learned: Learned
    definition: FeatureDefinition
    patch: Triple | None
    place: str
    sha256: str

    @classmethod
    def load(cls, place: str) -> ObjectModel:
        """Read a model's folder.

        Raises
        ------
        ModelUnavailableError
            There is none, it is of another kind, or it is damaged.
        """
        manifest, files = read_model(place, KIND)
        definition = FeatureDefinition.model_validate(manifest["definition"])
        size = manifest["patch"]
        patch = None if size is None else (int(size[0]), int(size[1]), int(size[2]))
        return cls(Learned.load(files), definition, patch, place, manifest["sha256"])

    @property
    def name(self) -> str:
        """Name and digest for people and tables."""
        last = self.place.rstrip("/").rpartition("/")[2].removesuffix(ENDING)
        return f"{last}@{self.sha256[:12]}"


@dataclass(frozen=True)
class TrainResult:
    """A classifier that was trained.

    Attributes
    ----------
    out
        Its folder.
    sha256
        Names it.
    learned
        The classifier.
    counts
        Labelled objects by class.
    """

    out: str
    sha256: str
    learned: Learned
    counts: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        validation = self.learned.validation
        return {
            "model": self.out,
            "sha256": self.sha256,
            "kind": self.learned.family,
            "labels": dict(self.counts),
            "temperature": self.learned.temperature,
            "validation": None if validation is None else validation.to_json(),
        }

    def describe(self) -> str:
        """For people."""
        told = ", ".join(f"{n} {name}" for name, n in self.counts.items())
        lines = [f"{self.out}: {self.learned.family} of {told} ({self.sha256[:12]})"]
        if self.learned.validation is None:
            lines.append("not cross-validated: a class has a single label; give it at least two")
        else:
            lines.append(self.learned.validation.describe())
        return "\n".join(lines)


def train(
    sources: Iterable[tuple[Volume | str, str]],
    out: str,
    *,
    kind: str = "auto",
    options: FeatureOptions | None = None,
    seed: int = 0,
    overwrite: bool = False,
    labels_at: str | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Train a classifier on the objects that people gave classes to; measures first what is not measured yet.

    Parameters
    ----------
    sources
        Images, or their paths or URLs, each with the name of a label image.
    out
        Folder to write, on a disk or in a bucket.
    kind
        ``auto``, ``logistic``, ``trees``, ``network``, or an entry point's; see `volseg.classify.objects.training`.
    options
        Which features.
    seed
        Of what is random in it.
    overwrite
        Replace a model that is there.
    labels_at
        Where labels lie, if the images are read-only.
    cluster, workers, progress
        As in `measure`.
    settings
        Of the kind, and of its patches (`PatchOptions`).

    Raises
    ------
    InputError
        Fewer than two classes, images whose features differ, no such kind, a target that exists.
    """
    check_target(out, KIND, overwrite=overwrite)
    sees_patches = kind != "auto" and find_family(kind).inputs == "patches"
    given = dict(settings or {})
    if given and not sees_patches:
        raise InputError(
            f"--set {next(iter(given))}: settings are for kinds that look at patches; leave it out"
        )
    patch_options = PatchOptions.of(
        **{n: given.pop(n) for n in PatchOptions.model_fields if n in given}
    )
    opened = as_sources(sources, labels_at)
    classes = [one.classes_of_people() for one in opened]
    samples_of(opened, classes).check()
    plans = [make_plan(one.volume, one.name, options) for one in opened]
    definition = plans[0].definition
    for one, plan in zip(opened, plans, strict=True):
        _check_alike(opened[0], definition, one, plan.definition)
    tables = [
        run(plan, one.volume, cluster=cluster, workers=workers, progress=progress or silent).table
        for one, plan in zip(opened, plans, strict=True)
    ]
    rows = [_labelled(table, given) for table, given in zip(tables, classes, strict=True)]
    samples = samples_of(opened, classes, rows)
    samples.check()
    patch = None
    if sees_patches:
        patch = patch_size(opened[0].labels, rows, patch_options)
        seen = [
            patch_reader(one, definition, patch).read(part)
            for one, part in zip(opened, rows, strict=True)
        ]
        samples = replace(samples, inputs=np.concatenate(seen))
    learned = learn(samples, kind, {**given, "seed": seed})
    counts = {name: int((samples.classes == i).sum()) for i, name in enumerate(samples.names)}
    about = {
        "definition": definition.model_dump(mode="json"),
        "patch": patch,
        "features": definition.hash,
        "classes": list(samples.names),
        "labels": counts,
        "images": len(opened),
    }
    files = {**learned.files(), CARD: _card(learned, counts, definition).encode()}
    sha256 = write_model(out, KIND, about, files, overwrite=overwrite)
    return TrainResult(out, sha256, learned, counts)


def samples_of(
    sources: list[ObjectSource],
    classes: list[dict[ObjectKey, str]],
    rows: list[FeatureRows] | None = None,
) -> Samples:
    """Put the labelled objects of all images together; without rows only their classes."""
    if rows is None:
        told = [one for given in classes for one in given.values()]
        names, index = names_of(told)
        nothing = np.zeros((len(told), 0), np.float32)
        return Samples(nothing, index, names, index * 0, np.zeros((len(told), 3)))
    named = [
        given[int(t), int(i)]
        for part, given in zip(rows, classes, strict=True)
        for t, i in zip(part.times, part.ids, strict=True)
    ]
    names, index = names_of(named)
    together = FeatureRows.joined(rows)
    images = [
        np.full(len(part), at, np.int64) * 100_000 + part.times for at, part in enumerate(rows)
    ]
    return Samples(together.values, index, names, np.concatenate(images), together.centroids)


def _labelled(table: FeatureTable, given: Mapping[ObjectKey, str]) -> FeatureRows:
    """The rows of labelled objects; those without voxels have none."""
    found = []
    for part in table.parts():
        keys = zip(part.times.tolist(), part.ids.tolist(), strict=True)
        chosen: NDArray[np.bool_] = np.array([key in given for key in keys], bool)
        found.append(part.chosen(chosen))
    if not found:
        empty = np.empty(0, np.int64)
        nothing = np.empty((0, len(table.definition.names)), np.float32)
        return FeatureRows(empty, empty, np.empty((0, 3)), empty, nothing)
    return FeatureRows.joined(found)


def _check_alike(
    first: ObjectSource,
    known: FeatureDefinition,
    one: ObjectSource,
    found: FeatureDefinition,
) -> None:
    if told := known.differences(found):
        raise InputError(
            f"{first} and {one} don't have the same features, so they can't train together: {'; '.join(told)}"
        )


def _card(learned: Learned, counts: Mapping[str, int], definition: FeatureDefinition) -> str:
    from volseg import __version__

    told = "\n".join(f"- {name}: {n} labelled objects" for name, n in Counter(counts).items())
    scores = "Not cross-validated: a class has a single label."
    if learned.validation is not None:
        scores = f"```\n{learned.validation.describe()}\n```"
    return (
        f"# A classifier of objects\n\nMade by volseg {__version__}, {learned.family}.\n\n## Classes\n\n{told}\n\n"
        f"## How good it is\n\n{scores}\n\n## What it looks at\n\n{len(definition.names)} features, definition "
        f"{definition.hash}, channels {', '.join(map(str, definition.channels)) or 'none'}.\n"
    )
