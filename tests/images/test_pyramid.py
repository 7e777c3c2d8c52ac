"""Pyramids: the same bytes however they are cut, only whole objects, only what lies above an edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.images import reference
from volseg.geometry import Grid, coarsened, slices
from volseg.images.create import create_volume
from volseg.images.image import Volume
from volseg.images.labels import Labels
from volseg.images.pyramid import (
    build_image_pyramid,
    build_pyramid,
    make_block,
    owned_levels,
    pyramid_blocks,
    update_pyramid,
    write_with_coarser,
)


def make(
    url: Any, shape: tuple[int, ...] = (9, 75, 130), axes: str = "zyx", **options: Any
) -> Volume:
    given = {"dtype": "u1", "scale_um": (0.4, 0.2, 0.2), "chunks": (4, 16, 16), "levels": 3}
    return create_volume(url, axes=axes, shape=shape, **(given | options))


def filled(volume: Volume, data: np.ndarray, name: str = "cells", **options: Any) -> Labels:
    labels = volume.create_labels(name, data.dtype, **({"chunks": (4, 16, 16)} | options))
    labels.write_objects(tuple((0, n) for n in data.shape), data)
    return labels


def expected(labels: Labels, data: np.ndarray) -> list[np.ndarray]:
    levels = [data]
    for fine, coarse in zip(labels.factors, labels.factors[1:], strict=False):
        step = tuple(b // a for a, b in zip(fine, coarse, strict=True))
        levels.append(reference.mode(levels[-1], step, labels.metadata.keep_thin))
    return levels


def assert_pyramid(labels: Labels, data: np.ndarray) -> None:
    for level, wanted in zip(labels.levels, expected(labels, data), strict=True):
        np.testing.assert_array_equal(np.asarray(level), wanted)


def contents(labels: Labels) -> dict[str, bytes]:
    return {s.key: labels.store.get(s.key) for s in labels.store.list() if "volseg" not in s.key}


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_built_like_the_reference(work_url: str, ngff: str) -> None:
    data = reference.blobs((9, 75, 130), 40, seed=1)
    labels = filled(make(f"{work_url}/v.zarr", ngff=ngff), data)
    assert [level.shape for level in labels.levels] == [(9, 75, 130), (9, 38, 65), (5, 19, 33)]
    messages: list[tuple[int, int]] = []
    written = build_pyramid(labels, progress=lambda s, d, t, m="": messages.append((d, t)))
    assert_pyramid(labels, data)
    assert messages[-1][0] == messages[-1][1] == len(messages)
    assert {item.key for item in written if item.etag} == {
        stat.key for i in (1, 2) for stat in labels.store.list(str(i)) if "zarr" not in stat.key
    }


def test_ids_beyond_double_precision(tmp_path: Path) -> None:
    data = reference.blobs((9, 75, 130), 40, seed=2, dtype="uint64")
    data[data > 0] += np.uint64(2**53)
    labels = filled(make(tmp_path / "v.zarr"), data)
    build_pyramid(labels)
    assert_pyramid(labels, data)


@pytest.mark.parametrize("keep_thin", [False, True])
def test_large_volumes_are_compiled_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_thin: bool
) -> None:
    data = reference.blobs((9, 75, 130), 40, seed=2)
    labels = filled(make(tmp_path / "v.zarr"), data, keep_thin=keep_thin)
    monkeypatch.setattr("volseg.images.pyramid.COMPILED_FROM", data.size)
    build_pyramid(labels)
    assert_pyramid(labels, data)


@pytest.mark.parametrize("value", [0, 5])
def test_uniform_volumes(tmp_path: Path, value: int) -> None:
    data = np.full((9, 75, 130), value, np.uint32)
    labels = filled(make(tmp_path / "v.zarr"), data)
    build_pyramid(labels)
    assert_pyramid(labels, data)
    if value == 0:
        assert not [s for s in labels.store.list() if "zarr" not in s.key]


def test_thin_objects_kept_where_asked_for(tmp_path: Path) -> None:
    data = np.zeros((9, 75, 130), np.uint32)
    data[4, 50, :] = 3
    labels = filled(make(tmp_path / "v.zarr"), data, keep_thin=True)
    build_pyramid(labels)
    assert_pyramid(labels, data)
    assert (np.asarray(labels.levels[2]) == 3).any()
    plain = filled(make(tmp_path / "w.zarr"), data)
    build_pyramid(plain)
    assert not np.asarray(plain.levels[2]).any()


def test_the_cutting_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = reference.blobs((9, 75, 130), 40, seed=3)
    volume = make(tmp_path / "v.zarr")
    one, other, third = (filled(volume, data, name) for name in ("one", "other", "third"))
    build_pyramid(one, threads=1)
    monkeypatch.setattr("volseg.images.mapping.BLOCK_BYTES", 1)
    assert len(pyramid_blocks(other, 1)) > 1
    build_pyramid(other, threads=3)
    monkeypatch.undo()
    for region in third.grid.blocks((2, 2, 3)):
        write_with_coarser(third, region, data[slices(region)])
    for level in (1, 2):
        for block in pyramid_blocks(third, level):
            make_block(third, level, block)
    documents = [
        {key: value for key, value in contents(labels).items() if not key.endswith("zarr.json")}
        for labels in (one, other, third)
    ]
    assert documents[0] == documents[1] == documents[2]


def test_a_writer_makes_the_levels_that_it_owns(tmp_path: Path) -> None:
    data = reference.blobs((9, 75, 130), 40, seed=4)
    labels = make(tmp_path / "v.zarr").create_labels("cells", chunks=(4, 16, 16))
    block = ((0, 8), (0, 64), (64, 128))
    assert owned_levels(labels, block) == [0, 1, 2]
    assert owned_levels(labels, ((0, 4), (0, 32), (0, 32))) == [0, 1]
    assert owned_levels(labels, ((0, 4), (16, 32), (0, 32))) == [0]
    assert owned_levels(labels, ((0, 4), (0, 15), (0, 32))) == []
    border = ((8, 9), (64, 75), (128, 130))
    assert owned_levels(labels, border) == [0, 1, 2]
    for region in (block, border):
        write_with_coarser(labels, region, data[slices(region)])
    for level, wanted in enumerate(expected(labels, data)):
        for region in (block, border):
            part = coarsened(region, labels.factors[level])
            np.testing.assert_array_equal(labels.read(part, level=level), wanted[slices(part)])


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_updates_touch_only_the_objects_above(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    shape = tuple(data.draw(st.integers(1, n)) for n in (9, 70, 70))
    voxels = reference.blobs(shape, 10, seed=5)  # type: ignore[arg-type]
    volume = make(tmp_path_factory.mktemp("p") / "v.zarr", shape=shape, levels=3)
    labels = filled(volume, voxels, chunks=(4, 8, 8))
    build_pyramid(labels)
    region = []
    for n in shape:
        low = data.draw(st.integers(0, n - 1))
        region.append((low, data.draw(st.integers(low + 1, n))))
    voxels[slices(tuple(region))] = data.draw(st.sampled_from([0, 99]))  # type: ignore[arg-type]
    whole = labels.grid.whole(tuple(region))  # type: ignore[arg-type]
    labels.write_objects(whole, voxels[slices(whole)])
    before = {s.key: s.etag for s in labels.store.list()}
    written = {item.key for item in update_pyramid(labels, tuple(region))}  # type: ignore[arg-type]
    after = {s.key: s.etag for s in labels.store.list()}
    assert_pyramid(labels, voxels)
    allowed = {
        key
        for level, factors in enumerate(labels.factors)
        if level
        for key in labels.levels[level].object_keys(coarsened(tuple(region), factors))  # type: ignore[arg-type]
    }
    assert written == allowed
    assert {key for key in before | after if before.get(key) != after.get(key)} <= allowed


def test_every_time_point_has_its_own(tmp_path: Path) -> None:
    volume = make(tmp_path / "v.zarr", (2, 4, 75, 75), "tzyx")
    labels = volume.create_labels("cells", chunks=(4, 16, 16))
    data = [reference.blobs((4, 75, 75), 20, seed=s) for s in (6, 7)]
    for time in (0, 1):
        labels.write_objects(((0, 4), (0, 75), (0, 75)), data[time], time=time)
    build_pyramid(labels, time=1)
    assert not np.asarray(labels.levels[1])[0].any()
    build_pyramid(labels)
    for time in (0, 1):
        for level, wanted in zip(labels.levels, expected(labels, data[time]), strict=True):
            np.testing.assert_array_equal(level[time], wanted)


def test_on_dask_workers(work_url: str) -> None:
    from distributed import Client, LocalCluster

    data = reference.blobs((9, 75, 130), 40, seed=8)
    labels = filled(make(f"{work_url}/v.zarr"), data, chunks=(4, 16, 16))
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        written = build_pyramid(labels, client=client)
    assert_pyramid(labels, data)
    assert len({item.key for item in written}) == len(written)


def test_image_pyramids_are_averages(tmp_path: Path) -> None:
    volume = make(tmp_path / "v.zarr", (2, 9, 76, 130), "czyx")
    data = np.random.default_rng(0).integers(0, 256, (2, 9, 76, 130), dtype=np.uint8)
    for channel in (0, 1):
        volume.write(((0, 9), (0, 76), (0, 130)), data[channel], channel=channel)
    build_image_pyramid(volume)
    found = volume.read(((0, 9), (0, 38), (0, 65)), level=1, channel=1).astype(float)
    wanted = data[1].reshape(9, 38, 2, 65, 2).mean(axis=(2, 4))
    assert np.abs(found - wanted).max() <= 0.5
    assert volume.read(((0, 5), (0, 19), (0, 33)), level=2).any()


def test_memory_of_a_block_is_bounded() -> None:
    from volseg.images.mapping import BLOCK_BYTES, block_multiple

    grid = Grid((1000, 4000, 4000), (8, 256, 256))
    multiple = block_multiple(grid, (2, 2, 2), np.dtype("u4"))
    finer = np.prod(multiple) * 8 * 256 * 256 * 8 * 4
    assert BLOCK_BYTES / 4 < finer <= BLOCK_BYTES
