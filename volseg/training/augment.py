"""From a picture with labels to a tile as the model sees it: zoom, turn, flip, and the many ways
images differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

from volseg.training.data import Labels, Pixels, Source

SIZE = 256


@dataclass(frozen=True)
class Tile:
    """A training image.

    Attributes
    ----------
    image : ndarray of float32
        (3, 256, 256) in 0..255.
    labels : ndarray of int32
        (256, 256), 0 for background.
    background : bool
        Whether unlabelled pixels are truly background.
    source : str
        Name of the source.
    """

    image: NDArray[np.float32]
    labels: Labels
    background: bool
    source: str


def sample(rng: Generator, source: Source) -> Tile:
    """Draw a picture from the source and turn it into an augmented tile with at least one
    object.
    """
    while True:
        pixels, labels = source.draw(rng)
        image, labels = place(rng, pixels, labels)
        if labels.any():
            return Tile(photometric(rng, image) * 255, labels, source.background, source.name)


def _zoom(rng: Generator, labels: Labels) -> float:
    """Half of the time about the zoom at which volseg shows the slice, else so that an object gets
    a random size.
    """
    shown = max(1.0, SIZE / max(labels.shape))
    if rng.random() < 0.5:
        return shown * float(np.exp(rng.uniform(-0.3, 0.3)))
    present = labels[labels > 0]
    chosen = present[rng.integers(len(present))]
    diameter = math.sqrt(float((present == chosen).sum()))
    wanted = float(np.exp(rng.uniform(math.log(8), math.log(220))))
    smallest = 0.6 * SIZE / max(labels.shape)
    return float(np.clip(wanted / diameter, smallest, 4.0 * shown))


def place(rng: Generator, pixels: Pixels, labels: Labels) -> tuple[NDArray[np.float32], Labels]:
    """Cut, zoom, turn, flip and stretch.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    pixels, labels : ndarray
        uint8 (y, x) or (y, x, 3), and int32 (y, x).

    Returns
    -------
    image : ndarray of float32
        (3, 256, 256) in 0..1.
    labels : ndarray of int32
        (256, 256).
    """
    zoom = _zoom(rng, labels)
    image = torch.from_numpy(np.atleast_3d(pixels).astype(np.float32) / 255).permute(2, 0, 1)[None]
    height, width = labels.shape
    if zoom < 0.65:
        image = F.avg_pool2d(image, 2, ceil_mode=True)
    turn = math.pi / 2 * int(rng.integers(4))
    if rng.random() < 0.4:
        turn += rng.uniform(-math.pi / 4, math.pi / 4)
    stretch_y, stretch_x = zoom * np.exp(rng.uniform(-0.12, 0.12, 2))
    flip = rng.choice([-1.0, 1.0])
    cos, sin = math.cos(turn), math.sin(turn)
    half = SIZE / 2
    matrix = np.array(
        [[cos * flip / stretch_x, -sin / stretch_x], [sin * flip / stretch_y, cos / stretch_y]]
    )
    room = np.abs(matrix) @ np.array([half, half])
    centre = np.array(
        [
            rng.uniform(room[0], width - room[0]) if width > 2 * room[0] else width / 2,
            rng.uniform(room[1], height - room[1]) if height > 2 * room[1] else height / 2,
        ]
    )
    offsets = (np.arange(SIZE) + 0.5 - half).astype(np.float32)
    columns, rows = np.meshgrid(offsets, offsets)
    x = (matrix[0, 0] * columns + matrix[0, 1] * rows + centre[0]) / width * 2 - 1
    y = (matrix[1, 0] * columns + matrix[1, 1] * rows + centre[1]) / height * 2 - 1
    grid = torch.from_numpy(np.stack([x, y], -1).astype(np.float32))[None]
    padding = "reflection" if rng.random() < 0.5 else "zeros"
    fill = 0.45
    image = F.grid_sample(image - fill, grid, "bilinear", padding, align_corners=False) + fill
    truth = torch.from_numpy(labels.astype(np.float32))[None, None]
    truth = F.grid_sample(truth, grid, "nearest", padding, align_corners=False)
    tile = image[0].numpy()
    if len(tile) == 1:
        tile = np.repeat(tile, 3, 0)
    return tile, truth[0, 0].numpy().astype(np.int32)


def photometric(rng: Generator, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Change exposure, contrast, polarity, sharpness, light and noise of an image (3, y, x) in
    0..1.
    """
    grey = bool(np.array_equal(image[0], image[1]))
    work = image[:1] if grey else image
    if not grey:
        if rng.random() < 0.3:
            work = work[rng.permutation(3)]
        if rng.random() < 0.3:
            work = work * rng.uniform(0.7, 1.2, (3, 1, 1)).astype(np.float32)
        if rng.random() < 0.2:
            work = work.mean(0, keepdims=True)
    work = np.clip(work, 0, 1) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.2:
        work = 1 - work
    if rng.random() < 0.2:
        blur = rng.uniform(0.3, 2.0)
        work = ndimage.gaussian_filter(work, (0, blur, blur))
    if rng.random() < 0.2:
        ramp = np.linspace(-1, 1, work.shape[-1], dtype=np.float32)
        light = 1 + rng.uniform(-0.4, 0.4) * ramp + rng.uniform(-0.4, 0.4) * ramp[:, None]
        work = work * light
    if rng.random() < 0.35:
        work = _noisy(rng, np.clip(work, 0, 1))
    work = work * rng.uniform(0.6, 1.25) + rng.uniform(-0.08, 0.1)
    work = np.clip(work, 0, 1).astype(np.float32)
    return np.repeat(work, 3, 0) if len(work) == 1 else work


def _noisy(rng: Generator, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add noise whose grains are one to four pixels wide, as they are in an enlarged slice."""
    grain = int(rng.integers(1, 5))
    side = math.ceil(image.shape[-1] / grain)
    noise = rng.standard_normal((side, side), dtype=np.float32)
    if grain > 1:
        noise = np.kron(noise, np.ones((grain, grain), np.float32))
        if rng.random() < 0.6:
            noise = ndimage.uniform_filter(noise, grain)
    noise = noise[: image.shape[1], : image.shape[2]]
    if rng.random() < 0.6:  # as shot noise, stronger where brighter
        return image + rng.uniform(0.02, 0.45) * noise * np.sqrt(image + 0.01)
    return image + rng.uniform(0.01, 0.15) * noise
