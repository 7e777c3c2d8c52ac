"""Phase contrast: cells and bacteria as grey or dark bodies with halos on an uneven grey
background.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from volseg.training.synthetic.blobs import scatter_blobs, scatter_spots
from volseg.training.synthetic.fields import Floats, Labels, expose, log_uniform, smooth_noise


def phase_cells(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image of spread, angular cells that are hardly darker than what surrounds them. See
    `cells.nuclei`.
    """
    spacing = spacing or (1.0,) * len(shape)
    side = min(shape[-2:])
    radius = log_uniform(rng, 9, 0.16 * side)
    labels, depth = scatter_blobs(
        rng,
        shape,
        radius,
        int(rng.integers(4, 40)),
        spacing=spacing,
        elongation=rng.uniform(1.6, 3.0),
        roughness=rng.uniform(0.25, 0.5),  # bays and tips
        gap=1.2,
    )
    inside = labels > 0
    profile = np.clip(1.15 - depth, 0, 1) ** rng.uniform(0.5, 1.2)  # thickest in the middle
    flat = inside * rng.uniform(0.1, 0.5)
    tall = rng.random(labels.max() + 1) < rng.uniform(0, 0.25)  # rounded up: bright all through
    tall[0] = False
    bodies = (profile * rng.uniform(0.3, 1.0) + flat) * inside
    image = _optics(rng, bodies, radius)
    texture = smooth_noise(rng, shape, rng.uniform(2, 5))
    image += inside * rng.uniform(0.03, 0.12) * texture
    grains, _ = scatter_spots(
        rng, shape, max(1.2, 0.08 * radius), crowding=rng.uniform(0.2, 0.5), spacing=spacing
    )
    tones = rng.choice([-0.25, -0.15, 0.15, 0.3], grains.max() + 1)
    image += np.where(inside & (grains > 0), tones[grains], 0)
    image = np.where(tall[labels] & (depth < 0.8), image + rng.uniform(0.3, 0.6), image)
    image += rng.uniform(0, 0.08) * smooth_noise(rng, shape, 0.4 * side)
    image = ndimage.gaussian_filter(image, rng.uniform(0.4, 1.0))
    return expose(rng, image), labels


def phase_rods(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image of a colony of rods, dark with a bright halo around all of them. Two
    dimensions. See `cells.nuclei`.
    """
    side = min(shape[-2:])
    width = log_uniform(rng, 5, 0.055 * side)
    labels = np.zeros(shape, np.int32)
    depth = np.full(shape, 9.0, np.float32)
    middle = np.asarray(shape) * rng.uniform(0.3, 0.7, 2)
    heading = rng.uniform(0, np.pi)
    spread = rng.uniform(1, 4) * width
    number = 0
    for tried in range(int(rng.integers(10, 120))):
        length = width * rng.uniform(2.0, 5.0)
        # a colony grows outwards, so that the next one finds room beside the last
        centre = middle + rng.normal(0, 1, 2) * spread * (1 + 0.08 * tried)
        reach = int(0.5 * length + 2 * width) + 2
        low = np.clip(centre.astype(int) - reach, 0, shape)
        high = np.clip(centre.astype(int) + reach, 0, shape)
        if np.any(high - low < 2):
            continue
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        y, x = np.mgrid[window].astype(np.float32)
        along, across = _axes(heading + rng.normal(0, 0.3), y - centre[0], x - centre[1])
        over = np.maximum(np.abs(along + 0.02 * across**2 / width) - length / 2, 0)
        distance = np.hypot(over, across) / (0.5 * width)
        if (labels[window][distance < 1.1] > 0).any() or (distance < 1).sum() < 30:
            continue
        number += 1
        labels[window][distance < 1] = number
        depth[window] = np.minimum(depth[window], distance)
    image = _optics(rng, np.clip(1.3 - depth, 0, 1) ** 0.5 * rng.uniform(1.0, 2.0), 1.5 * width)
    image += rng.uniform(0, 0.05) * smooth_noise(rng, shape, rng.uniform(5, 20))
    return expose(rng, ndimage.gaussian_filter(image, rng.uniform(0.6, 1.6))), labels


def _axes(
    turn: float, y: NDArray[np.float32], x: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return cos * x + sin * y, cos * y - sin * x


def _optics(rng: Generator, thickness: NDArray[np.floating], radius: float) -> NDArray[np.floating]:
    """Turn thickness into phase contrast: what is thick is dark, minus its own blur, which is the
    halo and the shade-off; light falls off over the picture.
    """
    reach = radius * rng.uniform(0.3, 1.0)
    halo = ndimage.gaussian_filter(thickness, reach)
    fringe = ndimage.gaussian_filter(thickness, 1.5) - ndimage.gaussian_filter(thickness, 3.5)
    image = rng.uniform(0.4, 0.55) - rng.uniform(0.25, 0.5) * thickness
    image += rng.uniform(0.25, 0.6) * halo - rng.uniform(0, 0.8) * fringe
    slope = rng.uniform(-0.15, 0.15, thickness.ndim)
    for axis, size in enumerate(thickness.shape):
        ramp = np.linspace(-0.5, 0.5, size)
        image = image + slope[axis] * ramp.reshape(
            [-1 if i == axis else 1 for i in range(thickness.ndim)]
        )
    return image
