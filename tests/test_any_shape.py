"""Any volume, whoever wrote it, goes through import, segment and export; no cut into blocks shows in what comes out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings

import volseg
from tests.any_shape import (
    Drawn,
    coarser,
    prompts_on,
    volumes,
    write_image,
    write_labels_of_others,
    write_truth,
)  # fmt: skip
from tests.conftest import PROJECT
from tests.peaks import block_peaks
from volseg.images.image import Volume, open_volume
from volseg.pipelines.segmentation import Plan, make_plan, run
from volseg.pipelines.segmentation.estimates import estimate
from volseg.pipelines.segmentation.inputs import slice_prompts
from volseg.pipelines.segmentation.plan import PlannedOracle
from volseg.pipelines.segmentation.predictors import OraclePredictor
from volseg.propagation import compose_block, propagate, seed_masks

OTHER = 99
"""An object of others, that stays."""
MB = 1_000_000


@pytest.fixture(scope="session")
def first_block() -> int:
    """Bytes that a fresh process takes for its first, smallest block: what later blocks find there already."""
    code = "from tests import test_any_shape as t; t.print_first_block()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


def print_first_block() -> None:
    """Segment the smallest volume and print the largest peak of its blocks, bytes."""
    with tempfile.TemporaryDirectory() as folder:
        peaks = assert_segmented(Path(folder), imported((1, 1, 1)))
    print(max(peaks.values()))


def assert_segmented(
    folder: Path, drawn: Drawn, client: Any = None, first_block: int = 0
) -> dict[str, int]:
    """Import or write, segment with a perfect model, export: all voxels of all levels, and the memory.

    Returns the peaks of each stage's blocks, bytes.
    """
    volume = write_image(folder, drawn)
    truth = write_truth(volume, drawn)
    before = np.zeros_like(truth)
    existing = drawn.existing is not None and drawn.writer == "zarr"
    if existing:
        before[tuple(slice(0, -(-n // 3)) for n in before.shape)] = OTHER
        write_labels_of_others(volume, drawn, before)
        volume = open_volume(folder / "v.zarr")
    plan = make_plan(
        volume, prompts_on(volume, drawn, truth), labels="cells", level=drawn.level,
        time=volume.n_times - 1, channel=volume.n_channels - 1, into_existing=existing,
        model=PlannedOracle(url=str(volume.location.url), name="truth"),
        window=drawn.window, group=drawn.group,
    )  # fmt: skip
    plan = cut_otherwise(plan, drawn)
    peaks: dict[str, int] = {}
    with block_peaks(peaks) if client is None else nullcontext():
        labels = run(plan, client).labels
    assert_memory(plan, peaks, first_block)
    wanted = whole(volume, plan)
    wanted = np.where((wanted > 0) & (before == 0), wanted, before)
    for one in plan.objects:
        assert (before > 0).any() or (wanted == one.id).any(), f"object {one.id} was not found"
    for level, array in enumerate(labels.levels):
        if level:
            wanted = coarser(wanted, plan.geometry.levels[level].factors, array.grid.shape)
        region: Any = tuple((0, n) for n in array.grid.shape)
        found = labels.read(region, level=level, time=plan.source.time)
        np.testing.assert_array_equal(found, wanted, err_msg=f"level {level}")
    volseg.export(labels, folder / "out.tif", time=plan.source.time)
    exported = tifffile.imread(folder / "out.tif")
    region = tuple((0, n) for n in labels.shape)
    stored = labels.read(region, time=plan.source.time)
    np.testing.assert_array_equal(exported.reshape(labels.shape), stored)
    return peaks


def cut_otherwise(plan: Plan, drawn: Drawn) -> Plan:
    """The plan in other compose blocks, leaving all coarser levels to the pyramid's stages."""
    if drawn.cut is None:
        return plan
    z, y, x = (c * n for c, n in zip(plan.geometry.chunk, drawn.cut, strict=True))
    geometry = plan.geometry.model_copy(update={"owned": 1, "compose_shape": (z, y, x)})
    source, labels = plan.source, plan.labels
    estimates = estimate(
        source.shape, source.dtype, geometry, plan.predictor, plan.objects, labels.dtype,
        plan.existing is not None,
    )  # fmt: skip
    return plan.model_copy(update={"geometry": geometry, "estimates": estimates})


