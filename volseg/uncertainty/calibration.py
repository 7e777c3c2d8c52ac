"""Temperatures: how far a classifier's logits are divided so that it is as often right as it says (Guo et al. 2017).

Voxels of one stroke are nearly the same voxel, so each stroke is told by a classifier that has not seen it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from volseg.classify.voxels.classifier import VoxelClassifier, softmax
from volseg.classify.voxels.samples import Samples

MOST_FOLDS = 5
_RANGE = np.exp(np.linspace(np.log(0.25), np.log(8.0), 81))


def calibrated(classifier: VoxelClassifier, samples: Samples) -> VoxelClassifier:
    """Return the classifier with the temperature that suits strokes that it has not seen.

    Where a class has one stroke alone, nothing can be left out of it: such strokes are always trained on. With no
    class of two strokes, the classifier is returned as it is.
    """
    folds = _folds(samples)
    logits, targets, weights = [], [], []
    for fold in range(int(folds.max(initial=-1)) + 1):
        out = folds == fold
        part = VoxelClassifier.train(samples.chosen(~out), classifier.definition, {})
        logits.append(part.scores(samples.features[out]))
        targets.append(np.searchsorted(part.numbers, samples.classes[out]))
        weights.append(samples.weights[out])
    if not logits:
        return classifier
    found = np.concatenate(logits), np.concatenate(targets), np.concatenate(weights)
    losses = [_loss(*found, temperature) for temperature in _RANGE]
    return replace(classifier, temperature=float(round(_RANGE[int(np.argmin(losses))], 4)))


def _folds(samples: Samples) -> NDArray[np.int64]:
    """Return which fold each sample is left out in, -1 for those that never are: strokes dealt out class by class."""
    folds = np.full(len(samples.classes), -1, np.int64)
    for number in np.unique(samples.classes):
        strokes = np.unique(samples.strokes[samples.classes == number])
        if len(strokes) < 2:
            continue
        for i, stroke in enumerate(strokes):
            folds[samples.strokes == stroke] = i % min(MOST_FOLDS, len(strokes))
    return folds


def _loss(
    logits: NDArray[np.float32],
    targets: NDArray[np.int64],
    weights: NDArray[np.float64],
    temperature: float,
) -> float:
    """Return the weighted cross-entropy of logits (n, classes) at a temperature."""
    given = softmax(np.ascontiguousarray(logits.T) / np.float32(temperature))
    chosen = given[targets, np.arange(len(targets))]
    return float((weights * -np.log(np.maximum(chosen, 1e-7))).sum())
