"""Tubes: vessels, fibres and ducts that wind through the picture, filled or hollow with a wall."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from volseg.training.synthetic.fields import Floats, Labels, expose, log_uniform, smooth_noise


def tubes(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image of winding tubes that pass over each other.

    Returns
    -------
    image : ndarray of float32
        In 0..1.
    labels : ndarray of int32
        (3, …): lumens, tubes with their walls, and all tubes that touch.
    """
    spacing = spacing or (1.0,) * len(shape)
    side = min(shape[-2:])
    radius = log_uniform(rng, 2.5, 0.08 * side)
    whole = np.zeros(shape, np.int32)
    inner = np.zeros(shape, np.int32)
    hollow = rng.random() < 0.5
    wall = rng.uniform(0.2, 0.5)
    for number in range(1, int(rng.integers(2, 14)) + 1):
        width = radius * rng.uniform(0.6, 1.6)
        distance = _to_path(rng, shape, spacing, width)
        whole[distance < width] = number
        inner[distance < width] = 0
        if hollow:
            inner[distance < (1 - wall) * width] = number
    around = rng.uniform(0.05, 0.6)
    tone = np.clip(around + rng.choice([-1, 1]) * rng.uniform(0.2, 0.5, whole.max() + 1), 0, 1)
    tone[0] = around
    image = tone[whole]
    image = np.where(inner > 0, rng.uniform(0, 1), image)
    image *= 1 + rng.uniform(0, 0.25) * smooth_noise(rng, shape, rng.uniform(2, 12))
    image += rng.uniform(0, 0.15) * smooth_noise(rng, shape, 0.3 * side)
    image = ndimage.gaussian_filter(image, rng.uniform(0.5, 1.8))
    touching, _ = ndimage.label(whole > 0)
    return expose(rng, image), np.stack([inner, whole, touching]).astype(np.int32)


def _to_path(
    rng: Generator, shape: tuple[int, ...], spacing: tuple[float, ...], width: float
) -> Floats:
    """Return each voxel's distance to a smooth random path through the volume, in units of
    ``spacing``; only near the path, infinite elsewhere.
    """
    dimensions = len(shape)
    scale = np.asarray(spacing)
    extent = np.asarray(shape) * scale
    place = rng.uniform(-0.1, 1.1, dimensions) * extent
    heading = rng.standard_normal(dimensions)
    heading /= np.linalg.norm(heading)
    step = max(1.0, 0.6 * width)
    path = np.zeros(shape, bool)
    turning = rng.uniform(0.05, 0.35)
    for _ in range(int(rng.uniform(0.3, 1.3) * extent.max() / step)):
        at = np.rint(place / scale).astype(int)
        if np.all((at >= 0) & (at < shape)):
            path[tuple(at)] = True
        heading = heading + turning * rng.standard_normal(dimensions)
        heading /= np.linalg.norm(heading)
        place = place + step * heading
    if not path.any():
        return np.full(shape, np.inf, np.float32)
    where = [np.flatnonzero(path.any(tuple(o for o in range(dimensions) if o != a))) for a in
             range(dimensions)]  # fmt: skip
    reach = np.ceil((width + step) / scale).astype(int)
    window = tuple(
        slice(max(int(one[0]) - r, 0), int(one[-1]) + r + 1)
        for one, r in zip(where, reach, strict=True)
    )
    found = np.full(shape, np.inf, np.float32)
    near = ndimage.distance_transform_edt(~path[window], sampling=spacing)
    found[window] = ndimage.gaussian_filter(near, step / 3)
    return found
