"""A small striped volume with scribbles, and a classifier trained on it without any model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import volseg
from volseg.images.image import Volume
from volseg.images.labels import Labels

SHAPE = (5, 150, 170)
WHOLE = ((0, SHAPE[0]), (0, SHAPE[1]), (0, SHAPE[2]))


@dataclass(frozen=True)
class Striped:
    """A volume of dark and bright squares, what is true of it, and where its classifier lies."""

    url: str
    truth: NDArray[np.uint8]
    model: str

    @property
    def volume(self) -> Volume:
        """The volume, opened."""
        return volseg.open(self.url)


def scribbled(truth: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Two short strokes of each class on slice 2, and nothing else."""
    found = np.zeros(truth.shape, np.uint32)
    for y, x in ((10, 10), (10, 60), (60, 10), (60, 60)):
        found[2, y, x : x + 20] = truth[2, y, x : x + 20]
    return found


def write(labels: Labels, data: NDArray[np.uint32]) -> None:
    """Fill level 0 of a label image."""
    z, y, x = data.shape
    labels.write_objects(((0, z), (0, y), (0, x)), data)


def make_volume(url: str, image: NDArray[np.uint8]) -> Volume:
    """Write a volume (z, y, x)."""
    made = volseg.create_volume(
        url, axes="zyx", shape=image.shape, dtype="uint8", scale_um=(0.05, 0.01, 0.01)
    )
    z, y, x = image.shape
    made.write(((0, z), (0, y), (0, x)), image)
    return made


def squares(seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A noisy image and its classes, 1 dark and 2 bright."""
    _, y, x = np.indices(SHAPE)
    truth = np.where((y // 40 + x // 40) % 2 == 0, 1, 2).astype(np.uint8)
    noise = np.random.default_rng(seed).normal(0, 15, SHAPE)
    return np.clip(np.where(truth == 1, 80, 120) + noise, 0, 255).astype(np.uint8), truth


@pytest.fixture(scope="session")
def striped(tmp_path_factory: pytest.TempPathFactory) -> Striped:
    """Shared: read it, and write under names of your own."""
    folder: Path = tmp_path_factory.mktemp("pixels")
    image, truth = squares()
    volume = make_volume(str(folder / "striped.zarr"), image)
    labels = volume.create_labels("scribbles", classes={1: "background", 2: "bright"})
    write(labels, scribbled(truth))
    model = str(folder / "filters.model")
    volseg.pixels.train([(volume, "scribbles")], model, embedding="none")
    return Striped(str(volume.location.url), truth, model)


@pytest.fixture
def contents() -> Callable[[Labels], list[bytes]]:
    """Tell every level of a label image, byte by byte."""

    def read(labels: Labels) -> list[bytes]:
        return [np.asarray(level).tobytes() for level in labels.levels]

    return read
