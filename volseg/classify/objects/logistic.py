"""Regularised logistic regression: for few labels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.classify.objects.classifier import Family, Inputs, class_weights, need

STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse strengths of regularisation that are tried where there are enough labels."""
STRENGTH = 0.3
FOLDS = 3
_WEIGHTS = "logistic.npz"


@dataclass(frozen=True)
class Logistic:
    """A softmax of a linear function of scaled features.

    Attributes
    ----------
    middle, width : ndarray of float64 (features,)
        Median and spread of the features that it learned from.
    weights : ndarray of float64 (features + 1, classes)
        The last row is the constant.
    """

    middle: NDArray[np.float64]
    width: NDArray[np.float64]
    weights: NDArray[np.float64]

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return the probability of each class (n, classes)."""
        scores = scaled(inputs, self.middle, self.width) @ self.weights[:-1] + self.weights[-1]
        scores -= scores.max(axis=1, keepdims=True)
        odds = np.exp(scores)
        return odds / odds.sum(axis=1, keepdims=True)

    def files(self) -> dict[str, bytes]:
        """Return the arrays as a NumPy archive."""
        file = io.BytesIO()
        np.savez(file, middle=self.middle, width=self.width, weights=self.weights)
        return {_WEIGHTS: file.getvalue()}


def scaled(
    values: Inputs, middle: NDArray[np.float64], width: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return features around 0 with long tails drawn in; what is not defined is in the middle."""
    found = (values.astype(np.float64) - middle) / width
    return np.arcsinh(np.nan_to_num(found, nan=0.0, posinf=1e6, neginf=-1e6))


def fit(
    inputs: Inputs, classes: NDArray[np.int64], count: int, settings: Mapping[str, Any]
) -> Logistic:
    """Learn; features that tell the classes apart are held back less.

    Each feature is weighed by the share of its variance that lies between the classes (its correlation ratio), so that
    of a hundred features and as few labels those count that say something. The strength of regularisation is chosen by
    cross-validation where every class has enough labels.
    """
    middle, width = _scale(inputs)
    features = scaled(inputs, middle, width)
    worth = _correlation_ratios(features, classes, count)
    strength = _strength(features * worth, classes, count)
    weights = _weights(features * worth, classes, count, strength)
    weights[:-1] *= worth[:, None]
    return Logistic(middle, width, weights)


def _correlation_ratios(
    features: NDArray[np.float64], classes: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Share of each feature's variance that lies between the classes (features,), their mean square made 1."""
    middle = features.mean(axis=0)
    between = np.zeros(features.shape[1])
    for one in range(count):
        mine = features[classes == one]
        between += len(mine) * (mine.mean(axis=0) - middle) ** 2
    found = between / (((features - middle) ** 2).sum(axis=0) + 1e-12)
    return found / np.sqrt((found**2).mean() + 1e-24)


def _scale(inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = np.where(np.isfinite(inputs), inputs, np.nan).astype(np.float64)
    known[:, np.isnan(known).all(axis=0)] = 0.0
    low, middle, high = np.nanpercentile(known, [25, 50, 75], axis=0)
    width = np.maximum((high - low) / 1.35, np.nanstd(known, axis=0) / 4)
    return middle, np.where(width > 1e-12 * (1 + np.abs(middle)), width, 1.0)


def _weights(
    features: NDArray[np.float64], classes: NDArray[np.int64], count: int, strength: float
) -> NDArray[np.float64]:
    need("sklearn")
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=3000, tol=1e-6)
    model.fit(features, classes, sample_weight=class_weights(classes, count))
    if count == 2:  # one row of weights, of the second class
        own = np.concatenate([model.coef_[0], model.intercept_])
        return np.stack([np.zeros_like(own), own], axis=1)
    return np.concatenate([model.coef_.T, model.intercept_[None]], axis=0)


def _strength(features: NDArray[np.float64], classes: NDArray[np.int64], count: int) -> float:
    if np.bincount(classes, minlength=count).min() < 2 * FOLDS:
        return STRENGTH
    from volseg.classify.objects.folds import stratified_folds

    folds = stratified_folds(classes, FOLDS)
    losses = []
    for strength in STRENGTHS:
        loss = 0.0
        for fold in range(FOLDS):
            held = folds == fold
            weights = _weights(features[~held], classes[~held], count, strength)
            scores = features[held] @ weights[:-1] + weights[-1]
            scores -= scores.max(axis=1, keepdims=True)
            logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
            right = logs[np.arange(len(logs)), classes[held]]
            loss -= float((right * class_weights(classes, count)[held]).sum())
        losses.append(loss)
    return STRENGTHS[int(np.argmin(np.round(losses, 9)))]


def load(files: Mapping[str, bytes]) -> Logistic:
    """Read what `Logistic.files` gave."""
    with np.load(io.BytesIO(files[_WEIGHTS]), allow_pickle=False) as found:
        return Logistic(found["middle"], found["width"], found["weights"])


FAMILY = Family("logistic", "features", fit, load)
