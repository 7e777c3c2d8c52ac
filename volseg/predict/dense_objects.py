"""From dense maps to separate objects: seeds where foreground is deepest, and a watershed between them.

A pure function of the maps of one slice. Nothing here reads, writes or runs a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

from volseg.errors import InputError

Map = NDArray[np.float32]
STEPS = (
    256  # maps are rounded to so many levels, as they would be on a store: last bits decide nothing
)


@dataclass(frozen=True)
class WatershedSettings:
    """How maps become objects.

    Parameters
    ----------
    foreground : float
        What belongs to an object has at least this much foreground.
    prominence : float
        A maximum of depth times foreground is a seed of its own where this much less lies between it and any
        higher one. Depth being logarithmic, .1 stands for a neck 1.6 times as narrow.
    seed : float
        A seed's least depth times foreground; weaker ones are not objects.
    smallest : int
        Objects of fewer pixels are dropped.
    boundary : float
        How much the boundary's map raises the watershed's landscape against depth; 0 uses depth alone.
    confidence : float
        Objects whose mean foreground is lower are dropped.
    """

    foreground: float = 0.5
    prominence: float = 0.1
    seed: float = 0.15
    smallest: int = 12
    boundary: float = 0.5
    confidence: float = 0.8


DEFAULT = WatershedSettings()


def watershed_objects(
    foreground: Map, boundary: Map, depth: Map, settings: WatershedSettings = DEFAULT
) -> NDArray[np.int32]:
    """Separate the objects of one slice.

    The same maps give the same labels; ids count from 1 in the order of the objects' first pixels (row by row).

    Parameters
    ----------
    foreground, boundary, depth : ndarray (y, x) of float
        Maps in 0..1 as `volseg.models.dense` defines them; what is no number counts as 0.
    settings : WatershedSettings
        How.

    Returns
    -------
    ndarray (y, x) int32
        0 where no object is.

    Raises
    ------
    InputError
        The maps differ in shape, or are no slice.
    """
    if foreground.ndim != 2 or not foreground.shape == boundary.shape == depth.shape:
        raise InputError(
            f"foreground {foreground.shape}, boundary {boundary.shape} and depth {depth.shape} must be maps "
            "(y, x) of one slice"
        )
    inside, edge, deep = (_levels(values) for values in (foreground, boundary, depth))
    mask = inside >= settings.foreground * (STEPS - 1)
    if not mask.any():
        return np.zeros(foreground.shape, np.int32)
    height = np.rint(inside.astype(np.float32) * deep / (STEPS - 1)).astype(np.int32)
    seeds = _seeds(height, mask, settings)
    landscape = np.rint(settings.boundary * edge).astype(np.int32) - height
    parts = watershed(landscape, seeds, mask=mask)
    return _kept(parts, inside, settings)


def _levels(values: Map) -> NDArray[np.int32]:
    numbers = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(numbers.clip(0, 1) * np.float32(STEPS - 1)).astype(np.int32)


def _seeds(
    height: NDArray[np.int32], mask: NDArray[np.bool_], settings: WatershedSettings
) -> NDArray[np.int32]:
    """Number the maxima that stand out, as in Vincent's h-maxima (IEEE TIP 1993)."""
    step = max(1, round(settings.prominence * (STEPS - 1)))
    within = np.where(mask, height, 0)
    flooded = reconstruction(np.maximum(within - step, 0), within, method="dilation")
    # regional maxima of what is flooded; a maximum lower than the step is flooded away
    summit = reconstruction(np.maximum(flooded - 1, 0), flooded, method="dilation") < flooded
    seeds, _ = ndimage.label(summit & mask, np.ones((3, 3), int))
    highest = ndimage.maximum(within, seeds, np.arange(seeds.max() + 1))
    weak = np.asarray(highest) < settings.seed * (STEPS - 1)
    return np.where(weak[seeds], 0, seeds).astype(np.int32)


def _kept(
    parts: NDArray[np.int32], inside: NDArray[np.int32], settings: WatershedSettings
) -> NDArray[np.int32]:
    """Drop small and doubtful objects, and number the others by their first pixels."""
    count = int(parts.max()) + 1
    sizes = np.bincount(parts.ravel(), minlength=count)
    sums = np.bincount(parts.ravel(), inside.ravel(), minlength=count)
    good = (sizes >= settings.smallest) & (
        sums >= settings.confidence * (STEPS - 1) * np.maximum(sizes, 1)
    )
    good[0] = False
    found, first = np.unique(parts, return_index=True)
    ordered = found[np.argsort(first)]
    ordered = ordered[good[ordered]]
    table = np.zeros(count, np.int32)
    table[ordered] = np.arange(1, len(ordered) + 1)
    return table[parts]
