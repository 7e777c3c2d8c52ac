"""The demonstration's volume is what it says: reproducible, touching, unevenly lit, with exact truth."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from volseg.demo.synthetic import VOXEL_SIZE_UM, make_volume

SMALL = {"shape": (24, 128, 128), "clusters": 3}


def test_same_seed_same_bytes_other_seed_others() -> None:
    first, again, other = (make_volume(**SMALL, seed=seed) for seed in (3, 3, 4))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.truth.tobytes() == again.truth.tobytes()
    assert first.image.tobytes() != other.image.tobytes()


def test_types_sizes_and_consecutive_ids() -> None:
    made = make_volume(**SMALL)
    assert made.image.dtype == np.uint16
    assert made.truth.dtype == np.uint32
    assert made.image.shape == made.truth.shape == SMALL["shape"]
    assert made.voxel_size_um == VOXEL_SIZE_UM
    ids = np.unique(made.truth)
    assert ids.tolist() == list(range(len(ids)))
    assert len(ids) > 4


def test_cells_touch_lie_oblique_and_differ_from_the_ground() -> None:
    made = make_volume()
    touching = sum(
        len(np.unique(made.truth[ndimage.binary_dilation(made.truth == one)])) > 2
        for one in range(1, int(made.truth.max()) + 1)
    )
    assert touching >= made.truth.max() // 2
    drift = []
    for one in range(1, int(made.truth.max()) + 1):
        planes = [z for z in range(made.truth.shape[0]) if (made.truth[z] == one).any()]
        ends = [np.argwhere(made.truth[z] == one).mean(0) for z in (planes[1], planes[-2])]
        drift.append(np.hypot(*(ends[1] - ends[0])))
    assert np.median(drift) > 5  # voxels between first and last slice
    bright, ground = made.image[made.truth > 0].mean(), made.image[made.truth == 0].mean()
    assert bright > 1.5 * ground
