"""The interface of classifiers of objects: what a family of them is, and what its members do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from volseg.errors import ModelUnavailableError

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
