"""Neighbouring slices are seen alike, and only of what trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator, default_rng

from volseg.errors import InputError
from volseg.training import synthetic
from volseg.training.augment import SIZE
from volseg.training.dense_pairs import (
    PairSource,
    all_pair_sources,
    generated_pairs,
    sample_pair,
    volume_pairs,
)


def still(rng: Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two slices that do not differ, but for an object that ends."""
    labels = np.zeros((90, 130), np.int32)
    top, left = rng.integers(0, 40, 2)
    labels[top : top + 30, left : left + 50] = 70_000
    following = labels.copy()
    labels[70:85, 100:125] = 4
    return (
        np.where(labels > 0, 200, 40).astype(np.uint8),
        labels,
        np.where(following > 0, 200, 40).astype(np.uint8),
        following,
    )


def test_both_slices_are_placed_alike() -> None:
    source = PairSource("still", 1.0, still, True)
    ended = 0
    for seed in range(20):
        here, there = sample_pair(default_rng(seed), source)
        assert here.image.shape == there.image.shape == (3, SIZE, SIZE)
        assert 0 <= here.image.min() <= here.image.max() <= 255
        assert set(np.unique(here.labels)) <= {0, 4, 70_000}
        np.testing.assert_array_equal(here.labels == 70_000, there.labels == 70_000)
        assert not (there.labels == 4).any()
        same = here.labels == there.labels
        assert np.abs(here.image - there.image)[:, same].mean() < 25
        ended += bool((here.labels == 4).any())
        again, _ = sample_pair(default_rng(seed), source)
        np.testing.assert_array_equal(here.image, again.image)
    assert ended > 5


def test_generated_slices_continue_each_other() -> None:
    source = generated_pairs("nuclei", 1.0, synthetic.nuclei, background=True)
    shared = []
    for seed in range(4):
        here, there = sample_pair(default_rng(seed), source)
        inside = here.labels > 0
        shared.append((there.labels == here.labels)[inside].mean())
    assert np.mean(shared) > 0.4


def test_only_what_trains_is_drawn(shared_data: Path) -> None:
    with pytest.raises(InputError, match="train"):
        volume_pairs(shared_data, "nuclei_ovule_1136", 1.0)
    names = [source.name for source in all_pair_sources(shared_data)]
    assert not [name for name in names if "1136" in name]
