"""Filters that can stand before the model: denoising and local contrast, and edges and spots as
channels of their own.

Every filter works on single slices, looks no further than its halo, and gives the same values for
a part of a slice as for the whole, bit for bit. Which are used, and with which contrast, is told
by `rendering`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
SIGMA = 1.5  # voxels; of edges and spots
CLAHE_TILE = 64  # voxels; side of a contextual region, on a lattice fixed to the slice
CLAHE_BINS = 256
CLAHE_CLIP = 3.0  # times the mean count of a bin
CANNY_STEPS = 8  # voxels that a weak edge may be away from a strong one


@dataclass(frozen=True)
class Place:
    """Where a part lies in its slice: first voxel (y, x) and the whole slice's shape (y, x)."""

    origin: tuple[int, int]
    slice_shape: tuple[int, int]


@dataclass(frozen=True)
class Preprocessing:
    """One filter of the registry.

    Parameters
    ----------
    name : str
        How it is asked for.
    halo : int
        Voxels that it looks beyond the part that is wanted, along y and x.
    feature : bool
        Whether its result is a channel of its own beside the image instead of replacing it.
    apply : callable
        (slice float32 in 0..1, place) -> slice float32 in 0..1.
    """

    name: str
    halo: int
    feature: bool
    apply: Callable[[Plane, Place], Plane]


def _denoise(plane: Plane, _: Place) -> Plane:
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(plane, size=3, mode="mirror"), np.float32)


