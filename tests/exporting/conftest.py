"""A small label image with known objects, an image under it, and a table of classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from volseg.images.labels import Labels
from volseg.importing import import_labels, import_volume

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
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


ODD_SCALE = (0.5, 0.2, 0.1)


def make_odd() -> np.ndarray:
    """What round trips stumble over: holes, objects that touch, also by a corner, single voxels, parts, a large id."""
    ids = np.zeros((4, 40, 50), np.uint32)
    ids[0:3, 2:14, 2:14] = 1
    ids[0:3, 5:9, 5:9] = 0  # a hole
    ids[1, 6, 6] = 70_000  # … with an object in it
    ids[0:2, 2:14, 14:20] = 2  # touches 1
    ids[2, 20, 20] = 3  # one voxel
    ids[1:4, 30:35, 5:8] = 4  # two parts
    ids[1:4, 30:35, 40:45] = 4
    ids[1, 35, 8] = 4  # … one joined by a corner
    ids[3, 39, 49] = 5  # in the last corner
    ids[3, 0, :] = 6  # along a border
    return ids


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """Two times, two channels; the second time holds the objects of the first upside down."""
    folder = tmp_path_factory.mktemp("odd")
    ids = np.stack([make_odd(), make_odd()[:, ::-1]])
    image = np.random.default_rng(5).integers(0, 200, (2, 2, *ids.shape[1:])).astype(np.uint8)
    np.save(folder / "image.npy", image)
    np.save(folder / "ids.npy", ids)
    np.save(folder / "others.npy", np.where(ids == 1, 7, 0))
    volume = import_volume(
        folder / "image.npy", folder / "v.zarr", axes="tczyx", voxel_size_um=ODD_SCALE
    )
    labels = import_labels(folder / "ids.npy", volume, "cells", axes="tzyx")
    labels.objects.set(1, class_="=SUM(1,2)", annotator="@ann")
    labels.objects.set(2, class_='+a, "b"\nc')
    labels.objects.set(4, class_="'-x")
    labels.objects.set(5, class_="Körnerzelle")
    import_labels(folder / "others.npy", volume, "holes", axes="tzyx")
    return labels
