"""Label images to edit, and what their levels must hold."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

import volseg
from volseg.images.create import create_volume
from volseg.images.labels import Labels
from volseg.images.pyramid import coarser


def quick_folder() -> str:
    """Return a new folder, in memory where there is such a place: syncing thousands of small files takes minutes."""
    memory = Path("/dev/shm")
    return tempfile.mkdtemp(dir=memory if memory.is_dir() else None)


def make_labels(
    url: str,
    shape: tuple[int, ...] = (6, 70, 90),
    *,
    axes: str = "zyx",
    chunks: tuple[int, int, int] = (2, 32, 32),
    levels: int = 3,
    ngff: str = "0.5",
    dtype: str = "uint32",
    name: str = "cells",
    thin: bool = False,
) -> Labels:
    """Make a small image of no content with an empty label image."""
    create_volume(
        f"{url}/image.zarr",
        axes=axes,
        shape=shape,
        dtype="uint8",
        scale_um=(2.0, 1.0, 1.0),
        levels=levels,
        ngff=ngff,
    )
    volume = volseg.open(f"{url}/image.zarr")
    return volume.create_labels(name, dtype, chunks=chunks, keep_thin=thin)


def pyramid_of(labels: Labels, finest: np.ndarray) -> list[np.ndarray]:
    """Return what every level must hold for these voxels of level 0."""
    levels = [finest]
    for fine, coarse in pairwise(labels.factors):
        factors = [c // f for c, f in zip(coarse, fine, strict=True)]
        made = coarser(levels[-1], factors, keep_thin=labels.metadata.keep_thin)
        levels.append(made)
    return levels


def assert_levels(labels: Labels, finest: np.ndarray) -> None:
    """Assert that the store holds these voxels and the pyramid above them."""
    for number, (stored, wanted) in enumerate(
        zip(labels.levels, pyramid_of(labels, finest), strict=True)
    ):
        np.testing.assert_array_equal(np.asarray(stored), wanted, err_msg=f"level {number}")
