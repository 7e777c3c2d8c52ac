"""Dense tissue of thin-walled cells at several scales, as in plants: bright walls on dark lumens, or
the other way round.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy import ndimage

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


def walls(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image of thin-walled tissue: small cells beside large ones, walls of uneven thickness
    and stain, some lumens filled. See `cells.nuclei`.
    """
    spacing = spacing or (1.0,) * len(shape)
    size = log_uniform(rng, 10, 55)
    reach = rng.uniform(2.0, 5.0)
    labels = packed_cells(
        rng,
        shape,
        size,
        spacing=spacing,
        jitter=rng.uniform(0.5, 1.0),
        bend=rng.uniform(0.05, 0.3) * reach,
        bend_scale=reach,  # far larger than a cell: sizes vary over the picture
        stretch=1.5,
    )
    labels = merge_some(rng, labels, rng.uniform(0, 0.12))  # vessels
    margin = edge_distance(labels, spacing)
    local = 1 + 0.4 * smooth_noise(rng, shape, 2.5 * size / max(spacing))
    thickness = rng.uniform(0.5, max(0.8, min(0.09 * size, 3.0))) * np.clip(local, 0.3, 2)
    wall = np.clip(thickness + 1 - margin, 0, 1)
    lumen = np.full(labels.max() + 1, rng.uniform(0, 0.15), np.float32)
    filled = rng.random(len(lumen)) < rng.uniform(0, 0.3)
    lumen[filled] = rng.uniform(0.1, 0.5, filled.sum())
    stain = np.clip(rng.uniform(0.5, 0.9) + 0.35 * smooth_noise(rng, shape, 3 * size), 0.15, 1)
    image = lumen[labels] * (1 + 0.3 * smooth_noise(rng, shape, max(2.0, 0.3 * size)))
    image = image * (1 - wall) + stain * wall
    if rng.random() < 0.3:  # light from walls above and below the plane
        image = image + rng.uniform(0.1, 0.4) * ndimage.gaussian_filter(wall, 0.1 * size)
    image = ndimage.gaussian_filter(image, rng.uniform(0.3, 1.2))
    if rng.random() < 0.35:
        image = image.max() - image
    return expose(rng, image), labels