def _clahe(plane: Plane, place: Place) -> Plane:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994, Graphics Gems IV) on a
    fixed lattice.
    """
    (y0, x0), (height, width) = place.origin, plane.shape
    rows, columns = (
        _lattice(y0, height, place.slice_shape[0]),
        _lattice(x0, width, place.slice_shape[1]),
    )
    curves = np.stack(
        [np.stack([_curve(plane[a:b, c:d]) for c, d in columns.regions]) for a, b in rows.regions]
    )
    bins = np.minimum((plane * CLAHE_BINS).astype(np.intp), CLAHE_BINS - 1)
    (r0, r1, fr), (c0, c1, fc) = rows.neighbours(), columns.neighbours()
    fr, fc = fr[:, None], fc[None, :]
    r0, r1, c0, c1 = r0[:, None], r1[:, None], c0[None, :], c1[None, :]
    upper = curves[r0, c0, bins] * (1 - fc) + curves[r0, c1, bins] * fc
    lower = curves[r1, c0, bins] * (1 - fc) + curves[r1, c1, bins] * fc
    return np.asarray(upper * (1 - fr) + lower * fr, np.float32)


@dataclass(frozen=True)
class _Lattice:
    """The contextual regions along one axis that a part touches, as ranges within the part."""

    first: int  # the part's first voxel in the slice
    length: int
    numbers: tuple[int, int]  # first and last region in the slice's lattice
    regions: list[tuple[int, int]]

    def neighbours(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """For each voxel the two regions whose centres lie around it, and how far it is to the
        second, 0..1.
        """
        at = (self.first + np.arange(self.length) + 0.5) / CLAHE_TILE - 0.5
        low = np.floor(at)
        share = (at - low).astype(np.float32)
        first, last = self.numbers
        a = np.clip(low, first, last).astype(np.intp) - first
        b = np.clip(low + 1, first, last).astype(np.intp) - first
        return a, b, share


def _lattice(first: int, length: int, whole: int) -> _Lattice:
    last_number = max(0, whole // CLAHE_TILE - 1)  # a narrow rest joins the last one
    numbers = (
        min(first // CLAHE_TILE, last_number),
        min((first + length - 1) // CLAHE_TILE, last_number),
    )
    regions = []
    for number in range(numbers[0], numbers[1] + 1):
        end = whole if number == last_number else (number + 1) * CLAHE_TILE
        low, high = max(number * CLAHE_TILE - first, 0), min(end - first, length)
        regions.append((low, high))
    return _Lattice(first, length, numbers, regions)


def _curve(region: Plane) -> NDArray[np.float32]:
    """The equalising curve of one contextual region, (bins,) in 0..1."""
    bins = np.minimum((region * CLAHE_BINS).astype(np.intp), CLAHE_BINS - 1)
    counts = np.bincount(bins.ravel(), minlength=CLAHE_BINS).astype(np.float64)
    limit = max(1.0, CLAHE_CLIP * bins.size / CLAHE_BINS)
    excess = np.maximum(counts - limit, 0).sum()
    summed = np.cumsum(np.minimum(counts, limit) + excess / CLAHE_BINS)
    return np.asarray(summed / bins.size, np.float32)


def _gradient(plane: Plane) -> tuple[Plane, Plane]:
    from scipy.ndimage import sobel

    return sobel(plane, 0, mode="mirror") / 8, sobel(plane, 1, mode="mirror") / 8


def _sobel(plane: Plane, _: Place) -> Plane:
    dy, dx = _gradient(plane)
    return np.minimum(np.sqrt(dy * dy + dx * dx) * 4, np.float32(1))


def _spots(plane: Plane, _: Place) -> Plane:
    """Laplacian of Gaussian, 0.5 where flat, above in the middle of bright spots."""
    from scipy.ndimage import gaussian_laplace

    response = gaussian_laplace(plane, SIGMA, mode="mirror", truncate=4.0) * np.float32(-(SIGMA**2))
    return np.asarray(np.clip(0.5 + response, 0, 1), np.float32)


def _canny(plane: Plane, _: Place) -> Plane:
    """Canny's edges (Canny 1986), a weak edge counting within `CANNY_STEPS` of a strong one.

    The original lets weak edges reach any distance, and so would depend on what lies outside any
    halo.
    """
    from scipy.ndimage import binary_dilation, gaussian_filter

    smooth = np.asarray(gaussian_filter(plane, SIGMA, mode="mirror", truncate=4.0), np.float32)
    dy, dx = _gradient(smooth)
    strength = np.sqrt(dy * dy + dx * dx)
    thin = _is_ridge(strength, dy, dx)
    weak, strong = thin & (strength >= 0.02), thin & (strength >= 0.05)
    edges = binary_dilation(strong, np.ones((3, 3), bool), iterations=CANNY_STEPS, mask=weak)
    return edges.astype(np.float32)


def _is_ridge(strength: Plane, dy: Plane, dx: Plane) -> NDArray[np.bool_]:
    """Where the gradient is at least as strong as on both sides along its direction (to the
    nearest 45 degrees).
    """
    padded = np.pad(strength, 1)
    height, width = strength.shape

    def beside(step_y: int, step_x: int) -> Plane:
        return padded[1 + step_y : 1 + step_y + height, 1 + step_x : 1 + step_x + width]

    steep, flat = np.abs(dy) > 2.414 * np.abs(dx), np.abs(dx) > 2.414 * np.abs(dy)
    falling = (dy * dx >= 0) & ~steep & ~flat
    choices = [
        (steep, (1, 0)),
        (flat, (0, 1)),
        (falling, (1, 1)),
        (~(steep | flat | falling), (1, -1)),
    ]
    ridge = np.zeros(strength.shape, bool)
    for where, (y, x) in choices:
        ridge |= where & (strength >= beside(y, x)) & (strength > beside(-y, -x))
    return ridge


PREPROCESSING: Mapping[str, Preprocessing] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Preprocessing("denoise", 1, False, _denoise),
            Preprocessing("clahe", 3 * CLAHE_TILE, False, _clahe),
            Preprocessing("sobel", 1, True, _sobel),
            Preprocessing("canny", 8 + CANNY_STEPS, True, _canny),
            Preprocessing("log", 6, True, _spots),
        )
    }
)
