"""Objects within objects: cells with a nucleus and organelles, in clusters; fibres with a sheath.

Labels have three planes, (3, …): parts, wholes and groups, so that one click has several right
answers.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from volseg.training.synthetic.blobs import scatter_blobs, scatter_spots
from volseg.training.synthetic.fields import (
    Floats,
    Labels,
    edge_distance,
    expose,
    log_uniform,
    smooth_noise,
)


def nested_bodies(
    rng: Generator, shape: tuple[int, ...], radius: float, *, spacing: tuple[float, ...]
) -> tuple[Labels, Floats]:
    """Scatter cells with a nucleus each.

    Returns
    -------
    levels : ndarray of int32
        (3, …) nuclei with the number of their cell, cells, and clusters of cells that touch.
    depth : ndarray of float32
        As of ``scatter_blobs``.
    """
    cells, depth = scatter_blobs(
        rng,
        shape,
        radius,
        int(rng.integers(6, 60)),
        spacing=spacing,
        elongation=rng.uniform(1.1, 1.8),
        roughness=rng.uniform(0.05, 0.3),
        gap=rng.uniform(0.9, 1.4),
    )
    margin = edge_distance(cells, spacing) * (cells > 0)
    sizes = np.atleast_1d(ndimage.maximum(margin, cells, np.arange(cells.max() + 1)))
    part = rng.uniform(0.35, 0.7, len(sizes))  # how deep in its cell a nucleus begins
    rough = 1 + 0.12 * smooth_noise(rng, shape, max(2.0, 0.5 * radius))
    nuclei = np.where(margin * rough > (part * sizes)[cells], cells, 0)
    nuclei[sizes[cells] < 4] = 0
    clusters, _ = ndimage.label(cells > 0)
    return np.stack([nuclei, cells, clusters]).astype(np.int32), depth


def stained_cells(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image of stained cells whose nuclei and spots are brighter or darker.

    Returns
    -------
    image : ndarray of float32
        In 0..1.
    labels : ndarray of int32
        (3, …): nuclei and spots, cells, clusters.
    """
    levels, spot_depth = _cells_with_bodies(rng, shape, spacing)
    return expose(rng, _as_stained(rng, levels[0], levels[1], spot_depth < 1)), levels


def micrographs(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image like electron microscopy of whole cells: nuclei, dark bodies, membranes. See
    `stained_cells`.
    """
    levels, spot_depth = _cells_with_bodies(rng, shape, spacing)
    nuclei = np.where(spot_depth < 1, 0, levels[0])
    return expose(rng, _as_micrograph(rng, nuclei, levels[1], spot_depth, spacing)), levels


def _cells_with_bodies(
    rng: Generator, shape: tuple[int, ...], spacing: tuple[float, ...] | None
) -> tuple[Labels, NDArray[np.floating]]:
    """Make (3, …) levels, and how deep within a body of the cytoplasm each voxel lies: below 1
    inside.
    """
    spacing = spacing or (1.0,) * len(shape)
    side = min(shape[-2:])
    radius = log_uniform(rng, 0.07 * side, 0.25 * side)
    levels, depth = nested_bodies(rng, shape, radius, spacing=spacing)
    nuclei, cells, _ = levels
    spots, spot_depth = scatter_spots(
        rng,
        shape,
        max(1.5, radius * rng.uniform(0.06, 0.16)),
        crowding=rng.uniform(0.3, 0.7),
        spacing=spacing,
    )
    inside = (spots > 0) & (cells > 0) & (nuclei == 0) & (depth < 0.85)
    levels[0][inside] = spots[inside] + nuclei.max()
    return levels, np.where(inside, spot_depth, 9.0)


def _as_stained(
    rng: Generator, nuclei: Labels, cells: Labels, spots: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Light up cells, and their nuclei brighter or left dark."""
    bright = rng.uniform(0.25, 0.6, cells.max() + 1)
    bright[0] = rng.uniform(0.0, 0.1)
    image = bright[cells]
    image *= 1 + rng.uniform(0.05, 0.3) * smooth_noise(rng, cells.shape, rng.uniform(2, 8))
    image = np.where(nuclei > 0, image * rng.choice([0.3, 0.5, 1.6, 2.2]), image)
    image = np.where(spots, image * rng.choice([0.5, 1.5, 2.5]), image)
    return ndimage.gaussian_filter(image, rng.uniform(0.4, 1.6))


def _as_micrograph(
    rng: Generator,
    nuclei: Labels,
    cells: Labels,
    spot_depth: NDArray[np.floating],
    spacing: tuple[float, ...] | None,
) -> NDArray[np.floating]:
    """Draw grey cytoplasm, dark membranes, a double-edged nucleus with chromatin, dark bodies."""
    shape = cells.shape
    grey = rng.uniform(0.5, 0.75, cells.max() + 1)
    grey[0] = rng.uniform(0.7, 0.95)
    image = grey[cells] + 0.06 * smooth_noise(rng, shape, 2.5)
    body = rng.uniform(0.25, 0.5) + 0.08 * smooth_noise(rng, shape, 2.0)
    image = np.where(spot_depth < 1, body, image)
    chromatin = smooth_noise(rng, shape, rng.uniform(4, 12))
    within = rng.uniform(0.45, 0.7) - 0.12 * (chromatin > 0.5)
    image = np.where(nuclei > 0, within, image)
    for labels, width in ((nuclei, 1.0), (cells, rng.uniform(0.8, 1.6))):
        line = np.clip(width + 0.5 - edge_distance(labels, spacing), 0, 1)
        image = image * (1 - line) + rng.uniform(0.05, 0.25) * line
    return ndimage.gaussian_filter(image, rng.uniform(0.4, 0.9))


def fibres(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image of fibres cut across, each a core in a sheath, as axons in myelin.

    Returns
    -------
    image : ndarray of float32
        In 0..1.
    labels : ndarray of int32
        (3, …): nothing, cores, and cores with their sheaths.
    """
    spacing = spacing or (1.0,) * len(shape)
    side = min(shape[-2:])
    radius = log_uniform(rng, 5, 0.1 * side)
    count = int(np.clip(0.5 * np.prod(shape[-2:]) / radius**2, 10, 250))
    whole, depth = scatter_blobs(
        rng, shape, radius, count, spacing=spacing, elongation=1.4, roughness=0.12, gap=1.5
    )
    sheath = rng.uniform(0.25, 0.7, whole.max() + 1)
    core = np.where(depth < (1 - sheath)[whole], whole, 0)
    dark = rng.random() < 0.5
    around, ring, within = rng.uniform(0.4, 0.7), rng.uniform(0.0, 0.2), rng.uniform(0.5, 0.8)
    levels = np.array([around, ring, within])
    if not dark:
        levels = np.array([rng.uniform(0.05, 0.3), rng.uniform(0.6, 0.9), rng.uniform(0.05, 0.4)])
    image = levels[np.where(core > 0, 2, np.where(whole > 0, 1, 0))]
    image *= 1 + rng.uniform(0.05, 0.25) * smooth_noise(rng, shape, rng.uniform(2, 5))
    image = ndimage.gaussian_filter(image, rng.uniform(0.5, 1.3))
    return expose(rng, image), np.stack([np.zeros_like(core), core, whole]).astype(np.int32)
