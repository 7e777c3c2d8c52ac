"""The interface of classifiers of objects, and finding one by name: ours, and those of entry points.

An entry point of the group ``volseg.classifiers`` names a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, ModelUnavailableError
from volseg.extensions import extensions

GROUP = "volseg.classifiers"
Inputs = NDArray[np.float32]
"""Features (n, features), NaN where not defined; or patches (n, channels + 1, z, y, x), the object's mask last."""


class Classifier(Protocol):
    """What was learned."""

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return the probability of each class (n, classes); rows add up to 1."""
        ...

    def files(self) -> dict[str, bytes]:
        """Return what it is as files by name: arrays or text, never pickle. Equal classifiers give equal bytes."""
        ...


@dataclass(frozen=True)
class Family:
    """A kind of classifier.

    Parameters
    ----------
    name
        As ``--kind`` says it.
    inputs
        What it looks at.
    fit
        Learns from inputs, class indices (n,) of int64, the number of classes and settings by name; every class
        occurs. Must give the same for the same, whatever the machine is doing.
    load
        Reads what `Classifier.files` gave.
    """

    name: str
    inputs: Literal["features", "patches"]
    fit: Callable[[Inputs, NDArray[np.int64], int, Mapping[str, Any]], Classifier]
    load: Callable[[Mapping[str, bytes]], Classifier]


def families() -> dict[str, Family]:
    """Return the families by name: ours, then those of other packages."""
    from volseg.classify.objects import logistic, trees

    own = (logistic.FAMILY, trees.FAMILY)
    return {one.name: one for one in (*extensions(GROUP, Family), *own)}


def find_family(name: str) -> Family:
    """Return a family by name.

    Raises
    ------
    InputError
        There is none of this name.
    """
    known = families()
    if name not in known:
        raise InputError(f"--kind {name!r}: expected auto or one of {', '.join(sorted(known))}")
    return known[name]


def need(package: str) -> None:
    """Raise one clear line where a learner is not installed.

    Raises
    ------
    ModelUnavailableError
        With the command that installs it.
    """
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ModelUnavailableError(
            f'classes are learned with {package}, which is not installed: pip install "volseg[learn]"'
        )


def class_weights(classes: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return a weight per sample (n,), so that every class weighs alike and the mean is 1."""
    found = np.bincount(classes, minlength=count)
    return (len(classes) / (count * np.maximum(found, 1)))[classes]
