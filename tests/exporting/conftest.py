"""A small label image with known objects, an image under it, and a table of classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from volseg.importing import import_labels, import_volume
from volseg.volume.labels import Labels

SCALE = (2.0, 0.5, 0.5)
SHAPE = (18, 300, 280)


def make_truth() -> np.ndarray:
    """Three balls (one of them large), a plate and a single voxel."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    truth = np.zeros(SHAPE, np.uint32)
    for one, (cz, cy, cx), radius in [
        (3, (8, 60, 60), 14),
        (7, (9, 150, 200), 16),
        (300, (6, 240, 90), 10),
    ]:
        distance = ((z - cz) * 4) ** 2 + (y - cy) ** 2 + (x - cx) ** 2
        truth[distance <= radius**2] = one
    truth[2:4, 0:300, 130:133] = 9
    truth[17, 299, 279] = 70_000
    return truth


@pytest.fixture(scope="session")
def truth() -> np.ndarray:
    return make_truth()


@pytest.fixture(scope="session")
def image(truth: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(11)
    return (rng.integers(0, 400, SHAPE) + 500 * (truth != 0)).astype(np.uint16)


@pytest.fixture(scope="session")
def make_labels(
    truth: np.ndarray, image: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Labels]:
    """Write the label image below a URL."""
    folder = tmp_path_factory.mktemp("source")
    np.save(folder / "image.npy", image)
    np.save(folder / "truth.npy", truth)

    def make(url: str) -> Labels:
        volume = import_volume(folder / "image.npy", f"{url}/v.zarr", voxel_size_um=SCALE)
        labels = import_labels(folder / "truth.npy", volume, "cells")
        labels.objects.set(3, class_="nucleus", confidence=0.5, annotator="ann")
        labels.objects.set(7, class_="nucleus")
        labels.objects.set(300, class_="vessel", parent=7)
        return labels

    return make


@pytest.fixture(scope="session")
def labels(
    make_labels: Callable[[str], Labels], tmp_path_factory: pytest.TempPathFactory
) -> Labels:
    """On a local folder, for tests that don't write to it."""
    return make_labels(str(tmp_path_factory.mktemp("labels")))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
