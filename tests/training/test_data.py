"""Sources: nothing that validates is drawn, families leave as a whole, tiles keep image and labels together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.random import default_rng

from volseg.errors import InputError, NotThereError
from volseg.training import data, recipes
from volseg.training.augment import SIZE, place, sample
from volseg.training.pictures import entries, read_picture
from volseg.training.sets import FAMILIES, SETS, DataSet, data_set


def small_set(root: Path, **rule: object) -> DataSet:
    """Write a set "cells" of three pictures, and a split.json with its rule."""
    folder = root / "cells"
    folder.mkdir()
    for name, grey in (("a", 40), ("b", 80), ("c", 120)):
        pixels, labels = bright_square(default_rng(grey))
        tifffile.imwrite(folder / f"{name}.tif", np.where(labels > 0, pixels, grey).astype("u1"))
        tifffile.imwrite(folder / f"{name}.labels.tif", labels.astype("u2"))
    (root / "split.json").write_text(json.dumps({"cells": rule}))
    return DataSet("cells", "", "CC0", "", background=True)


def test_only_the_training_half_of_a_set_is_drawn(tmp_path: Path) -> None:
    declared = small_set(tmp_path, train=["a"], validate=["c"])
    source = data.set_source(tmp_path, declared, 1.0)
    assert [path.name for path in source.files] == ["a.tif", "a.labels.tif"]
    for seed in range(20):
        pixels, labels = source.draw(default_rng(seed))
        assert labels.any()
        assert pixels.dtype == np.uint8
    assert len(data.data_hash([source])) == 64


def test_a_volume_gives_only_its_slab_along_every_axis(tmp_path: Path) -> None:
    folder = tmp_path / "block"
    folder.mkdir()
    depth = np.arange(20, dtype=np.uint16)[:, None, None] * np.ones((1, 40, 50), np.uint16)
    tifffile.imwrite(folder / "raw.tif", depth * 7)
    tifffile.imwrite(folder / "labels.tif", depth + 1)
    (tmp_path / "split.json").write_text(
        json.dumps({"block": {"train": "z < 8", "validate": "z >= 12"}})
    )
    declared = DataSet("block", "", "CC0", "", axes=(0, 1, 2))
    source = data.set_source(tmp_path, declared, 1.0)
    shapes, seen = set(), set()
    for seed in range(60):
        pixels, labels = source.draw(default_rng(seed))
        assert pixels.shape == labels.shape
        shapes.add(pixels.shape)
        seen |= set(np.unique(labels).tolist())
    assert shapes == {(40, 50), (8, 50), (8, 40)}
    assert seen == set(range(1, 9))


def test_what_only_validates_can_not_train(tmp_path: Path, shared_data: Path) -> None:
    declared = small_set(tmp_path, validate=["*"])
    with pytest.raises(InputError, match="kept aside"):
        data.set_source(tmp_path, declared, 1.0)
    with pytest.raises(InputError, match="kept aside"):
        data.set_source(shared_data, data_set("nuclei_ovule_1136"), 1.0)


def test_missing_data_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="--data"):
        data.all_sources(tmp_path)
    (tmp_path / "split.json").write_text('{"em_axon": {"validate": []}}')
    with pytest.raises(NotThereError, match="--data"):
        data.set_source(tmp_path, data_set("em_axon"), 1.0)


def test_a_picture_without_truth_or_of_another_shape_is_refused(tmp_path: Path) -> None:
    declared = small_set(tmp_path, train="all")
    tifffile.imwrite(tmp_path / "cells" / "b.labels.tif", np.zeros((9, 9), "u2"))
    with pytest.raises(InputError, match="truth"):
        data.set_source(tmp_path, declared, 1.0)
    (tmp_path / "cells" / "b.labels.tif").unlink()
    with pytest.raises(NotThereError, match=r"b\.labels\.tif"):
        data.set_source(tmp_path, declared, 1.0)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="phase"):
        data.all_sources(tmp_path, without="fase")
    with pytest.raises(InputError, match="all sets"):
        data.all_sources(tmp_path, recipe="everything")
    with pytest.raises(InputError, match="em_axon"):
        data_set("em_axons")


def test_recipes_name_every_set_that_trains_and_only_kinds_that_are(shared_data: Path) -> None:
    trains = {one.name for one in SETS if entries(shared_data, one, "train")}
    known = trains | set(data.PROCEDURES)
    for name, table in recipes.RECIPES.items():
        assert set(table) <= known, name
        assert all(weight > 0 for weight in table.values())
    assert set(recipes.shares(recipes.DEFAULT)) == known


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_leaves_as_a_whole(shared_data: Path, family: str) -> None:
    sources = data.all_sources(shared_data, without=family)
    assert sources
    assert family not in {source.family for source in sources}
    members = {one.name for one in SETS if one.family == family}
    assert not [p for s in sources for p in s.files if p.parent.name in members]


def test_axons_are_answered_with_and_without_their_myelin(shared_data: Path) -> None:
    _, levels = data.set_source(shared_data, data_set("em_axon"), 1.0).draw(default_rng(0))
    parts, axons, fibres = levels
    assert not parts.any()
    assert not ((axons > 0) & (fibres != axons)).any()
    assert 1.5 < (fibres > 0).sum() / (axons > 0).sum() < 4


@pytest.mark.long
def test_stained_nuclei_leave_with_histology(shared_data: Path) -> None:
    nuclei = data_set("nuclei_dsb2018")
    every = data.set_source(shared_data, nuclei, 1.0)
    fewer = data.set_source(shared_data, nuclei, 1.0, without="histology")
    gone = {p for p in set(every.files) - set(fewer.files) if ".labels" not in p.name}
    assert len(gone) > 50
    stained = {one.path: one for one in entries(shared_data, nuclei, "train") if one.path in gone}
    picture = read_picture(nuclei, next(iter(stained.values())))
    assert picture.is_stained
    for path in fewer.files[::40]:
        assert tifffile.imread(path).mean() <= 127


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


@pytest.mark.parametrize("shape", [(17, 23), (1, 300), (256, 256), (900, 1400), (700, 40, 3)])
def test_pictures_of_any_shape_become_tiles(shape: tuple[int, ...]) -> None:
    labels = np.zeros(shape[:2], np.uint16)
    labels[shape[0] // 2 :, -7:] = 40_000  # touches the edge and the corner

    def draw(rng: np.random.Generator) -> data.Drawn:
        return rng.integers(0, 256, shape, dtype=np.uint8), labels

    for seed in range(4):
        tile = sample(default_rng(seed), data.Source("any", 1.0, draw, False))
        assert tile.image.shape == (3, SIZE, SIZE)
        assert tile.labels.dtype == np.int32
        assert set(np.unique(tile.labels)) <= {0, 40_000}
        assert tile.labels.any()


def test_a_speck_in_a_large_picture_is_found_at_once() -> None:
    labels = np.zeros((2000, 3000), np.uint8)
    labels[1500:1506, 2000:2006] = 1
    pixels = labels * 255
    for seed in range(5):
        _, found = place(default_rng(seed), pixels, labels, on_object=True)
        assert found.any()


def test_what_a_tile_shows_does_not_depend_on_what_lies_outside() -> None:
    rng = default_rng(0)
    pixels = rng.integers(0, 256, (600, 800, 3), dtype=np.uint8)
    labels = np.zeros((600, 800), np.uint16)
    labels[100:500, 100:700] = 1
    for seed in range(10):
        image, _ = place(default_rng(seed), pixels, labels)
        again, _ = place(default_rng(seed), pixels[:, :, ::-1], labels)
        np.testing.assert_allclose(image, again[::-1], atol=1e-6)


def test_levels_are_cut_like_the_image() -> None:
    y, x = np.mgrid[:400, :400]
    distance = np.hypot(y - 200, x - 200)
    levels = np.stack([distance < 30, distance < 60, distance < 120]).astype(np.uint16)
    pixels = np.where(levels[0], 250, np.where(levels[1], 150, 50)).astype(np.uint8)
    source = data.Source("nested", 1.0, lambda rng: (pixels, levels), True)
    for seed in range(10):
        tile = sample(default_rng(seed), source)
        assert tile.levels is not None
        part, middle, group = tile.levels > 0
        np.testing.assert_array_equal(tile.levels[1], tile.labels)
        assert not (part & ~middle).any()
        assert not (middle & ~group).any()
