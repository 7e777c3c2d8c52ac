"""A procedural 3D fluorescence volume with known truth, for the demonstration and for tests.

Cells as oblique ellipsoids, many of them touching, on a dim background, under uneven light, seen through an anisotropic
point spread function with shot and read noise. The same seed gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

VOXEL_SIZE_UM = (0.6, 0.25, 0.25)
"""Voxel size (z, y, x) of the synthetic volume in micrometres."""


@dataclass(frozen=True)
class SyntheticVolume:
    """A synthetic image and its truth.

    Attributes
    ----------
    image
        uint16, (z, y, x).
    truth
        uint32, (z, y, x); 0 is background, 1…n the objects.
    voxel_size_um
        (z, y, x) in micrometres.
    """

    image: NDArray[np.uint16]
    truth: NDArray[np.uint32]
    voxel_size_um: tuple[float, float, float]


def make_volume(
    shape: tuple[int, int, int] = (40, 320, 320), clusters: int = 17, seed: int = 7
) -> SyntheticVolume:
    """Make a volume of clustered, touching cells.

    Parameters
    ----------
    shape
        (z, y, x) in voxels.
    clusters
        How many clusters of two to four touching cells are tried; places without room are left out.
    seed
        Of the random generator.
    """
    rng = np.random.default_rng(seed)
    truth = _place_clusters(shape, clusters, rng)
    return SyntheticVolume(_image_of(truth, rng), truth, VOXEL_SIZE_UM)


def _place_clusters(
    shape: tuple[int, int, int], clusters: int, rng: np.random.Generator
) -> NDArray[np.uint32]:
    truth = np.zeros(shape, np.uint32)
    size_um = np.array(shape) * VOXEL_SIZE_UM
    next_id = 1
    for _ in range(clusters * 40):
        if clusters == 0:
            break
        centre_um = rng.uniform([2.5, 7, 7], size_um - [2.5, 7, 7])
        cells = _cluster(centre_um, rng)
        masks = [_ellipsoid(shape, *cell) for cell in cells]
        together = np.logical_or.reduce(masks)
        if (ndimage.binary_dilation(together, iterations=3) & (truth > 0)).any():
            continue
        for cell, mask in zip(cells, masks, strict=True):
            free = mask & (truth == 0)
            # what is missing lies under a neighbour, which it touches, or outside of the volume
            if free.sum() > 0.6 * _voxels(cell):
                truth[free] = next_id
                next_id += 1
        clusters -= 1
    return truth


_Cell = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _cluster(centre_um: NDArray[np.float64], rng: np.random.Generator) -> list[_Cell]:
    """Two to four cells around a centre, each touching the one before: (centre, radii, shear per z) in micrometres."""
    cells: list[_Cell] = []
    place = centre_um
    angle = rng.uniform(0, 2 * np.pi)
    for _ in range(int(rng.integers(2, 5))):
        radii = np.array([rng.uniform(2.4, 5.0), rng.uniform(2.2, 4.6), rng.uniform(2.2, 4.6)])
        shear = rng.uniform(-0.7, 0.7, 2)  # lateral movement per micrometre of z: oblique cells
        cells.append((place.copy(), radii, shear))
        angle += rng.uniform(-0.9, 0.9)
        step = radii[1:].mean() + rng.uniform(2.0, 3.6)
        offset = [rng.uniform(-1.2, 1.2), step * np.sin(angle), step * np.cos(angle)]
        place = place + np.array(offset)
    return cells


def _voxels(cell: _Cell) -> float:
    """Volume of the whole ellipsoid in voxels (shearing keeps it)."""
    return float(4 / 3 * np.pi * np.prod(cell[1]) / np.prod(VOXEL_SIZE_UM))


def _ellipsoid(
    shape: tuple[int, int, int],
    centre_um: NDArray[np.float64],
    radii_um: NDArray[np.float64],
    shear: NDArray[np.float64],
) -> NDArray[np.bool_]:
    z, y, x = (
        np.arange(n) * size - c for n, size, c in zip(shape, VOXEL_SIZE_UM, centre_um, strict=True)
    )
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    dy, dx = y - shear[0] * z, x - shear[1] * z
    rz, ry, rx = radii_um
    return (z / rz) ** 2 + (dy / ry) ** 2 + (dx / rx) ** 2 <= 1.0


def _image_of(truth: NDArray[np.uint32], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Photons of the truth: brightness per cell, darker rim, texture, uneven light, point spread, noise."""
    brightness = rng.uniform(0.45, 1.0, int(truth.max()) + 1)
    brightness[0] = 0.0
    signal = brightness[truth]
    signal *= _rim_darkening(truth)
    signal *= 1 + 0.25 * _smooth_noise(truth.shape, (1.0, 2.5, 2.5), rng)
    signal += 0.07 + 0.03 * _smooth_noise(truth.shape, (4, 25, 25), rng)
    signal = ndimage.gaussian_filter(signal, (0.7, 0.9, 0.9))
    photons = 260 * signal * _uneven_light(truth.shape)
    counts = rng.poisson(np.clip(photons, 0, None)) + rng.normal(100, 6, truth.shape)
    return np.clip(counts, 0, 65535).astype(np.uint16)


def _rim_darkening(truth: NDArray[np.uint32]) -> NDArray[np.float64]:
    """1 inside a cell, less towards its border, so that touching cells show a seam."""
    inside = np.ones(truth.shape)
    for axis in (1, 2):
        for step in (1, -1):
            other = np.roll(truth, step, axis)
            inside[(truth != other) & (truth > 0) & (other > 0)] = 0.25
    return ndimage.gaussian_filter(inside, (0, 0.8, 0.8))


def _smooth_noise(
    shape: tuple[int, ...], sigma: tuple[float, float, float], rng: np.random.Generator
) -> NDArray[np.float64]:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return noise / noise.std()


def _uneven_light(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Brightest off the centre, a third of it in the far corner, fading with depth."""
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    return (0.35 + 0.65 * np.exp(-((y - 0.4) ** 2 + (x - 0.35) ** 2) / 0.3)) * (1 - 0.3 * z)
