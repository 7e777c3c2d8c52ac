"""Procedural stained nuclei, electron micrographs and soft tissue, with known truth.

The same code makes slices and volumes; every result depends on the given random generator alone.
"""

from __future__ import annotations

from typing import Any

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
    merge_some,
    packed_cells,
    smooth_noise,
)


def nuclei(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image of stained nuclei or cells: bright on a dark, uneven background.

    Parameters
    ----------
    rng : Generator
        Source of randomness: sizes, crowding, texture, blur, light and noise all vary.
    shape : tuple of int
        (y, x) or (z, y, x) in voxels.
    spacing : tuple of float, optional
        Size of a voxel along each axis relative to the finest; 1 by default.

    Returns
    -------
    image : ndarray of float32
        In 0..1.
    labels : ndarray of int32
        One id for each object, 0 for background.
    """
    spacing = spacing or (1.0,) * len(shape)
    side = min(n * s for n, s in zip(shape[-2:], spacing[-2:], strict=True))
    radius = log_uniform(rng, 4.5, 0.3 * side)
    cells = float(np.prod([n * s for n, s in zip(shape, spacing, strict=True)]))
    packed = cells / (radius ** len(shape) * (3.1 if len(shape) == 2 else 4.2))
    count = int(np.clip(packed * np.exp(rng.uniform(np.log(0.1), np.log(1.5))), 2, 350))
    labels, depth = scatter_blobs(
        rng,
        shape,
        radius,
        count,
        spacing=spacing,
        elongation=rng.uniform(1.05, 1.9),
        roughness=rng.uniform(0, 0.25),
        gap=rng.uniform(0.9, 1.6),
    )
    brightness = rng.uniform(rng.uniform(0.25, 0.9), 1.0, labels.max() + 1).astype(np.float32)
    brightness[0] = 0
    image = brightness[labels]
    image *= 1 + rng.uniform(0, 0.35) * smooth_noise(rng, shape, max(2.0, radius * 0.3))
    profile = rng.random()
    if profile < 0.25:  # a stained rim
        image *= np.where(depth > 0.75, 1.0, rng.uniform(0.1, 0.7)).astype(np.float32)
    elif profile < 0.5:  # fading towards the outline
        image *= 1 - rng.uniform(0.1, 0.6) * np.clip(depth, 0, 1)
    if rng.random() < 0.4:  # nucleoli, spots
        spots, _ = scatter_spots(rng, shape, max(1.5, radius * 0.2), crowding=0.6, spacing=spacing)
        image = np.where((spots > 0) & (labels > 0), image * rng.uniform(0.3, 1.5), image)
    if rng.random() < 0.4:  # out of focus
        haze, _ = scatter_blobs(rng, shape, radius, max(2, count // 2), spacing=spacing)
        blurred = ndimage.gaussian_filter((haze > 0).astype(np.float32), 0.5 * radius)
        image += rng.uniform(0.1, 0.5) * blurred
    blur = rng.uniform(0, min(0.18 * radius, 4.0))
    image = ndimage.gaussian_filter(image, [blur / s for s in spacing])
    background = rng.uniform(0.02, 0.25)
    uneven = smooth_noise(rng, shape, rng.uniform(0.25, 0.8) * max(shape))
    image = image * rng.uniform(0.3, 1.0) + background * (1 + rng.uniform(0, 0.8) * uneven)
    image = image * (1 + rng.uniform(0, 0.3) * smooth_noise(rng, shape, 0.7 * max(shape)))
    return expose(rng, image), labels


def membranes(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image like electron microscopy: cells of any form, dark membranes, organelles. See
    `nuclei`.
    """
    spacing = spacing or (1.0,) * len(shape)
    size = log_uniform(rng, 12, 60)
    labels = packed_cells(
        rng, shape, size, spacing=spacing, bend=rng.uniform(0.1, 0.5), stretch=2.0
    )
    labels = merge_some(rng, labels, rng.uniform(0.2, 0.6))
    margin = np.minimum(edge_distance(labels, spacing), size)
    count = int(labels.max())
    base = rng.uniform(rng.uniform(0.45, 0.7), 0.9, count + 1)
    base[rng.random(count + 1) < rng.uniform(0, 0.25)] *= rng.uniform(0.3, 0.7)
    image: NDArray[np.floating[Any]] = base.astype(np.float32)[labels]
    radius = max(2.0, size * rng.uniform(0.1, 0.25))
    bodies, depth = scatter_spots(
        rng, shape, radius, crowding=rng.uniform(0.3, 0.8), spacing=spacing
    )
    within = (bodies > 0) & (margin > 1.5)
    image = np.where(within, image * np.float32(rng.uniform(0.3, 0.9)), image)
    rim = (np.abs(depth - 0.9) < 0.2) & (margin > 1.5)
    image = np.where(rim & (rng.random() < 0.6), image * 0.4, image)
    image *= 1 + rng.uniform(0, 0.2) * smooth_noise(rng, shape, rng.uniform(2, 5))
    width = rng.uniform(0.6, 2.2)
    wall = np.clip(margin - width, 0, 1)
    image = image * wall + (1 - wall) * rng.uniform(0.02, 0.3)
    image = ndimage.gaussian_filter(image, rng.uniform(0.3, 1.0))
    return expose(rng, image), labels


def tissue(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image like MR or CT: a few smooth regions of different grey values that blend softly.
    See `nuclei`.
    """
    side = min(shape[-2:])
    labels, depth = scatter_blobs(
        rng, shape, rng.uniform(0.06, 0.3) * side, int(rng.integers(3, 40)), spacing=spacing,
        roughness=0.25,
    )  # fmt: skip
    levels = rng.uniform(0.0, 1.0, labels.max() + 1).astype(np.float32)
    near = np.abs(levels - levels[0]) < 0.15
    levels[near] = (levels[0] + rng.choice([-0.3, 0.3])) % 1.0
    levels[0] = levels[0] if labels.max() else 0.2
    flat = levels[labels] + rng.uniform(0, 0.15) * smooth_noise(rng, shape, 12.0)
    texture = smooth_noise(rng, shape, rng.uniform(3, 9))
    flat += rng.uniform(0, 0.15) * texture * (depth > 1)
    return expose(rng, ndimage.gaussian_filter(flat, rng.uniform(0.5, 2.5))), labels
