"""The plain baseline that a report prints beside volseg: Otsu's threshold and the connected
component under a point.

Works on arrays in memory; it exists to be compared with, not to segment large volumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.evaluation.contingency import Contingency


def otsu_threshold(volume: NDArray[np.generic], bins: int = 256) -> float:
    """Otsu's threshold (Otsu 1979) of a volume's histogram: foreground is what is greater.

    Parameters
    ----------
    volume : ndarray, real
        Intensities, any number of axes.
    bins : int
        Histogram bins between least and greatest value (bytes are counted exactly).

    Raises
    ------
    InputError
        If the volume holds no voxel or a value that is not finite.
    """
    values = np.asarray(volume)
    if (
        values.size == 0
        or not np.isfinite(low := float(values.min()))
        or not np.isfinite(float(values.max()))
    ):
        raise InputError("Otsu's threshold needs at least one voxel, and finite intensities only")
    high = float(values.max())
    if low == high:
        return low
    if values.dtype == np.uint8:
        counts = np.bincount(values.reshape(-1), minlength=256).astype(np.float64)
        centres = np.arange(256, dtype=np.float64)
    else:
        found, edges = np.histogram(values, bins=bins, range=(low, high))
        counts, centres = found.astype(np.float64), (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mean_below = np.cumsum(counts * centres) / np.maximum(below, 1)
    total = float((counts * centres).sum())
    mean_above = (total - np.cumsum(counts * centres)) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    return float(centres[int(np.argmax(between))])


def otsu_components(volume: NDArray[np.generic]) -> NDArray[np.int32]:
    """Label the face-connected components of what is brighter than Otsu's threshold.

    Parameters
    ----------
    volume : ndarray, shape (z, y, x)

    Returns
    -------
    ndarray of int32, shape (z, y, x)
        Component numbers from 1; 0 is background.
    """
    from scipy.ndimage import label

    values = np.asarray(volume)
    components, _ = label(values > otsu_threshold(values))
    return np.asarray(components, np.int32)


def otsu_component(
    volume: NDArray[np.generic], points: Sequence[tuple[float, float, float]]
) -> list[NDArray[np.bool_]]:
    """The connected component of the Otsu-thresholded volume under each point.

    Parameters
    ----------
    volume : ndarray, shape (z, y, x)
    points : sequence of (z, y, x)
        In voxels, whole numbers being voxel centres.

    Returns
    -------
    list of ndarray of bool, each of shape (z, y, x)
        All False where the point lies in the background. Components may be shared by several
        points.
    """
    components = otsu_components(volume)
    numbers = [int(components[_voxel(point, components.shape)]) for point in points]
    return [(components == n) if n else np.zeros(components.shape, bool) for n in numbers]


def otsu_dice(
    volume: NDArray[np.generic],
    truth: NDArray[np.integer],
    points: Mapping[int, tuple[float, float, float]],
) -> dict[int, float]:
    """Dice of each truth object with the Otsu component under that object's point.

    Parameters
    ----------
    volume, truth : ndarray, shape (z, y, x)
    points : mapping of truth id to (z, y, x) in voxels

    Returns
    -------
    dict of int to float
        One value per given point; 0.0 where the point lies in the background of the thresholded
        volume.
    """
    components = otsu_components(volume)
    counts = Contingency.of(truth, components)
    truth_sizes, sizes = counts.truth_sizes(), counts.predicted_sizes()
    shared = {
        (int(t), int(p)): int(n)
        for t, p, n in zip(counts.truth, counts.predicted, counts.counts, strict=True)
    }
    result: dict[int, float] = {}
    for object_id, point in points.items():
        if object_id not in truth_sizes:
            raise InputError(f"object {object_id} has a point, but no voxel in truth")
        number = int(components[_voxel(point, components.shape)])
        both = shared.get((object_id, number), 0) if number else 0
        result[object_id] = 2 * both / (truth_sizes[object_id] + sizes.get(number, 0))
    return result


def _voxel(point: tuple[float, float, float], shape: tuple[int, ...]) -> tuple[int, int, int]:
    z, y, x = (round(v) for v in point)
    if not (0 <= z < shape[0] and 0 <= y < shape[1] and 0 <= x < shape[2]):
        raise InputError(f"point (z {z}, y {y}, x {x}) lies outside the volume {shape} (z, y, x)")
    return z, y, x