def whole(volume: Volume, plan: Plan) -> np.ndarray[Any, Any]:
    """All objects followed at once through the whole volume and painted at once: no blocks, windows or groups."""
    predictor = OraclePredictor(volume.labels["truth"], plan.source.time)
    source = plan.source
    prompts = slice_prompts(plan.objects, source.time, source.factors, source.shape).prompts
    seeds = {
        i: {z: mask for z, (mask, _) in of.items()}
        for i, of in seed_masks(predictor, prompts).items()
    }
    tracks = propagate(predictor, seeds, prompts=prompts)
    region: Any = tuple((0, n) for n in source.shape)
    return compose_block(region, [(i, t, t.mean_confidence) for i, t in tracks.items()])


def assert_memory(plan: Plan, peaks: dict[str, int], first_block: int) -> None:
    """The memory that was planned is enough, and not much more than was needed by a fresh process."""
    planned = plan.estimates.task_bytes
    for stage, peak in peaks.items():
        assert peak <= planned[stage.partition("-")[0]], (stage, plan.geometry)
    needed = max(peaks.values(), default=0) + first_block
    assert max(planned.values()) <= 2 * needed + 64 * MB or not peaks


def imported(shape: tuple[int, int, int], **how: Any) -> Drawn:
    """A volume that is imported as it is, in windows and blocks as planned."""
    plain = Drawn(
        shape=shape, times=0, channels=0, scale=(1.0, 1.0, 1.0), writer="import", zarr_format=3,
        separator="/", chunks=(8, 256, 256), factors=(), up=True, level=0, existing=None,
        window=16, group=8, cut=None, seed=4,
    )  # fmt: skip
    return replace(plain, **how)


CHOSEN = [
    imported((1, 17, 1), seed=743),
    imported((1, 1, 1), times=1, channels=1),
    imported((1, 1, 1), times=2, writer="zarr", zarr_format=2, chunks=(1, 4, 4), seed=1),  # t, y, x
    imported((20, 300, 300)),
    imported((3, 129, 1025), cut=(1, 1, 1), window=2, group=1),
    imported((1, 1999, 2000)),
    imported((1, 2000, 3), times=2, channels=1),
    imported((2, 257, 509), writer="zarr", factors=((1, 2, 2), (2, 3, 2)), up=False, zarr_format=2),
    imported((9, 255, 257), writer="zarr", factors=((1, 3, 3),), level=1, existing=(5, 77, 100)),
]


@pytest.mark.parametrize("drawn", CHOSEN, ids=lambda drawn: "x".join(map(str, drawn.shape)))
def test_chosen_volumes(tmp_path: Path, drawn: Drawn, first_block: int) -> None:
    assert_segmented(tmp_path, drawn, first_block=first_block)


@settings(max_examples=34, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=volumes(voxels=20_000, longest=(24, 300, 300)))
def test_any_small_volume(
    tmp_path_factory: pytest.TempPathFactory, drawn: Drawn, first_block: int
) -> None:
    assert_segmented(tmp_path_factory.mktemp("any"), drawn, first_block=first_block)


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_any_volume(
    tmp_path_factory: pytest.TempPathFactory, workers: int, first_block: int
) -> None:
    """Up to eight million voxels, 500 volumes in all: most in this process, some on one and on two workers."""
    from volseg.engine import open_cluster

    @settings(
        max_examples=20 if workers else 460, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(drawn=volumes(voxels=8_000_000, longest=(2000, 2000, 2000)))
    def check(client: Any, drawn: Drawn) -> None:
        folder = tmp_path_factory.mktemp("any")
        try:
            assert_segmented(folder, drawn, client, first_block)
        finally:
            shutil.rmtree(folder)

    opened = open_cluster("local", workers=workers, memory=1 << 30) if workers else nullcontext()
    with opened as client:
        check(client)
