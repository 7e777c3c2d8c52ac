"""Small volumes with discs through the slices, and a predictor that answers with what lies under a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.propagation import Candidates, SlicePrompt

SHAPE = (10, 64, 80)


def discs(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Two bright discs, (z, y, x) uint8: one drifts through all slices, the other ends at slice 6."""
    image = np.full(shape, 30, np.uint8)
    y, x = np.mgrid[: shape[1], : shape[2]]
    for z in range(shape[0]):
        image[z][np.hypot(y - 20, x - 20 - z) < 9] = 200
        if z < 7:
            image[z][np.hypot(y - 44, x - 55) < 11] = 170
    return image


def make_volume(url: str, image: np.ndarray | None = None, **options: Any) -> Volume:
    """The discs as OME-Zarr."""
    image = discs() if image is None else image
    create_volume(
        url, axes="zyx", shape=image.shape, dtype=image.dtype, scale_um=(1.0, 0.5, 0.5), **options
    )
    volume = open_volume(url, writable=True)
    volume.write(tuple((0, n) for n in image.shape), image, level=0, channel=0)
    return open_volume(url)


class Threshold:
    """Answers with the bright component under the positive points or in the box, and a smaller and a larger one."""

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.shape = image, image.shape
        self.embedded: list[int] = []
        self.asked: list[int] = []

    def tiles(self, box: Any) -> list[int]:
        return [0]

    def close(self) -> None:
        """Nothing to end."""

    def embed(self, z: int, tile: int) -> bool:
        new = z not in self.embedded
        self.embedded.append(z)
        return new

    def predict(self, z: int, prompts: Sequence[SlicePrompt]) -> list[Candidates]:
        self.asked.append(z)
        parts, _ = ndimage.label(self.image[z] > 100)
        answers = []
        for prompt in prompts:
            found = self._mask(parts, prompt)
            masks = [found, ndimage.binary_erosion(found, iterations=3)]
            masks.append(ndimage.binary_dilation(found, iterations=3))
            answers.append(Candidates(np.stack(masks), np.array([0.9, 0.7, 0.5])))
        return answers

    def _mask(self, parts: np.ndarray, prompt: SlicePrompt) -> np.ndarray:
        inside = np.asarray(prompt.points)[np.asarray(prompt.point_labels) == 1]
        if len(inside):
            ids = {int(parts[round(y), round(x)]) for y, x in inside} - {0}
            return np.isin(parts, sorted(ids))
        y0, x0, y1, x1 = (int(v) for v in prompt.box or (0, 0, 0, 0))
        ids = set(np.unique(parts[y0:y1, x0:x1]).tolist()) - {0}
        return np.isin(parts, sorted(ids))
