"""Entropy of class probabilities, 0 where one class is certain, 1 where all are equally likely."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the entropy over the first axis, as a share of the largest possible.

    Parameters
    ----------
    probabilities
        (classes, …) float32, at least two classes, adding up to 1.

    Returns
    -------
    ndarray
        (…) float32 in 0..1.
    """
    total = np.zeros(probabilities.shape[1:], np.float32)
    for one in probabilities:  # class by class, so that no cut changes a bit
        known = np.maximum(one, np.float32(1e-7))
        total -= known * np.log(known)
    return np.asarray(np.clip(total / np.float32(np.log(len(probabilities))), 0, 1), np.float32)


def as_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return values in 0..1 as 0..255, rounded half up."""
    return np.asarray(values * np.float32(255) + np.float32(0.5)).astype(np.uint8)
