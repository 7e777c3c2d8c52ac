"""Procedural images and volumes with known truth: stained nuclei and membranes, in two or three
dimensions.

The same code makes slices and volumes; every result depends on the given random generator alone.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

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


def _rotation(rng: Generator, dimensions: int) -> NDArray[np.float64]:
    matrix, _ = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))
    return matrix


def scatter_blobs(
    rng: Generator,
    shape: tuple[int, ...],
    radius: float,
    count: int,
    *,
    spacing: tuple[float, ...] | None = None,
    elongation: float = 1.8,
    roughness: float = 0.15,
    gap: float = 1.0,
) -> tuple[Labels, Floats]:
    """Scatter rough, rotated ellipses or ellipsoids that may touch but do not cover each other's
    middles.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    shape : tuple of int
        Voxels along each axis.
    radius : float
        Typical radius, in units of ``spacing``.
    count : int
        How many are tried; those that would sit inside another are left out.
    spacing : tuple of float, optional
        Size of a voxel along each axis; 1 by default.
    elongation : float
        The largest ratio of an object's axes to its radius.
    roughness : float
        How much the outline deviates from an ellipse, relative to the radius.
    gap : float
        How far a new centre stays from the others, as a multiple of their radius.

    Returns
    -------
    labels : ndarray of int32
        0 outside, 1, 2, ... inside.
    depth : ndarray of float32
        Normalised distance from the nearest centre: 0 in the middle, 1 on the outline.
    """
    spacing = spacing or (1.0,) * len(shape)
    scale = np.asarray(spacing)
    labels = np.zeros(shape, np.int32)
    depth = np.full(shape, 9.0, np.float32)
    rough = 1 + roughness * smooth_noise(rng, shape, max(2.0, 0.8 * radius / max(spacing)))
    dimensions = len(shape)
    for _ in range(count):
        centre = rng.uniform(-0.05, 1.05, dimensions) * np.asarray(shape)
        inside = tuple(np.clip(centre.astype(int), 0, np.asarray(shape) - 1))
        if depth[inside] < gap:
            continue
        axes = radius * rng.uniform(0.7, 1.3) * rng.uniform(1 / elongation, elongation, dimensions)
        reach = np.ceil(1.4 * axes.max() / scale).astype(int)
        low = np.maximum(centre.astype(int) - reach, 0)
        high = np.minimum(centre.astype(int) + reach + 1, shape)
        if np.any(high <= low):
            continue
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grids = np.meshgrid(
            *[
                (np.arange(a, b) - c) * s
                for a, b, c, s in zip(low, high, centre, scale, strict=True)
            ],
            indexing="ij",
            sparse=True,
        )
        turned = _rotation(rng, dimensions) / axes[:, None]
        distance = sum(sum(row[i] * grids[i] for i in range(dimensions)) ** 2 for row in turned)
        distance = np.sqrt(distance).astype(np.float32) * rough[window]
        nearer = distance < np.minimum(depth[window], 1.6)
        labels[window][nearer & (distance < 1)] = labels.max() + 1
        depth[window] = np.where(nearer, distance, depth[window])
    return labels, depth


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
    radius = float(np.exp(rng.uniform(np.log(4.5), np.log(0.3 * side))))
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
        spots, _ = scatter_blobs(rng, shape, max(1.5, radius * 0.2), 3 * count, spacing=spacing)
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
    return _expose(rng, image), labels


def membranes(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image like electron microscopy: cells of any form, dark membranes, organelles. See
    `nuclei`.
    """
    spacing = spacing or (1.0,) * len(shape)
    dimensions = len(shape)
    extent = np.asarray(shape) * np.asarray(spacing)
    size = float(np.exp(rng.uniform(np.log(14), np.log(70))))
    count = int(np.clip(np.prod(extent) / size**dimensions * 2.5, 8, 4000))
    stretch = rng.uniform(0.5, 1.0, dimensions)[:, None] * _rotation(rng, dimensions)
    grids = np.stack(
        np.meshgrid(
            *[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
        ),
        -1,
    ).reshape(-1, dimensions)
    bend = rng.uniform(0.1, 0.5) * size
    for axis in range(dimensions):
        grids[:, axis] += bend * smooth_noise(rng, shape, max(4.0, size * 0.6)).ravel()
    seeds = rng.uniform(-0.1, 1.1, (count, dimensions)) * extent
    tree = cKDTree(seeds @ stretch.T)
    _, partner = tree.query(tree.data, 2)
    cell = np.arange(count)
    for index in np.flatnonzero(rng.random(count) < rng.uniform(0.3, 0.8)):
        cell[cell == cell[index]] = cell[partner[index, 1]]
    distance, nearest = tree.query(grids @ stretch.T, min(6, count))
    owner = cell[nearest]
    foreign = np.where(owner != owner[:, :1], distance, np.inf).min(1)
    margin = np.minimum((foreign - distance[:, 0]) / 2, size).astype(np.float32).reshape(shape)
    labels = (owner[:, 0] + 1).astype(np.int32).reshape(shape)
    base = rng.uniform(rng.uniform(0.45, 0.7), 0.9, count + 1)
    base[rng.random(count + 1) < rng.uniform(0, 0.25)] *= rng.uniform(0.3, 0.7)
    image = base.astype(np.float32)[labels]
    radius = max(2.0, size * rng.uniform(0.1, 0.25))
    bodies, depth = scatter_blobs(rng, shape, radius, count, spacing=spacing)
    within = (bodies > 0) & (margin > 1.5)
    image = np.where(within, image * rng.uniform(0.3, 0.9), image)
    rim = (np.abs(depth - 0.9) < 0.2) & (margin > 1.5)
    image = np.where(rim & (rng.random() < 0.6), image * 0.4, image)
    image *= 1 + rng.uniform(0, 0.2) * smooth_noise(rng, shape, rng.uniform(2, 5))
    width = rng.uniform(0.6, 2.2)
    wall = np.clip(margin - width, 0, 1)
    image = image * wall + (1 - wall) * rng.uniform(0.02, 0.3)
    image = ndimage.gaussian_filter(image, rng.uniform(0.3, 1.0))
    return _expose(rng, image), labels


def tissue(
    rng: Generator, shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None
) -> tuple[Floats, Labels]:
    """Make an image like MR or CT: a few smooth regions of different grey values that blend softly.
    See `nuclei`.
    """
    image, labels = membranes(rng, shape, spacing=spacing)
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
    flat += rng.uniform(0, 0.25) * (image - image.mean()) * (depth > 1)
    return _expose(rng, ndimage.gaussian_filter(flat, rng.uniform(0.5, 2.5))), labels


def _expose(rng: Generator, image: NDArray[np.floating]) -> Floats:
    """Add shot and read noise and bring the values into 0..1."""
    image = np.clip(image, 0, None).astype(np.float32)
    image /= max(float(image.max()), 1e-6)
    if rng.random() < 0.5:
        photons = np.exp(rng.uniform(np.log(4), np.log(200)))
        image = rng.poisson(image * photons).astype(np.float32) / np.float32(photons)
    image += np.float32(rng.choice([0.0, 0.02, 0.05])) * rng.standard_normal(
        image.shape, dtype=np.float32
    )
    return np.clip(image, 0, 1)
