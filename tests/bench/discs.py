"""Generated objects of known classes for benchmarks and tests: textured discs, cells with spots, debris."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume


@dataclass(frozen=True)
class Scene:
    """A picture (channels, y, x) with labels (y, x), and the class of each id from 1 on."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint32]
    classes: tuple[str, ...]

    def write(self, place: Path | str) -> Volume:
        """Write it as a volume of one slice with the label image ``cells``."""
        channels, height, width = self.image.shape
        shape = (channels, 1, height, width)
        volume = create_volume(
            str(place), axes="czyx", shape=shape, dtype="uint8", scale_um=(1, 1, 1)
        )
        whole = ((0, 1), (0, height), (0, width))
        for channel, plane in enumerate(self.image):
            volume.write(whole, plane[None], channel=channel)
        volume.create_labels("cells").write_objects(whole, self.labels[None])
        return open_volume(str(place))


def _grid(count: int, pitch: int) -> tuple[int, list[tuple[int, int]]]:
    side = int(np.ceil(np.sqrt(count)))
    places = [
        (pitch // 2 + pitch * (i // side), pitch // 2 + pitch * (i % side)) for i in range(count)
    ]
    return side * pitch, places


def _disc(radius: int) -> NDArray[np.bool_]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return y**2 + x**2 <= radius**2


def _noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> NDArray[np.float64]:
    noise = rng.normal(size=shape)
    return ndimage.gaussian_filter(noise, sigma) if sigma else noise


def textured_discs(seed: int, count: int = 345, radius: int = 12) -> Scene:
    """Discs of one area whose textures, fine and coarse, have the same mean and variance, each exactly."""
    rng = np.random.default_rng(seed)
    size, places = _grid(count, 2 * radius + 10)
    image = rng.normal(60, 6, (size, size))
    labels = np.zeros((size, size), np.uint32)
    mask = _disc(radius)
    classes = []
    for i, (y, x) in enumerate(places, 1):
        coarse = bool(rng.random() < 0.5)
        texture = _noise(rng, mask.shape, 1.1 if coarse else 0.75)
        texture = (texture - texture[mask].mean()) / texture[mask].std()
        box = (slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
        image[box][mask] = (120 + 25 * texture)[mask]
        labels[box][mask] = i
        classes.append("coarse" if coarse else "fine")
    return Scene(np.clip(image, 0, 255).astype(np.uint8)[None], labels, tuple(classes))


def infected_cells(seed: int, count: int = 245) -> Scene:
    """Nuclei of 20 to 40 pixels in the first channel, a third with one to five spots in the second, equally bright."""
    rng = np.random.default_rng(seed)
    pitch = 52
    size, places = _grid(count, pitch)
    noise = 8.0
    image = np.stack([rng.normal(30, noise, (size, size)), rng.normal(60, noise, (size, size))])
    labels = np.zeros((size, size), np.uint32)
    classes = []
    for i, (y, x) in enumerate(places, 1):
        radius = rng.uniform(10, 20)
        stretch, angle = rng.uniform(0.75, 1.0), rng.uniform(0, np.pi)
        yy, xx = np.mgrid[y - pitch // 2 : y + pitch // 2, x - pitch // 2 : x + pitch // 2]
        dy, dx = yy - y, xx - x
        u, v = dy * np.cos(angle) + dx * np.sin(angle), dx * np.cos(angle) - dy * np.sin(angle)
        inside = (u / radius) ** 2 + (v / (radius * stretch)) ** 2 <= 1
        image[0][yy[inside], xx[inside]] += 80 + rng.normal(0, 6)
        labels[yy[inside], xx[inside]] = i
        bright = rng.normal(0, 3)
        infected = rng.random() < 1 / 3
        added = np.zeros(inside.shape)
        if infected:
            ys, xs = np.nonzero(ndimage.binary_erosion(inside, iterations=3))
            for _ in range(int(rng.integers(1, 6))):
                k = int(rng.integers(len(ys)))
                spot = rng.uniform(2, 4)
                distance = (np.arange(pitch)[:, None] - ys[k]) ** 2 + (
                    np.arange(pitch)[None] - xs[k]
                ) ** 2
                added[distance <= (spot / 2) ** 2] = 3 * noise
            added[inside] -= added[inside].mean()
        image[1][yy[inside], xx[inside]] += 40 + bright + added[inside]
        classes.append("infected" if infected else "healthy")
    return Scene(np.clip(image, 0, 255).astype(np.uint8), labels, tuple(classes))


def debris(seed: int, count: int = 16_671, true: int = 4_591) -> Scene:
    """Cells among debris (small, irregular), pieces of edges (thin, long) and doublets (two that touch)."""
    rng = np.random.default_rng(seed)
    pitch = 30
    size, places = _grid(count, pitch)
    image = rng.normal(50, 8, (size, size)).astype(np.float32)
    labels = np.zeros((size, size), np.uint32)
    kinds = ["cell"] * true + list(rng.choice(["debris", "edge", "doublet"], count - true))
    rng.shuffle(kinds)
    half = pitch // 2
    y, x = np.mgrid[-half:half, -half:half]
    for i, ((cy, cx), kind) in enumerate(zip(places, kinds, strict=True), 1):
        angle, bright = rng.uniform(0, np.pi), rng.uniform(50, 90)
        u, v = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
        if kind == "cell":
            r = rng.uniform(6, 9)
            inside = (u / r) ** 2 + (v / (r * rng.uniform(0.8, 1))) ** 2 <= 1
        elif kind == "doublet":
            r, apart = rng.uniform(4, 6.5), rng.uniform(3.5, 5.5)
            inside = ((u - apart) ** 2 + v**2 <= r**2) | (
                (u + apart) ** 2 + v**2 <= (r * rng.uniform(0.8, 1)) ** 2
            )
        elif kind == "edge":
            inside = (np.abs(v) <= rng.uniform(1, 2.5)) & (np.abs(u) <= rng.uniform(6, 12))
        else:
            r = rng.uniform(3, 8)
            rough = ndimage.gaussian_filter(rng.normal(size=y.shape), 2)
            inside = (u**2 + v**2 <= r**2) & (rough > -0.02)
            inside[half, half] = True
        box = (slice(cy - half, cy + half), slice(cx - half, cx + half))
        image[box][inside] += bright + rng.normal(0, 10, int(inside.sum()))
        labels[box][inside] = i
    return Scene(np.clip(image, 0, 255).astype(np.uint8)[None], labels, tuple(kinds))
