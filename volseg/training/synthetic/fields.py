"""What procedural pictures are made of: smooth fields, cells that fill the plane, exposure.

Everything works in two or three dimensions, and depends on the given random generator alone.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]


def smooth_noise(rng: Generator, shape: tuple[int, ...], scale: float) -> Floats:
    """Make a smooth random field.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    shape : tuple of int
        Shape of the result in voxels.
    scale : float
        Length over which the field varies, in voxels.

    Returns
    -------
    ndarray of float32
        Of the given shape, mean about 0, deviation below 1.
    """
    coarse_shape = [int(np.ceil(n / scale)) + 2 for n in shape]
    field = rng.standard_normal(coarse_shape).astype(np.float32)
    for axis, (size, coarse) in enumerate(zip(shape, coarse_shape, strict=True)):
        start = rng.uniform(0, 1)
        at = start + np.arange(size, dtype=np.float32) / scale
        below = np.minimum(at.astype(np.intp), coarse - 2)
        part = (at - below).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        low, high = np.take(field, below, axis), np.take(field, below + 1, axis)
        field = low + (high - low) * part.astype(np.float32)
    return field


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """Draw evenly over the orders of magnitude between two positive numbers; ``low`` where it is not
    below ``high``, as in pictures too small for larger objects.
    """
    return float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))


def rotation(rng: Generator, dimensions: int) -> NDArray[np.float64]:
    """Make a random orthogonal matrix (dimensions, dimensions)."""
    if dimensions == 2:
        turn = rng.uniform(0, 2 * np.pi)
        cos, sin = np.cos(turn), np.sin(turn)
        return np.array([[cos, -sin], [sin, cos]])
    matrix, _ = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))
    return matrix


def packed_cells(
    rng: Generator,
    shape: tuple[int, ...],
    size: float,
    *,
    spacing: tuple[float, ...] | None = None,
    jitter: float = 1.0,
    bend: float = 0.3,
    bend_scale: float = 0.6,
    stretch: float = 1.0,
) -> Labels:
    """Fill space with cells without gaps: Voronoi regions of seeds on a jittered grid, turned,
    stretched and bent.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    shape : tuple of int
        Voxels along each axis.
    size : float
        Typical extent of a cell, in units of ``spacing``.
    spacing : tuple of float, optional
        Size of a voxel along each axis; 1 by default.
    jitter : float
        How far seeds stray from their grid, relative to ``size``; 0.3 is regular, 1 random.
    bend : float
        How far walls are bent, relative to ``size``.
    bend_scale : float
        Over which length they bend, relative to ``size``. Well above 1 the cells' sizes vary from
        place to place, below 1 their walls undulate.
    stretch : float
        The largest ratio of a cell's axes.

    Returns
    -------
    ndarray of int32
        1, 2, ... everywhere; not every number need occur.
    """
    spacing = spacing or (1.0,) * len(shape)
    dimensions = len(shape)
    axes = rng.uniform(1 / stretch, 1.0, dimensions)
    matrix = axes[:, None] * rotation(rng, dimensions)
    places = [np.arange(n, dtype=np.float32) * s for n, s in zip(shape, spacing, strict=True)]
    grids = np.meshgrid(*places, indexing="ij", sparse=True)
    warped = []
    for row in matrix:
        turned = sum(float(part) * grid for part, grid in zip(row, grids, strict=True))
        wave = smooth_noise(rng, shape, max(2.0, bend_scale * size / max(spacing)))
        warped.append(turned + bend * size * wave)
    low = [float(one.min()) - size for one in warped]
    canvas = tuple(int(one.max() - at + size) + 2 for one, at in zip(warped, low, strict=True))
    step = size * float(np.prod(axes)) ** (1 / dimensions)
    lattice = np.meshgrid(*[np.arange(0, n, step) for n in canvas], indexing="ij")
    seeds = np.stack([one.ravel() for one in lattice], -1) + rng.uniform(
        -0.5, 0.5, (lattice[0].size, dimensions)
    ) * (jitter * step)
    numbers = np.zeros(canvas, np.int32)
    inside = np.clip(np.rint(seeds), 0, np.asarray(canvas) - 1).astype(int)
    numbers[tuple(inside.T)] = 1 + np.arange(len(seeds))
    nearest = ndimage.distance_transform_edt(
        numbers == 0, return_distances=False, return_indices=True
    )
    at = tuple((one - start).astype(np.intp) for one, start in zip(warped, low, strict=True))
    found: Labels = numbers[tuple(axis[at] for axis in nearest)]
    return found


def merge_some(rng: Generator, labels: Labels, part: float) -> Labels:
    """Join that part of the cells with a neighbour, so that some are large and bent."""
    table = np.arange(labels.max() + 1, dtype=np.int32)
    first, second = labels[:-1].ravel(), labels[1:].ravel()
    touching = np.flatnonzero(first != second)
    if not len(touching):
        return labels
    present = len(np.unique(labels))
    for place in rng.choice(touching, max(1, round(part * present)) if part > 0 else 0):
        table[table == table[first[place]]] = table[second[place]]
    return table[labels]


def edge_distance(labels: Labels, spacing: tuple[float, ...] | None = None) -> Floats:
    """Return each voxel's distance to the nearest voxel of another number, in units of
    ``spacing``.
    """
    edge = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        front = [slice(None)] * labels.ndim
        back = [slice(None)] * labels.ndim
        front[axis], back[axis] = slice(1, None), slice(None, -1)
        differs = labels[tuple(front)] != labels[tuple(back)]
        edge[tuple(front)] |= differs
        edge[tuple(back)] |= differs
    if not edge.any():
        return np.full(labels.shape, float(max(labels.shape)), np.float32)
    return ndimage.distance_transform_edt(~edge, sampling=spacing).astype(np.float32)


def expose(rng: Generator, image: NDArray[np.floating]) -> Floats:
    """Add shot and read noise and bring the values into 0..1."""
    image = np.clip(image, 0, None).astype(np.float32)
    image /= max(float(image.max()), 1e-6)
    if rng.random() < 0.5:
        photons = np.float32(np.exp(rng.uniform(np.log(4), np.log(200))))
        mean = image * photons
        # a normal distribution is five times faster than Poisson's and looks the same above four photons
        spread = np.sqrt(mean) * rng.standard_normal(image.shape, dtype=np.float32)
        image = np.rint(np.clip(mean + spread, 0, None)) / photons
    read = np.float32(rng.choice([0.0, 0.02, 0.05]))
    if read:
        image = image + read * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 1)
