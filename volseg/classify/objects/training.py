"""Learning classes from labelled objects: which classifier, how good by cross-validation, and how sure it may be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.classify.objects.classifier import Classifier, Family, Inputs
from volseg.classify.objects.families import find_family
from volseg.classify.objects.folds import FOLDS, region_folds
from volseg.errors import InputError

MANY = 200
"""Labels from which on trees are tried beside logistic regression."""
FEWER_FOLDS = 3
"""Of what takes long to train."""
TEMPERATURES = tuple(float(2.0 ** (k / 8)) for k in range(-24, 25))


@dataclass(frozen=True)
class Samples:
    """Objects that people gave classes to.

    Attributes
    ----------
    inputs : ndarray
        Features or patches; see `volseg.classify.objects.classifier.Inputs`.
    classes : ndarray of int64 (n,)
        Index among `names`.
    names
        The classes.
    images : ndarray of int64 (n,)
        Which image, and time, each lies in.
    centroids : ndarray (n, 3)
        z, y, x in micrometres.
    """

    inputs: Inputs
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    images: NDArray[np.int64]
    centroids: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.classes)

    def check(self) -> None:
        """Raise InputError unless there are at least two classes."""
        if len(self.names) < 2:
            told = f"only {self.names[0]!r}" if self.names else "none"
            raise InputError(
                f"classes are learned from objects of at least two, but people gave {told}; give objects classes with "
                "`volseg objects label`, or in napari"
            )


@dataclass(frozen=True)
class Validation:
    """How a classifier does on labelled objects that it did not learn from.

    Attributes
    ----------
    parted
        By what objects were parted: "image", "region" or "class".
    names
        The classes.
    confusion : ndarray of int64 (classes, classes)
        Rows are what people said, columns what was predicted.
    calibration_error
        Of the largest probability, in ten bins.
    """

    parted: str
    names: tuple[str, ...]
    confusion: NDArray[np.int64]
    calibration_error: float

    @property
    def recalls(self) -> NDArray[np.float64]:
        """Share of each class that was found (classes,)."""
        return np.diag(self.confusion) / np.maximum(self.confusion.sum(axis=1), 1)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the classes' recalls."""
        return float(self.recalls.mean())

    @property
    def accuracy(self) -> float:
        """Share of objects that were right."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "parted_by": self.parted,
            "classes": list(self.names),
            "confusion": self.confusion.tolist(),
            "recall": [round(float(r), 6) for r in self.recalls],
            "balanced_accuracy": round(self.balanced_accuracy, 6),
            "accuracy": round(self.accuracy, 6),
            "calibration_error": round(self.calibration_error, 6),
        }

    def describe(self) -> str:
        """The confusion matrix and the scores as text, a few lines."""
        width = max(8, *(len(name) + 1 for name in self.names))
        head = "".join(f"{name:>{width}}" for name in self.names)
        lines = [f"{'said, predicted:':<{width + 8}}{head}{'recall':>9}"]
        for name, row, recall in zip(self.names, self.confusion, self.recalls, strict=True):
            cells = "".join(f"{n:>{width}}" for n in row)
            lines.append(f"{name:<{width + 8}}{cells}{recall:>9.3f}")
        lines.append(
            f"balanced accuracy {self.balanced_accuracy:.4f}, accuracy {self.accuracy:.4f}, calibration error "
            f"{self.calibration_error:.3f}, cross-validated by {self.parted}"
        )
        return "\n".join(lines)


@dataclass(frozen=True)
class Learned:
    """A calibrated classifier, with what is known of it.

    Attributes
    ----------
    family
        Name of its family.
    classifier
        What was learned from all labels.
    names
        The classes.
    temperature
        Above 1: less sure than the classifier says.
    validation
        None where a class has a single label.
    """

    family: str
    classifier: Classifier
    names: tuple[str, ...]
    temperature: float
    validation: Validation | None

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return the calibrated probability of each class (n, classes)."""
        return tempered(self.classifier.probabilities(inputs), self.temperature)

    def files(self) -> dict[str, bytes]:
        """Return it as files: the classifier's own, and what belongs to it."""
        about = {
            "family": self.family,
            "classes": list(self.names),
            "temperature": self.temperature,
            "validation": None if self.validation is None else self.validation.to_json(),
        }
        text = json.dumps(about, sort_keys=True, indent=1, ensure_ascii=False)
        return {**self.classifier.files(), "classifier.json": text.encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Learned:
        """Read what `files` gave."""
        about = json.loads(files["classifier.json"])
        family = find_family(about["family"])
        told = about["validation"]
        validation = None
        if told is not None:
            validation = Validation(
                told["parted_by"], tuple(told["classes"]), np.array(told["confusion"], np.int64),
                told["calibration_error"],
            )  # fmt: skip
        names = tuple(about["classes"])
        return cls(family.name, family.load(files), names, float(about["temperature"]), validation)


def tempered(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return probabilities (n, classes) made less sure by a temperature above 1."""
    logs = np.log(np.clip(probabilities, 1e-12, 1.0)) / temperature
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def learn(
    samples: Samples, kind: str = "auto", settings: Mapping[str, Any] | None = None
) -> Learned:
    """Learn classes; the same samples give the same bytes.

    Parameters
    ----------
    samples
        At least two classes.
    kind
        Name of a family; ``auto``: logistic regression, or trees where there are `MANY` labels and cross-validation
        says that they are better.
    settings
        Of the family.

    Raises
    ------
    InputError
        Fewer than two classes, or no family of this name.
    """
    samples.check()
    given = dict(settings or {})
    names = [kind] if kind != "auto" else ["logistic", *(["trees"] if len(samples) >= MANY else [])]
    tried = []
    for name in names:
        family = find_family(name)
        held = _held_out(samples, family, given)
        tried.append((0.0 if held is None else held[2].balanced_accuracy, family, held))
    best = max(tried, key=lambda one: round(one[0], 9))  # the first where several are as good
    _, family, held = best
    classifier = family.fit(samples.inputs, samples.classes, len(samples.names), given)
    temperature, validation = (1.0, None) if held is None else (held[1], held[2])
    return Learned(family.name, classifier, samples.names, temperature, validation)


def _held_out(
    samples: Samples, family: Family, settings: Mapping[str, Any]
) -> tuple[NDArray[np.float64], float, Validation] | None:
    """Probabilities of each object from a classifier that did not see it, the temperature, and the scores."""
    count = len(samples.names)
    if np.bincount(samples.classes, minlength=count).min() < 2:
        return None
    parts = FOLDS if family.inputs == "features" else FEWER_FOLDS
    folds, parted = region_folds(samples.images, samples.centroids, samples.classes, parts)
    found = np.zeros((len(samples), count))
    for fold in np.unique(folds):
        held = folds == fold
        part = family.fit(samples.inputs[~held], samples.classes[~held], count, settings)
        found[held] = part.probabilities(samples.inputs[held])
    temperature = _temperature(found, samples.classes)
    calibrated = tempered(found, temperature)
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (samples.classes, calibrated.argmax(axis=1)), 1)
    error = calibration_error(calibrated, samples.classes)
    return found, temperature, Validation(parted, samples.names, confusion, error)


def _temperature(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """The temperature of the greatest likelihood; one right label more counts too, so that nothing becomes certain."""
    losses = []
    for temperature in TEMPERATURES:
        found = tempered(probabilities, temperature)
        right = found[np.arange(len(found)), classes]
        losses.append(
            -float(np.log(np.clip(0.99 * right + 0.01 / found.shape[1], 1e-12, 1)).mean())
        )
    return TEMPERATURES[int(np.argmin(np.round(losses, 9)))]


def calibration_error(
    probabilities: NDArray[np.float64], classes: NDArray[np.int64], bins: int = 10
) -> float:
    """Return the mean distance of confidence and accuracy over bins of confidence (Guo et al. 2017)."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    place = np.minimum((sure * bins).astype(int), bins - 1)
    total = 0.0
    for one in range(bins):
        inside = place == one
        if inside.any():
            total += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    return float(total)


def names_of(classes: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the different classes, sorted, and the index of each."""
    names = tuple(sorted(set(classes)))
    index = {name: at for at, name in enumerate(names)}
    return names, np.array([index[one] for one in classes], np.int64)
