"""From a picture with labels to a tile as the model sees it: zoom, turn, flip, and the many ways
images differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

from volseg.training.data import Labels, Pixels, Source, whole_plane

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
    levels : ndarray of int32 or None
        (3, 256, 256): labels of parts, wholes and groups, where a click has several right answers;
        the second plane is ``labels``. 0 where a level has nothing.
    """

    image: NDArray[np.float32]
    labels: Labels
    background: bool
    source: str
    levels: Labels | None = None


def sample(rng: Generator, source: Source) -> Tile:
    """Draw a picture from the source and turn it into an augmented tile with at least one
    object.
    """
    while True:
        pixels, truth = source.draw(rng)
        image, labels = place(rng, pixels, truth)
        if not whole_plane(labels).any():  # sparse objects in a large picture: look at one
            image, labels = place(rng, pixels, truth, on_object=True)
        if whole_plane(labels).any():
            levels = labels if labels.ndim == 3 else None
            image = photometric(rng, image) * 255
            wholes = labels if levels is None else labels[1]
            return Tile(image, wholes, source.background, source.name, levels)


def _labelled_pixel(rng: Generator, labels: NDArray[np.integer[Any]]) -> tuple[int, int]:
    """Choose a labelled pixel y, x."""
    height, width = labels.shape
    for _ in range(16):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        if labels[y, x]:
            return y, x
    where = np.flatnonzero(labels)
    y, x = divmod(int(where[rng.integers(len(where))]), width)
    return y, x


def _zoom(rng: Generator, labels: NDArray[np.integer[Any]]) -> float:
    """Half of the time about the zoom at which volseg shows the slice, else so that an object gets
    a random size.
    """
    shown = max(1.0, SIZE / max(labels.shape))
    if rng.random() < 0.5:
        return shown * float(np.exp(rng.uniform(-0.3, 0.3)))
    chosen = labels[_labelled_pixel(rng, labels)]
    diameter = math.sqrt(float(np.count_nonzero(labels == chosen)))
    wanted = float(np.exp(rng.uniform(math.log(8), math.log(220))))
    smallest = 0.6 * SIZE / max(labels.shape)
    return float(np.clip(wanted / diameter, smallest, 4.0 * shown))


@dataclass(frozen=True)
class _View:
    """The part of a picture that a tile shows: a matrix (2, 2) from offsets in the tile to offsets in
    the picture, the centre x, y, and half the extent x, y of what is seen.
    """

    matrix: NDArray[np.float64]
    centre: NDArray[np.float64]
    room: NDArray[np.float64]

    def crop(self, size: int, axis: int) -> tuple[int, int]:
        """Return the first and last pixel (half-open) needed along x (0) or y (1)."""
        middle, room = self.centre[axis], self.room[axis]
        if size <= 2 * room:
            return 0, size
        first = max(int(middle - room) - 4, 0) // 2 * 2  # even, for halving
        last = min(first + (math.ceil(2 * room) + 10) // 2 * 2, size)
        return first, last

    def grid(self, first: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
        """Return where a crop (x, y) of the picture is sampled: (1, 256, 256, 2) in -1..1."""
        offsets = (np.arange(SIZE) + 0.5 - SIZE / 2).astype(np.float32)
        found = []
        for axis in (0, 1):
            at = self.matrix[axis, 0] * offsets[None] + self.matrix[axis, 1] * offsets[:, None]
            found.append((at + (self.centre[axis] - first[axis])) / size[axis] * 2 - 1)
        return torch.from_numpy(np.stack(found, -1).astype(np.float32))[None]


def _view(
    rng: Generator, zoom: float, shape: tuple[int, int], anchor: tuple[int, int] | None
) -> _View:
    """Choose a turn, a flip and a place that shows the pixel y, x of the anchor, where one is
    given.
    """
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
    near = 0.6 * half / max(stretch_x, stretch_y)
    centre = []
    for axis in (0, 1):
        size = shape[1 - axis]
        first, last = room[axis], size - room[axis]
        if last <= first:
            centre.append(size / 2)
            continue
        if anchor is not None:
            first = min(max(first, anchor[1 - axis] - near), last)
            last = max(min(last, anchor[1 - axis] + near), first)
        centre.append(rng.uniform(first, last))
    return _View(matrix, np.array(centre), room)


def place(
    rng: Generator,
    pixels: Pixels,
    labels: NDArray[np.integer[Any]],
    *,
    on_object: bool = False,
) -> tuple[NDArray[np.float32], Labels]:
    """Cut, zoom, turn, flip and stretch.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    pixels, labels : ndarray
        uint8 (y, x) or (y, x, 3), and integers (y, x) or (3, y, x).
    on_object : bool
        Whether an object must be in view, where the picture is larger than the tile.

    Returns
    -------
    image : ndarray of float32
        (3, 256, 256) in 0..1.
    labels : ndarray of int32
        (256, 256) or (3, 256, 256).
    """
    objects = whole_plane(labels)
    zoom = _zoom(rng, objects)
    height, width = objects.shape
    view = _view(rng, zoom, (height, width), _labelled_pixel(rng, objects) if on_object else None)
    (left, right), (top, bottom) = view.crop(width, 0), view.crop(height, 1)
    grid = view.grid((left, top), (right - left, bottom - top))
    padding = "reflection" if rng.random() < 0.5 else "zeros"
    image = torch.from_numpy(np.atleast_3d(pixels[top:bottom, left:right]).astype(np.float32))
    image = image.permute(2, 0, 1)[None] / 255
    if zoom < 0.65:
        image = F.avg_pool2d(image, 2, ceil_mode=True)
    fill = 0.45
    image = F.grid_sample(image - fill, grid, "bilinear", padding, align_corners=False) + fill
    stacked = labels[None] if labels.ndim == 2 else labels
    truth = torch.from_numpy(stacked[:, top:bottom, left:right].astype(np.float32))[None]
    truth = F.grid_sample(truth, grid, "nearest", padding, align_corners=False)[0]
    found = truth.numpy().astype(np.int32)
    tile = image[0].numpy()
    if len(tile) == 1:
        tile = np.repeat(tile, 3, 0)
    return tile, found if labels.ndim == 3 else found[0]


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
