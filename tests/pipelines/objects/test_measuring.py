"""Features of objects: what they are, that no cut changes a byte, and that a broken-off run goes on."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.measure import regionprops

from tests.pipelines.segmentation.volumes import make_truth, make_volume
from volseg.errors import InputError, MemoryBudgetError
from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.measurement.block_sums import margin_of, sum_block
from volseg.pipelines.objects import FeatureOptions, make_plan, measure
from volseg.pipelines.objects import job as jobs
from volseg.pipelines.objects.places import place_of_table
from volseg.pipelines.objects.plan import CHANNEL_VOXEL_BYTES, OBJECT_BYTES, VOXEL_BYTES

SCALE = (2.0, 0.5, 0.5)


@pytest.fixture(scope="module")
def truth() -> np.ndarray[Any, Any]:
    """Twelve oblique ellipsoids, some touching, with large and unordered ids."""
    found = make_truth((7, 70, 90), 12, seed=2)
    return np.where(found > 0, (found.astype(np.int64) * 7919) % 100_003, 0).astype(np.uint32)


@pytest.fixture
def volume(tmp_path: Path, truth: np.ndarray[Any, Any]) -> Volume:
    return make_volume(str(tmp_path / "v.zarr"), truth, scale_um=SCALE)


def stored(volume: Volume, plan: Any) -> bytes:
    labels = volume.labels[plan.labels.name]
    return volume.output_store.get(place_of_table(volume, labels, plan.definition))


def test_names_of_scikit_image_mean_what_they_mean_there(
    volume: Volume, truth: np.ndarray[Any, Any]
) -> None:
    measured = measure(volume, "truth")
    rows, names = measured.table.rows(), measured.plan.definition.names
    image = volume.read(((0, 7), (0, 70), (0, 90)))
    props = regionprops(truth.astype(np.int32), intensity_image=image, spacing=SCALE)
    assert rows.ids.tolist() == [one.label for one in props]
    np.testing.assert_allclose(rows.centroids, [one.centroid for one in props])
    for name in (
        "area",
        "equivalent_diameter_area",
        "axis_major_length",
        "axis_minor_length",
        "extent",
    ):
        expected = [getattr(one, name) for one in props]
        np.testing.assert_allclose(rows.values[:, names.index(name)], expected, rtol=1e-5)
    for name in ("intensity_mean", "intensity_std", "intensity_min", "intensity_max"):
        expected = [getattr(one, name) for one in props]
        np.testing.assert_allclose(rows.values[:, names.index(f"{name}-0")], expected, rtol=1e-5)


def test_no_cut_into_blocks_changes_a_byte(volume: Volume) -> None:
    cuts = [(7, 70, 90), (3, 41, 90), (7, 36, 53)]
    files = []
    for block in cuts:
        plan = make_plan(volume, "truth", FeatureOptions.of(ring=4), block=block)
        jobs.run(plan, volume, restart=True)
        files.append(stored(volume, plan))
    assert len(set(files)) == 1


@pytest.mark.long
def test_workers_and_one_process_write_the_same(volume: Volume) -> None:
    plan = make_plan(volume, "truth", block=(4, 40, 50))
    jobs.run(plan, volume)
    alone = stored(volume, plan)
    jobs.run(plan, volume, restart=True, workers=2)
    assert stored(volume, plan) == alone


def test_a_broken_off_run_goes_on_and_a_finished_one_is_not_repeated(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volseg.pipelines.objects import measure_stages

    plan = make_plan(volume, "truth", block=(4, 40, 50))
    calls = itertools.count()
    sum_block = measure_stages.sum_block

    def interrupted(*given: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return sum_block(*given)

    monkeypatch.setattr(measure_stages, "sum_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        jobs.run(plan, volume)
    assert next(calls) == 4
    done = jobs.run(plan, volume)
    assert next(calls) == 5 + 8 - 3  # of eight blocks three were done before
    monkeypatch.setattr(measure_stages, "sum_block", sum_block)
    whole = stored(volume, plan)
    assert jobs.run(plan, volume).seconds == 0.0 and done.seconds > 0
    assert not list(volume.output_store.list(f"volseg/runs/{plan.hash}/data"))
    jobs.run(plan, volume, restart=True)
    assert stored(volume, plan) == whole


def test_an_edit_makes_the_table_stale(volume: Volume) -> None:
    before = measure(volume, "truth").table.rows()
    with volume.labels["truth"].edit(annotator="anna") as editor:
        editor[3, 0:4, 0:4] = int(before.ids[0])
    after = measure(open_volume(volume.location), "truth")
    assert after.seconds > 0
    assert after.table.rows().voxels[0] == before.voxels[0] + 16


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_channels_times_and_types(tmp_path: Path, dtype: str) -> None:
    """Two times and channels in 2D; floats are as good as whole numbers of 16 bits, and no number counts as dark."""
    rng = np.random.default_rng(1)
    shape = (1, 60, 70)
    volume = create_volume(
        str(tmp_path / "v.zarr"), axes="tcyx", shape=(2, 2, 60, 70), dtype=dtype, scale_um=SCALE
    )
    ids = np.zeros(shape, np.uint16)
    ids[0, 5:20, 5:30], ids[0, 30:50, 40:60] = 4, 9
    whole = tuple((0, n) for n in shape)
    data = {}
    for t, c in itertools.product(range(2), range(2)):
        data[t, c] = (rng.random(shape) * 900 + 100 * t + 1000 * c).astype(dtype)
        volume.write(whole, data[t, c], time=t, channel=c)
    labels = volume.create_labels("cells")
    for t in range(2):
        labels.write_objects(whole, ids.astype(np.uint32) * (1 + t), time=t)
    measured = measure(volume, "cells")
    rows, names = measured.table.rows(), measured.plan.definition.names
    assert list(zip(rows.times, rows.ids, strict=True)) == [(0, 4), (0, 9), (1, 8), (1, 18)]
    for at, (t, one) in enumerate([(0, 4), (0, 9), (1, 4), (1, 9)]):
        for c in range(2):
            expected = data[t, c][ids == one].mean()
            assert rows.values[at, names.index(f"intensity_mean-{c}")] == pytest.approx(
                expected, rel=1e-4
            )
    assert "perimeter_crofton" in names and "surface_area" not in names


def test_a_block_takes_no_more_memory_than_planned(volume: Volume) -> None:
    plan = make_plan(volume, "truth", block=(7, 70, 90))
    wide = [n + 2 * m for n, m in zip(plan.block, margin_of(plan.definition), strict=True)]
    rng = np.random.default_rng(0)
    blocks = np.kron(np.arange(1, 122).reshape(1, 11, 11), np.ones((wide[0], 11, 11)))
    labels = blocks[:, : wide[1], : wide[2]].astype(np.uint32)
    image = rng.integers(0, 255, labels.shape, np.uint8)
    tracemalloc.start()
    sum_block(labels, [image], (0, 0, 0), plan.definition, plan.scales_of(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (VOXEL_BYTES + CHANNEL_VOXEL_BYTES) * labels.size + 121 * OBJECT_BYTES
    assert plan.memory_per_worker > peak
    with pytest.raises(MemoryBudgetError, match="fewer --channels"):
        plan.check_budget(plan.memory_per_worker - 1)


def test_nothing_to_measure_gives_an_empty_table(tmp_path: Path) -> None:
    volume = create_volume(
        str(tmp_path / "v.zarr"), axes="zyx", shape=(3, 20, 20), dtype="uint8", scale_um=SCALE
    )
    volume.create_labels("cells")
    assert len(measure(volume, "cells").table.rows()) == 0


def test_what_can_t_be_measured_is_told(tmp_path: Path, volume: Volume) -> None:
    with pytest.raises(InputError, match="channel 3 does not exist"):
        make_plan(volume, "truth", FeatureOptions.of(channels="0,3"))
    with pytest.raises(InputError, match="--channels 'red'"):
        FeatureOptions.of(channels="red")
    with pytest.raises(InputError, match=r"features asked for are of 2D"):
        make_plan(
            volume,
            "truth",
            definition=make_plan(volume, "truth").definition.model_copy(update={"flat": True}),
        )


def test_no_cut_changes_the_embedding_of_an_object(tmp_path: Path) -> None:
    """Tiles that overlap, a cache that one run fills and the next reads."""
    truth = make_truth((1, 40, 56), 5, seed=4)
    volume = make_volume(str(tmp_path / "v.zarr"), truth, scale_um=SCALE)
    options = FeatureOptions.of(embedding="nano", zoom=8.0, channels="none")
    files = []
    for block in ((1, 40, 56), (1, 23, 31)):
        plan = make_plan(volume, "truth", options, block=block)
        jobs.run(plan, volume, restart=True)
        files.append(stored(volume, plan))
    assert files[0] == files[1]
    rows, names = measure(volume, "truth", options).table.rows(), plan.definition.names
    numbers = rows.values[:, names.index("embedding_mean-0") :]
    assert numbers.shape == (5, 256) and np.isfinite(numbers).all()
    assert len(np.unique(numbers[:, 0])) == 5
