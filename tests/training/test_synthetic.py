"""Procedural images: the same for the same seed, in two and three dimensions, not trivial."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import default_rng

from volseg.training import synthetic

GENERATORS = (synthetic.nuclei, synthetic.membranes, synthetic.tissue)


@pytest.mark.parametrize("make", GENERATORS)
@pytest.mark.parametrize("shape", [(96, 96), (10, 48, 48)])
def test_the_seed_decides(make: Callable[..., tuple], shape: tuple[int, ...]) -> None:
    image, labels = make(default_rng(3), shape)
    again, labels_again = make(default_rng(3), shape)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, labels_again)
    other, _ = make(default_rng(4), shape)
    assert not np.array_equal(image, other)
    assert image.shape == labels.shape == shape
    assert image.dtype == np.float32
    assert labels.dtype == np.int32
    assert 0 <= image.min() < image.max() <= 1


def test_nuclei_are_brighter_than_their_background() -> None:
    for seed in range(10):
        image, labels = synthetic.nuclei(default_rng(seed), (128, 128))
        if 0.02 < (labels > 0).mean() < 0.95:
            assert image[labels > 0].mean() > image[labels == 0].mean()


def test_membranes_lie_between_cells_and_are_dark() -> None:
    image, labels = synthetic.membranes(default_rng(1), (128, 128))
    assert labels.min() > 0
    edge = labels[:, 1:] != labels[:, :-1]
    assert image[:, 1:][edge].mean() < image[:, 1:][~edge].mean()


def test_blobs_of_one_radius_have_about_its_size_and_fill_anisotropic_voxels() -> None:
    labels, depth = synthetic.scatter_blobs(
        default_rng(0), (20, 80, 80), 8.0, 12, spacing=(4.0, 1.0, 1.0), elongation=1.0001
    )
    assert np.all(depth[labels > 0] < 1)
    inner = [
        np.argwhere(labels == i)
        for i in np.unique(labels[labels > 0])
        if not {0, 19} & set(np.argwhere(labels == i)[:, 0])
    ]
    extents = [np.ptp(where, axis=0) + 1 for where in inner if len(where) > 50]
    assert extents
    for z, y, _ in extents:
        assert z <= 8
        assert z < y


def test_smooth_noise_varies_slowly() -> None:
    field = synthetic.smooth_noise(default_rng(0), (200, 200), 20.0)
    assert field.shape == (200, 200)
    assert np.abs(np.diff(field, axis=0)).max() < 0.4 * np.ptp(field)
    assert field.std() > 0.3
