"""How labelled objects are parted for cross-validation: by region of the image, so that neighbours don't vouch for each
other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FOLDS = 5


def region_folds(
    images: NDArray[np.int64],
    centroids: NDArray[np.float64],
    classes: NDArray[np.int64],
    count: int = FOLDS,
) -> tuple[NDArray[np.int64], str]:
    """Part objects into regions of about as many objects.

    Parameters
    ----------
    images : ndarray of int64 (n,)
        Which image, and time, each lies in.
    centroids : ndarray (n, 3)
        z, y, x in micrometres.
    classes : ndarray of int64 (n,)
        Index of each one's class.
    count
        How many regions.

    Returns
    -------
    folds : ndarray of int64 (n,)
    how
        "image", "region", or "class" where regions would leave out all of a class, so that objects are dealt by class.
    """
    if len(np.unique(images)) >= count:
        numbers = np.unique(images, return_inverse=True)[1]
        found, how = numbers % count, "image"
    else:
        found, how = np.zeros(len(images), np.int64), "region"
        for image in np.unique(images):
            mine = np.flatnonzero(images == image)
            found[mine] = _bisected(centroids[mine], count)
    if _leaves_every_class(found, classes):
        return found, how
    return stratified_folds(classes, count), "class"


def stratified_folds(classes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Deal the objects of each class in turn."""
    found = np.zeros(len(classes), np.int64)
    dealt = 0
    for one in np.unique(classes):
        mine = np.flatnonzero(classes == one)
        found[mine] = (np.arange(len(mine)) + dealt) % count
        dealt += len(mine)
    return found


def _bisected(points: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Cut along the longest axis into parts of as many points as regions they become, and go on with each."""
    found = np.zeros(len(points), np.int64)
    if count == 1 or len(points) < 2:
        return found
    first = count // 2
    axis = int(np.argmax(np.ptp(points, axis=0)))
    order = np.argsort(points[:, axis], kind="stable")
    cut = round(len(points) * first / count)
    low, high = order[:cut], order[cut:]
    found[low] = _bisected(points[low], first)
    found[high] = first + _bisected(points[high], count - first)
    return found


def _leaves_every_class(folds: NDArray[np.int64], classes: NDArray[np.int64]) -> bool:
    return (
        all(set(classes[folds != fold]) == set(classes) for fold in np.unique(folds))
        and len(np.unique(folds)) > 1
    )
