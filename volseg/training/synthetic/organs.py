"""Sections through a body: large smooth organs with weak edges, bright bone, dark air, as in CT and
MR.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from volseg.training.synthetic.blobs import scatter_blobs
from volseg.training.synthetic.fields import Floats, Labels, expose, packed_cells, smooth_noise


def organs(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image of a body on black: organs of nearly the same grey beside each other, small
    bright and dark ones within. See `cells.nuclei`.
    """
    spacing = spacing or (1.0,) * len(shape)
    side = min(shape[-2:])
    places = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape[-2:]]
    wave = 0.25 * smooth_noise(rng, shape, 0.4 * side)
    centre = rng.uniform(-0.3, 0.3, 2)
    extent = rng.uniform(0.7, 1.6, 2)
    outside = np.hypot((places[0][:, None] - centre[0]) / extent[0],
                       (places[1] - centre[1]) / extent[1]) + wave  # fmt: skip
    body = outside < 1
    cells = packed_cells(
        rng,
        shape,
        rng.uniform(0.12, 0.5) * side,
        spacing=spacing,
        bend=rng.uniform(0.15, 0.4),
        bend_scale=rng.uniform(0.4, 1.0),
        stretch=1.8,
    )
    small, _ = scatter_blobs(
        rng, shape, rng.uniform(0.03, 0.1) * side, int(rng.integers(3, 25)), spacing=spacing,
        elongation=2.0, roughness=0.2,
    )  # fmt: skip
    middle = rng.uniform(0.3, 0.6)
    contrast = rng.uniform(0.06, 0.25)
    grey = np.clip(middle + contrast * rng.standard_normal(cells.max() + 1), 0.08, 0.9)
    unmarked = rng.random(len(grey)) < rng.uniform(0.1, 0.5)  # fat and muscle between the organs
    grey[unmarked] = rng.uniform(0.1, 0.4)
    image = grey[cells]
    labels = np.where(unmarked[cells], 0, cells)
    special = np.concatenate([[0], rng.choice([0.0, 0.05, 0.9, 1.0, middle], small.max())])
    image = np.where(small > 0, special[small], image)
    labels = np.where(small > 0, small + cells.max(), labels)
    fat = (outside > rng.uniform(0.88, 0.97)) & body
    image = np.where(fat, rng.uniform(0.15, 0.7), image)
    labels = np.where(fat | ~body, 0, labels)
    image *= 1 + rng.uniform(0, 0.12) * smooth_noise(rng, shape, rng.uniform(6, 30))
    image = np.where(body, image, rng.choice([0.0, 0.02]))
    blur = rng.uniform(0.7, 3.0)
    image = ndimage.gaussian_filter(image, [blur / s for s in spacing])
    if rng.random() < 0.5:  # a coil's sensitivity
        image = image * np.clip(1 + 0.5 * smooth_noise(rng, shape, 0.9 * side), 0.2, 2)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.7)
    image = np.hypot(image + rng.uniform(0, 0.08) * grain, rng.uniform(0, 0.04) * grain)
    return expose(rng, image), labels.astype(np.int32)
