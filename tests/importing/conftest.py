"""A small volume that labels of other programs are brought to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from volseg.images.image import Volume
from volseg.importing import import_volume


@pytest.fixture
def make_volume(tmp_path: Path) -> Callable[..., Volume]:
    """Write an empty volume of some shape (z, y, x), with times and channels where asked for."""

    def make(shape: tuple[int, ...] = (3, 40, 50), axes: str = "zyx") -> Volume:
        path = tmp_path / f"blank-{'-'.join(map(str, shape))}.npy"
        np.save(path, np.zeros(shape, np.uint8))
        return import_volume(path, path.with_suffix(".zarr"), axes=axes, voxel_size_um=(2, 1, 1))

    return make
