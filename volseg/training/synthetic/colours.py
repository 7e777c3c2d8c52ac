"""Pictures in colours: several fluorescent channels, and tissue stained with haematoxylin and eosin.

Two dimensions; images are (y, x, 3), labels (3, y, x): parts, wholes and groups.
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
    packed_cells,
    smooth_noise,
)
from volseg.training.synthetic.nested import nested_bodies

HAEMATOXYLIN = (0.65, 0.70, 0.29)
EOSIN = (0.07, 0.99, 0.11)
"""Optical densities of red, green and blue, after Ruifrok and Johnston 2001 (doi:10.1097/
00129039-200303000-00014)."""


def channels(rng: Generator, shape: tuple[int, ...]) -> tuple[Floats, Labels]:
    """Make an image of cells whose nuclei, bodies and borders are stained in channels of their own,
    shown in random colours.
    """
    if rng.random() < 0.5:
        side = min(shape)
        radius = log_uniform(rng, 0.05 * side, 0.16 * side)
        levels, _ = nested_bodies(rng, shape, radius, spacing=(1.0, 1.0))
    else:
        levels = _dense(rng, shape)
    nuclei, cells, _ = levels
    border = np.clip(rng.uniform(1, 3) - edge_distance(cells), 0, 1) * (cells > 0)
    spots, _ = scatter_spots(rng, shape, rng.uniform(1.2, 3), crowding=rng.uniform(0.1, 0.4))
    stains = [
        _lit(rng, nuclei),
        _lit(rng, cells) * rng.uniform(0.3, 0.9),
        border,
        (spots > 0) * (cells > 0) * rng.uniform(0.5, 1.0),
    ]
    image = np.zeros((*shape, 3), np.float32)
    shown = rng.permutation(4)[: int(rng.integers(2, 4))]
    hues = rng.permutation(3)
    for hue, number in zip(hues, [0, *shown[shown > 0]], strict=False):
        stain = stains[number] * (1 + 0.25 * smooth_noise(rng, shape, rng.uniform(3, 12)))
        stain = expose(rng, ndimage.gaussian_filter(stain, rng.uniform(0.4, 1.8)))
        colour = np.full(3, rng.choice([0.0, 0.0, 0.3]), np.float32)
        colour[hue] = 1
        image += stain[..., None] * colour * np.float32(rng.uniform(0.5, 1.0))
    return np.clip(image, 0, 1), levels


def _dense(rng: Generator, shape: tuple[int, ...]) -> Labels:
    """Fill the plane with cells, a nucleus in most: (3, y, x) levels."""
    size = log_uniform(rng, 14, 50)
    cells = packed_cells(rng, shape, size, jitter=0.9, bend=0.12, bend_scale=0.9, stretch=1.4)
    depth = edge_distance(cells)
    deepest = np.atleast_1d(ndimage.maximum(depth, cells, np.arange(cells.max() + 1)))
    part = rng.uniform(0.3, 0.6, len(deepest))
    nuclei = np.where(depth > (part * deepest)[cells], cells, 0)
    nuclei[deepest[cells] < 4] = 0
    return np.stack([nuclei, cells, np.zeros_like(cells)]).astype(np.int32)


def _lit(rng: Generator, labels: Labels) -> NDArray[np.float32]:
    """Give every object a brightness of its own."""
    bright = rng.uniform(0.4, 1.0, labels.max() + 1).astype(np.float32)
    bright[0] = rng.uniform(0, 0.08)
    return bright[labels]


def stained_tissue(rng: Generator, shape: tuple[int, ...]) -> tuple[Floats, Labels]:
    """Make an image of stained tissue: glands around white lumens in fibrous stroma, nuclei in
    rows along their walls and scattered between them.

    Returns
    -------
    image : ndarray of float32
        (y, x, 3) in 0..1.
    labels : ndarray of int32
        (3, y, x): lumens, glands, and nothing; or nothing, nuclei and nothing, where the picture
        shows nuclei large.
    """
    side = min(shape)
    close = rng.random() < 0.35
    radius = (rng.uniform(0.25, 0.5) if close else rng.uniform(0.08, 0.3)) * side
    glands, depth = scatter_blobs(
        rng, shape, radius, int(rng.integers(2, 30)), elongation=1.5,
        roughness=rng.uniform(0.1, 0.35), gap=1.7,
    )  # fmt: skip
    wall = rng.uniform(0.25, 0.6)
    folded = 1 + rng.uniform(0.05, 0.35) * smooth_noise(rng, shape, max(4.0, 0.2 * radius))
    hollow = rng.random(glands.max() + 1) < 0.85
    lumens = np.where((depth * folded < 1 - wall) & hollow[glands], glands, 0)
    tiny = rng.uniform(5, 11) if close else rng.uniform(1.8, 4.5)
    nuclei, _ = scatter_spots(rng, shape, tiny, crowding=rng.uniform(0.75, 1.0))
    epithelium = (glands > 0) & (lumens == 0)
    sparse = rng.random(nuclei.max() + 1) < rng.uniform(0.1, 0.4)
    nuclei = np.where(epithelium | ((glands == 0) & sparse[nuclei]), nuclei, 0)
    blue = 0.08 + 0.35 * epithelium * rng.uniform(0.3, 1.0)
    stroma = 1 + 0.5 * _fibrous(rng, shape)
    pink = np.where(epithelium, rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.7) * stroma)
    chromatin = 1 + 0.3 * smooth_noise(rng, shape, 2.0)
    blue = np.where(nuclei > 0, rng.uniform(0.7, 1.3) * chromatin, blue)
    empty = lumens > 0
    tears = (smooth_noise(rng, shape, 0.15 * side) > rng.uniform(0.9, 1.6)) & (glands == 0)
    blue, pink = (np.where(empty | tears, 0.02, one) for one in (blue, pink))
    blur = rng.uniform(0.5, 1.2)
    density = sum(
        ndimage.gaussian_filter(amount, blur)[..., None]
        * np.clip(np.asarray(vector) + rng.normal(0, 0.06, 3), 0, 1)
        for amount, vector in ((blue, HAEMATOXYLIN), (pink, EOSIN))
    )
    image = rng.uniform(0.9, 1.0) * np.exp(-rng.uniform(0.8, 1.5) * np.asarray(density))
    image += rng.choice([0.01, 0.03]) * rng.standard_normal((*shape, 3), dtype=np.float32)
    nothing = np.zeros_like(glands)
    levels = [nothing, nuclei, nothing] if close else [lumens, glands, nothing]
    return np.clip(image, 0, 1).astype(np.float32), np.stack(levels).astype(np.int32)


def _fibrous(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """Make wavy stripes as of collagen, about within -1..1."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    turn = rng.uniform(0, np.pi) + 0.6 * smooth_noise(rng, shape, 0.5 * min(shape))
    across = np.cos(turn) * x + np.sin(turn) * y + 4 * smooth_noise(rng, shape, 12.0)
    waves = np.sin(across / rng.uniform(1.0, 3.0)) + np.sin(across / rng.uniform(4.0, 9.0))
    return (0.4 * waves + 0.4 * smooth_noise(rng, shape, 3.0)).astype(np.float32)
