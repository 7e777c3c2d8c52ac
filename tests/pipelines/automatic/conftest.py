"""Volumes with true labels, whose maps stand in for a model's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import volseg
from volseg.images.image import Volume
from volseg.pipelines.automatic import AutoResult, automatic

Truth = NDArray[np.uint32]


@dataclass(frozen=True)
class Known:
    """A volume, and what is true of it."""

    url: str
    truth: Truth

    @property
    def volume(self) -> Volume:
        """The volume, opened."""
        return volseg.open(self.url)

    def auto(self, labels: str = "found", **choices: Any) -> AutoResult:
        """Segment it by maps and masks that are made of the truth."""
        oracle = {"kind": "oracle", "url": self.url, "name": "truth"}
        return automatic(self.volume, labels, model=oracle, **choices)

    def found(self, labels: str = "found") -> Truth:
        """Level 0 of a label image."""
        return np.asarray(self.volume.labels[labels].levels[0])


def balls(shape: tuple[int, int, int] = (12, 90, 122), step: int = 40, radius: float = 15) -> Truth:
    """Balls on a grid, slices being three times as far apart as voxels; neighbours don't touch."""
    z, y, x = np.indices(shape, np.float32)
    truth = np.zeros(shape, np.uint32)
    centres = [
        (shape[0] / 2 - 0.5, cy, cx)
        for cy in range(22, shape[1] - 10, step)
        for cx in range(22, shape[2] - 10, step)
    ]
    for i, (cz, cy, cx) in enumerate(centres, 1):
        inside = ((z - cz) * 3) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
        truth[inside] = i
    return truth


def tissue(shape: tuple[int, int, int] = (5, 100, 110)) -> Truth:
    """Cells side by side, with walls two voxels wide, that drift from slice to slice."""
    z, y, x = np.indices(shape)
    row, column = (y + z) // 32, (x + 2 * z) // 30
    truth = (1 + row * 10 + column).astype(np.uint32)
    wall = ((y + z) % 32 < 2) | ((x + 2 * z) % 30 < 2)
    truth[wall] = 0
    return truth


def make(url: str, truth: Truth, scale_um: tuple[float, ...] = (0.3, 0.1, 0.1)) -> Known:
    """Write a volume and its true labels."""
    volume = volseg.create_volume(
        url, axes="zyx", shape=truth.shape, dtype="uint8", scale_um=scale_um
    )
    whole = tuple((0, n) for n in truth.shape)
    volume.write(whole, ((truth > 0) * 150 + 40).astype(np.uint8))
    volume.create_labels("truth").write_objects(whole, truth)
    return Known(url, truth)


@pytest.fixture(scope="session")
def known_balls(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Six balls; shared: write under names of your own."""
    return make(str(tmp_path_factory.mktemp("balls") / "balls.zarr"), balls())


@pytest.fixture(scope="session")
def known_tissue(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Cells side by side; shared."""
    return make(str(tmp_path_factory.mktemp("tissue") / "tissue.zarr"), tissue())


@pytest.fixture
def make_known(tmp_path: Path) -> Callable[..., Known]:
    """Write a volume of one's own."""

    def write(truth: Truth, place: str | None = None, **how: Any) -> Known:
        return make(place or str(tmp_path / "own.zarr"), truth, **how)

    return write
