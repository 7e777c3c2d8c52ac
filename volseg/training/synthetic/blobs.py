"""Rough, rotated ellipses and ellipsoids: nuclei, cells, organelles; and many small spots at once."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from volseg.training.synthetic.fields import Floats, Labels, rotation, smooth_noise


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
    number = 0
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
        turned = rotation(rng, dimensions) / axes[:, None]
        distance = sum(sum(row[i] * grids[i] for i in range(dimensions)) ** 2 for row in turned)
        distance = np.sqrt(distance).astype(np.float32) * rough[window]
        nearer = distance < np.minimum(depth[window], 1.6)
        number += 1
        labels[window][nearer & (distance < 1)] = number
        depth[window] = np.where(nearer, distance, depth[window])
    return labels, depth


def scatter_spots(
    rng: Generator,
    shape: tuple[int, ...],
    radius: float,
    *,
    crowding: float,
    spacing: tuple[float, ...] | None = None,
    roughness: float = 0.25,
) -> tuple[Labels, Floats]:
    """Scatter small roundish spots over everything in one pass, however many they are.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    shape : tuple of int
        Voxels along each axis.
    radius : float
        Typical radius, in units of ``spacing``.
    crowding : float
        How densely they lie: 1 where neighbours touch, less for fewer.
    spacing : tuple of float, optional
        Size of a voxel along each axis; 1 by default.
    roughness : float
        How much the outline deviates from a circle, relative to the radius.

    Returns
    -------
    labels : ndarray of int32
        0 outside, else a number each; not every number need occur.
    depth : ndarray of float32
        Normalised distance from the nearest centre: 0 in the middle, 1 on the outline.
    """
    spacing = spacing or (1.0,) * len(shape)
    step = [2 * radius / s / crowding for s in spacing]
    lattice = np.meshgrid(
        *[np.arange(rng.uniform(0, one), n, one) for n, one in zip(shape, step, strict=True)],
        indexing="ij",
    )
    places = np.stack([one.ravel() for one in lattice], -1)
    places += rng.uniform(-0.45, 0.45, places.shape) * np.asarray(step)
    inside = np.clip(np.rint(places), 0, np.asarray(shape) - 1).astype(int)
    numbers = np.zeros(shape, np.int32)
    numbers[tuple(inside.T)] = 1 + np.arange(len(places))
    if not len(places):
        return numbers, np.full(shape, 9.0, np.float32)
    distance, nearest = ndimage.distance_transform_edt(
        numbers == 0, sampling=spacing, return_indices=True
    )
    owner = numbers[tuple(nearest)]
    sizes = radius * rng.uniform(0.6, 1.25, len(places) + 1)
    rough = 1 + roughness * smooth_noise(rng, shape, max(2.0, radius / max(spacing)))
    depth = (distance / sizes[owner] * rough).astype(np.float32)
    return np.where(depth < 1, owner, 0).astype(np.int32), depth
