"""Procedural images: the same for the same seed, in two and three dimensions, not trivial."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import default_rng

from volseg.training import synthetic

FLAT = (synthetic.phase_rods, synthetic.channels, synthetic.stained_tissue)
COLOURED = FLAT[1:]
SOLID = (
    synthetic.fibres,
    synthetic.membranes,
    synthetic.micrographs,
    synthetic.nuclei,
    synthetic.organs,
    synthetic.phase_cells,
    synthetic.stained_cells,
    synthetic.tissue,
    synthetic.tubes,
    synthetic.walls,
)
NESTED = (
    synthetic.channels,
    synthetic.fibres,
    synthetic.micrographs,
    synthetic.stained_cells,
    synthetic.stained_tissue,
    synthetic.tubes,
)
IN_SPACE = [(make, shape) for make in SOLID for shape in ((96, 96), (10, 48, 48))]
MADE = IN_SPACE + [(make, (96, 96)) for make in FLAT]


@pytest.mark.parametrize(("make", "shape"), MADE)
def test_the_seed_decides(make: Callable[..., tuple], shape: tuple[int, ...]) -> None:
    image, labels = make(default_rng(3), shape)
    again, labels_again = make(default_rng(3), shape)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, labels_again)
    other, _ = make(default_rng(4), shape)
    assert not np.array_equal(image, other)
    assert image.shape == ((*shape, 3) if make in COLOURED else shape)
    assert labels.shape == ((3, *shape) if make in NESTED else shape)
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


@pytest.mark.parametrize("make", [make for make in NESTED if make is not synthetic.tubes])
def test_parts_lie_within_wholes_and_wholes_within_groups(make: Callable[..., tuple]) -> None:
    several = 0
    for seed in range(6):
        _, (parts, wholes, groups) = make(default_rng(seed), (128, 128))
        assert not ((parts > 0) & (wholes == 0)).any()
        assert not ((wholes > 0) & (groups == 0)).any() or not groups.any()
        several += len(np.unique(wholes)) > 2
    assert several >= 4


@pytest.mark.parametrize("make", [*SOLID, *FLAT])
@pytest.mark.parametrize("shape", [(17, 23), (40, 300)])
def test_any_shape_can_be_made(make: Callable[..., tuple], shape: tuple[int, ...]) -> None:
    for seed in range(3):
        image, labels = make(default_rng(seed), shape)
        assert image.shape[:2] == labels.shape[-2:] == shape
        assert np.isfinite(image).all()


@pytest.mark.parametrize("make", [*SOLID, *FLAT])
def test_pictures_differ_and_most_have_objects(make: Callable[..., tuple]) -> None:
    made = [make(default_rng(seed), (128, 128)) for seed in range(8)]
    assert np.std([float(image.mean()) for image, _ in made]) > 0.01
    assert sum(bool(labels.any()) for _, labels in made) >= 6


def test_cells_without_gaps_fill_everything_and_vary_in_size() -> None:
    labels = synthetic.packed_cells(default_rng(0), (160, 200), 20.0, bend=1.0, bend_scale=4.0)
    assert labels.min() > 0
    sizes = np.bincount(labels.ravel())
    sizes = sizes[sizes > 0]
    assert 30 < len(sizes) < 250
    assert sizes.max() > 1.8 * np.median(sizes)
    again = synthetic.packed_cells(default_rng(0), (160, 200), 20.0, jitter=0.0, bend=0.0)
    assert len(np.unique(again)) == pytest.approx(80, rel=0.5)


def test_spots_keep_apart_and_know_their_depth() -> None:
    labels, depth = synthetic.scatter_spots(default_rng(0), (120, 120), 5.0, crowding=0.7)
    assert np.all((depth < 1) == (labels > 0))
    sizes = np.bincount(labels.ravel())[1:]
    sizes = sizes[sizes > 0]
    assert np.median(np.sqrt(sizes / np.pi)) == pytest.approx(5, rel=0.3)
    assert 0.1 < (labels > 0).mean() < 0.6
