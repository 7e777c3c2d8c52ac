"""The split: what validates never trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from volseg.errors import InputError, NotThereError
from volseg.training import data
from volseg.training.augment import SIZE, sample


def test_pictures_split_by_name_without_overlap(shared_data: Path) -> None:
    trains = set(data.picture_names(shared_data, validation=False))
    validates = set(data.picture_names(shared_data, validation=True))
    assert not trains & validates
    assert 0.10 < len(validates) / len(trains | validates) < 0.20


@pytest.mark.parametrize("name", [*data.SLABS, *data.NEVER_TRAINED, "nuclei_ovule_1135"])
def test_slabs_do_not_touch(name: str) -> None:
    depth = 140
    trains = set(range(depth)[data.slab(name, depth, validation=False)])
    validates = set(range(depth)[data.slab(name, depth, validation=True)])
    assert not trains & validates
    if trains and validates:
        assert min(validates) - max(trains) > 2


def test_the_ovule_kept_aside_never_trains(shared_data: Path) -> None:
    with pytest.raises(InputError, match="kept aside"):
        data.volume_source(shared_data, "nuclei_ovule_1136", 1.0)
    sources = data.all_sources(shared_data)
    assert not [path for s in sources for path in s.files if "1136" in str(path)]
    validates = set(data.picture_names(shared_data, validation=True))
    trained = {p.name.split(".")[0] for p in sources[0].files}
    assert trained
    assert not trained & validates
    assert len(data.data_hash(sources[1:3])) == 64


def test_a_missing_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="--data"):
        data.picture_names(tmp_path, validation=True)
    with pytest.raises(NotThereError, match="--data"):
        data.read_volume(tmp_path, "fibsem_medulla")


def bright_square(rng: np.random.Generator) -> tuple[data.Pixels, data.Labels]:
    labels = np.zeros((100, 140), np.int32)
    top, left = rng.integers(0, 60, 2)
    labels[top : top + 30, left : left + 40] = 3
    return np.where(labels > 0, 200, 40).astype(np.uint8), labels


def test_tiles_keep_image_and_labels_together() -> None:
    source = data.Source("squares", 1.0, bright_square, True)
    agreements = []
    for seed in range(30):
        tile = sample(default_rng(seed), source)
        assert tile.image.shape == (3, SIZE, SIZE)
        assert tile.labels.shape == (SIZE, SIZE)
        assert set(np.unique(tile.labels)) <= {0, 3}
        assert 0 <= tile.image.min() <= tile.image.max() <= 255
        inside = tile.labels > 0
        grey = tile.image.mean(0)
        ring = (~inside) & (np.abs(grey - np.median(grey[~inside])) < 60)
        agreements.append(abs(grey[inside].mean() - grey[ring].mean()))
    assert np.median(agreements) > 25
    first, second = sample(default_rng(1), source), sample(default_rng(1), source)
    np.testing.assert_array_equal(first.image, second.image)
