"""The segment job: what it writes is what propagation says, however it is cut, run, interrupted and resumed."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipelines.segmentation.volumes import make_truth, make_volume, oracle, point_prompts
from volseg.engine import Cancel
from volseg.engine.lease import Lease
from volseg.engine.ledger import Ledger
from volseg.errors import (
    BlocksFailedError,
    ExistsError,
    InputError,
    InterruptedRunError,
    LeaseHeldError,
    MemoryBudgetError,
    NameRefusedError,
    PlanMismatchError,
    PromptError,
    StorageFullError,
)
from volseg.images.image import Volume, open_volume
from volseg.images.pyramid import downsample_labels
from volseg.pipelines.segmentation import Plan, make_plan, make_plans, run, stored_plan
from volseg.pipelines.segmentation.inputs import slice_prompts
from volseg.pipelines.segmentation.predictors import OraclePredictor
from volseg.pipelines.segmentation.report import list_runs, show_run, verify_run
from volseg.propagation import compose_block, propagate, seed_masks
from volseg.storage import Store

SHAPE = (24, 72, 64)
TRUTH = make_truth(SHAPE, 5, seed=8)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return make_volume(str(tmp_path / "v.zarr"), TRUTH)


def plan_of(volume: Volume, **choices: Any) -> Plan:
    choices = {"model": oracle(volume), "window": 5, "group": 2} | choices
    return make_plan(volume, point_prompts(TRUTH), **choices)


def stored(volume: Volume, name: str) -> dict[str, bytes]:
    """The voxels' objects of a label image, as stored."""
    below = volume.output_store.sub(f"labels/{name}")
    return {s.key: below.get(s.key) for s in below.list() if s.key[0].isdigit()}


def expected(volume: Volume) -> np.ndarray[Any, Any]:
    """What propagation of all objects at once gives, painted at once."""
    predictor = OraclePredictor(volume.labels["truth"])
    plan = plan_of(volume)
    prompts = slice_prompts(plan.objects, 0, (1, 1, 1), plan.source.shape).prompts
    seeds = {
        i: {z: mask for z, (mask, _) in of.items()}
        for i, of in seed_masks(predictor, prompts).items()
    }
    tracks = propagate(predictor, seeds, prompts=prompts)
    whole = tuple((0, n) for n in plan.source.shape)
    return compose_block(whole, [(i, t, t.mean_confidence) for i, t in tracks.items()])  # type: ignore[arg-type]


# --- the result ------------------------------------------------------------------------------------------------------


def test_labels_are_what_propagation_says(work_url: str) -> None:
    volume = make_volume(f"{work_url}/v.zarr", TRUTH)
    result = run(plan_of(volume))
    found = np.asarray(result.labels.levels[0])
    np.testing.assert_array_equal(found, expected(volume))
    overlap = [
        2 * ((found == i) & (i == TRUTH)).sum() / ((found == i).sum() + (i == TRUTH).sum())
        for i in range(1, 6)
    ]
    assert np.mean(overlap) > 0.9  # and that is near the truth
    rows = {row.id: row for row in result.labels.objects.rows()}
    ids, counts = np.unique(found[found > 0], return_counts=True)
    assert {i: row.voxels for i, row in rows.items()} == dict(
        zip(ids.tolist(), counts.tolist(), strict=True)
    )
    for i, row in rows.items():
        where = np.argwhere(found == i)
        assert row.bbox == tuple(zip(where.min(0), where.max(0) + 1, strict=True))
        assert row.class_ == "cell"


def assert_cuts_agree(url: str, other: str, data: Any, client: Any = None) -> None:
    """A volume of any shape and chunks, run whole in this process, and cut in any way on workers and another store."""
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(20, 50), st.integers(20, 50)))
    truth = make_truth(shape, data.draw(st.integers(1, 5)), seed=data.draw(st.integers(0, 99)))
    chunks = st.tuples(st.integers(1, 9), st.integers(8, 40), st.integers(8, 40))
    found = []
    for place, window, group, cut in (
        (url, 64, 16, False),
        (other, data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3)), True),
    ):
        volume = make_volume(place, truth, chunks=data.draw(chunks))
        model, document = oracle(volume), point_prompts(truth)
        plan = make_plan(volume, document, model=model, window=window, group=group)
        if cut:
            times = data.draw(st.tuples(*[st.integers(1, 3)] * 3))
            z, y, x = (c * n for c, n in zip(plan.geometry.chunk, times, strict=True))
            blocks = {"owned": 1, "compose_shape": (z, y, x)}
            geometry = plan.geometry.model_copy(update=blocks)
            plan = plan.model_copy(update={"geometry": geometry})
        run(plan, client if cut else None)
        found.append(stored(volume, "cells"))
    assert found[0] == found[1]


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_cut_gives_the_same_labels(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.mktemp("cuts")
    assert_cuts_agree(str(folder / "a.zarr"), str(folder / "b.zarr"), data)


@pytest.mark.long
@pytest.mark.parametrize("place", ["folder", "s3"])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_any_cut_anywhere_gives_the_same_labels(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    place: str,
    workers: int,
) -> None:
    """Random shapes, chunks, blocks, windows and groups; in this process or on workers; a folder or S3."""
    from volseg.engine import open_cluster

    folder = tmp_path_factory.mktemp("cuts")
    there = str(folder) if place == "folder" else str(request.getfixturevalue("s3_url"))
    numbers = itertools.count()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def check(client: Any, data: Any) -> None:
        n = next(numbers)
        assert_cuts_agree(str(folder / f"whole-{n}.zarr"), f"{there}/cut-{n}.zarr", data, client)

    opened = open_cluster("local", workers=workers, memory=1 << 30) if workers else nullcontext()
    with opened as client:
        check(client)


def test_coarser_levels_are_the_mode_of_the_finer(tmp_path: Path) -> None:
    truth = np.kron(make_truth((9, 30, 70), 3), np.ones((1, 10, 10), np.uint32))
    volume = make_volume(str(tmp_path / "v.zarr"), truth)
    plan = make_plan(volume, point_prompts(truth), model=oracle(volume))
    small = plan.model_copy(
        update={
            "geometry": plan.geometry.model_copy(
                update={"owned": 1, "compose_shape": plan.geometry.chunk}
            )
        }
    )
    assert len(plan.geometry.levels) >= 3
    labels = run(plan).labels
    for level in range(1, len(labels.levels)):
        finer = np.asarray(labels.levels[level - 1])
        mode = downsample_labels(finer, plan.geometry.levels[level].factors)
        np.testing.assert_array_equal(np.asarray(labels.levels[level]), mode)
    before = stored(volume, "cells")
    other = small.model_copy(update={"overwrite": True})  # the pyramid stages instead of compose
    assert "pyramid-1" in run(other).report["stages"]
    assert stored(volume, "cells") == before


def test_a_coarser_level_and_a_later_time(tmp_path: Path) -> None:
    from volseg.images.create import create_volume

    truth = np.kron(make_truth((8, 40, 40), 2), np.ones((1, 8, 8), np.uint32))
    image = create_volume(
        str(tmp_path / "t.zarr"), axes="tczyx", shape=(2, 2, *truth.shape), dtype="uint8",
        scale_um=(1, 1, 1),
    )  # fmt: skip
    level = 1
    labels = image.create_labels("truth", level=level)
    coarse = downsample_labels(truth, (1, 2, 2))
    if labels.shape != coarse.shape:  # the image may halve z as well
        factors = [a // b for a, b in zip(truth.shape, labels.shape, strict=True)]
        coarse = downsample_labels(truth, factors)
    whole = tuple((0, n) for n in coarse.shape)
    labels.write_objects(whole, coarse, time=1)  # type: ignore[arg-type]
    document = point_prompts(truth)
    for one in document["objects"]:
        one["prompts"][0]["t"] = 1
    with pytest.raises(InputError, match="time point 0"):
        make_plan(image, document, model=oracle(image), level=level)
    plan = make_plan(image, document, model=oracle(image), level=level, time=1, channel=1)
    made = run(plan).labels
    assert made.shape == coarse.shape
    assert made.channel == 1
    found = made.read(whole, time=1)  # type: ignore[arg-type]
    assert 2 * ((found > 0) & (coarse > 0)).sum() / ((found > 0).sum() + (coarse > 0).sum()) > 0.9
    assert not made.read(whole, time=0).any()  # type: ignore[arg-type]


# --- interrupted, resumed, refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_at", [0, 3, 9, 14, 19])
def test_an_interrupted_run_goes_on_where_it_was(volume: Volume, stop_at: int) -> None:
    run(plan_of(volume, labels="undisturbed"))
    plan, cancel, ended = plan_of(volume), Cancel(), []

    def stop(stage: str, done: int, total: int, message: str = "") -> None:
        ended.append(message)
        if sum(map(bool, ended)) >= stop_at:
            cancel.request()

    with pytest.raises(InterruptedRunError, match="--resume"):
        run(plan, cancel=cancel, progress=stop)
    ledger = Ledger(volume.output_store, plan.hash)
    before = {
        (m.stage, m.block): m
        for s in ("seed", "propagate", "settle", "compose")
        for m in ledger.markers(s)
    }
    assert list_runs(volume)[-1].status == "interrupted"
    with pytest.raises(ExistsError, match="--resume"):
        run(plan)
    result = run(plan, resume=True)
    assert sum(c["resumed"] for c in result.report["stages"].values()) == len(before)
    after = {(m.stage, m.block): m for s in result.report["stages"] for m in ledger.markers(s)}
    assert {key: after[key] for key in before} == before
    assert stored(volume, "cells") == stored(volume, "undisturbed")
    assert verify_run(volume).complete


def test_resume_where_nothing_was_started_starts(volume: Volume) -> None:
    assert run(plan_of(volume), resume=True).status == "done"


def test_resume_finishes_what_is_finished_without_torch_or_dask(volume: Volume) -> None:
    run(plan_of(volume))
    code = (
        "import sys; import volseg; from volseg.pipelines.segmentation import stored_plan, run\n"
        f"volume = volseg.open({str(volume.location.url)!r})\n"
        "result = run(stored_plan(volume, 'cells'), resume=True)\n"
        "print(result.status, 'torch' in sys.modules, 'distributed' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["done", "False", "False"]


def test_another_plan_does_not_take_over(volume: Volume) -> None:
    run(plan_of(volume))
    other = plan_of(volume, window=7)
    with pytest.raises(ExistsError, match="--overwrite"):
        run(other)
    with pytest.raises(PlanMismatchError, match="geometry"):
        run(other, resume=True)
    with pytest.raises(InputError):
        run(other, resume=True, restart=True)
    assert stored_plan(volume, "cells").hash == plan_of(volume).hash
    assert run(plan_of(volume, window=7, overwrite=True)).status == "done"
    assert stored_plan(volume, "cells").hash == other.hash


def test_restart_computes_everything_again(volume: Volume) -> None:
    first = run(plan_of(volume)).report["stages"]
    again = run(plan_of(volume), restart=True).report["stages"]
    assert {k: c["done"] for k, c in again.items()} == {k: c["done"] for k, c in first.items()}
    assert all(c["resumed"] == 0 for c in again.values())


def test_labels_that_were_deleted_are_written_again(volume: Volume) -> None:
    plan = plan_of(volume)
    run(plan)
    before = stored(volume, "cells")
    volume.output_store.delete_all("labels/cells")
    key = "labels/zarr.json"
    document = json.loads(volume.output_store.get(key))
    document["attributes"]["ome"]["labels"] = ["truth"]
    volume.output_store.put(key, json.dumps(document).encode())
    result = run(plan, resume=True)
    assert stored(volume, "cells") == before
    assert result.report["stages"]["propagate"]["done"] == 0
    assert result.report["stages"]["compose"]["resumed"] == 0


def test_a_broken_group_is_left_out_and_mended_by_resume(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volseg.pipelines.segmentation.mask_stages import PropagateStage

    run(plan_of(volume, labels="undisturbed"))
    plan = plan_of(volume)
    compute = PropagateStage.compute

    def poisoned(self: PropagateStage, block: Any, context: Any) -> Any:
        if block.payload["group"] == 1 and block.payload["direction"] == -1:
            raise ZeroDivisionError("poison")
        return compute(self, block, context)

    monkeypatch.setattr(PropagateStage, "compute", poisoned)
    with pytest.raises(BlocksFailedError, match=r"propagate/g000001-down-.*poison.*--resume"):
        run(plan)
    monkeypatch.undo()
    details = show_run(volume)
    assert details.summary.status == "incomplete"
    left_out = details.report["objects"]["incomplete"]
    assert left_out
    found = set(np.unique(np.asarray(volume.labels["cells"].levels[0])).tolist()) - {0}
    assert found == set(range(1, 6)) - set(left_out)
    assert "poison" in details.describe()
    assert not verify_run(volume).complete
    run(plan, resume=True)
    assert stored(volume, "cells") == stored(volume, "undisturbed")
    assert verify_run(volume).complete
    assert show_run(volume).failures == []


def test_verify_finds_what_was_lost_or_changed(volume: Volume) -> None:
    run(plan_of(volume))
    assert verify_run(volume).complete
    keys = sorted(key for key in stored(volume, "cells") if "zarr.json" not in key)
    store = volume.output_store
    store.put(f"labels/cells/{keys[0]}", store.get(f"labels/cells/{keys[0]}"))
    assert verify_run(volume).rewritten == [f"labels/cells/{keys[0]}"]
    store.put(f"labels/cells/{keys[0]}", b"something else")
    store.delete(f"labels/cells/{keys[1]}")
    result = verify_run(volume)
    assert (result.changed, result.missing) == (
        [f"labels/cells/{keys[0]}"],
        [f"labels/cells/{keys[1]}"],
    )
    assert not result.complete


def test_verify_accepts_what_a_person_edited_since(volume: Volume) -> None:
    result = run(plan_of(volume))
    with result.labels.edit(annotator="ann") as editor:
        editor[12, 30:34, 30:34] = 3
        editor.flush()
    found = verify_run(volume)
    assert found.complete
    assert found.edited
    others = {f"labels/cells/{key}" for key in stored(volume, "cells") if "zarr" not in key}
    volume.output_store.put(sorted(others - set(found.edited))[0], b"not by hand")
    assert not verify_run(volume).complete


# --- refused before anything is written ------------------------------------------------------------------------------


def everything(volume: Volume) -> dict[str, str]:
    return {s.key: s.etag for s in volume.output_store.list()}


@pytest.mark.parametrize(
    ("choices", "error"),
    [
        ({"labels": "a/b"}, NameRefusedError),
        ({"labels": ".."}, NameRefusedError),
        ({"model": "no-such-model"}, InputError),
        ({"level": 7}, InputError),
        ({"time": 1}, InputError),
        ({"channel": 3}, InputError),
        ({"settings": {"patience": -1}}, InputError),
    ],
)
def test_wrong_choices_leave_nothing_behind(
    volume: Volume, choices: dict[str, Any], error: type[Exception]
) -> None:
    before = everything(volume)
    with pytest.raises(error):
        run(plan_of(volume, **choices))
    assert everything(volume) == before


def test_wrong_prompts_leave_nothing_behind(volume: Volume) -> None:
    before = everything(volume)
    document = point_prompts(TRUTH)
    document["objects"][0]["prompts"][0]["z"] = 500
    with pytest.raises(PromptError, match=r"objects\[0\].prompts\[0\].z"):
        make_plan(volume, document, model=oracle(volume))
    assert everything(volume) == before


def test_an_existing_label_image_is_not_touched(volume: Volume) -> None:
    before = everything(volume)
    with pytest.raises(ExistsError, match="truth"):
        run(plan_of(volume, labels="truth"))
    assert everything(volume) == before


def test_a_held_label_image_is_not_touched(volume: Volume) -> None:
    with Lease.acquire(volume.output_store, "cells", "other"):
        before = everything(volume)
        with pytest.raises(LeaseHeldError, match="process"):
            run(plan_of(volume))
        assert set(everything(volume)) == set(before)


def test_a_disk_that_is_full_at_once_leaves_nothing_behind(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(volume)
    put = Store.put

    def full(self: Store, key: str, data: bytes) -> str:
        if "labels/" in key or self.location.name == "cells":
            raise StorageFullError(f"{self.location}/{key}: no space left")
        return put(self, key, data)

    monkeypatch.setattr(Store, "put", full)
    with pytest.raises(StorageFullError):
        run(plan_of(volume))
    monkeypatch.undo()
    assert everything(volume) == before


def test_a_plan_over_its_budget_is_refused_with_the_numbers(volume: Volume) -> None:
    plan = plan_of(volume)
    plan.check_budget(2 << 30)
    with pytest.raises(MemoryBudgetError, match=r"GB.*GB"):
        plan.check_budget(1 << 20)


# --- plans -----------------------------------------------------------------------------------------------------------


def test_each_layer_becomes_a_label_image(volume: Volume) -> None:
    document = point_prompts(TRUTH)
    document["layers"].append({"name": "others"})
    for one in document["objects"]:
        one["layer"] = "cells" if one["id"] < 3 else "others"
    with pytest.raises(InputError, match="cells, others"):
        make_plan(volume, document, model=oracle(volume))
    plans = make_plans(volume, document, model=oracle(volume))
    assert [(p.labels.name, [o.id for o in p.objects]) for p in plans] == [
        ("cells", [1, 2]),
        ("others", [3, 4, 5]),
    ]
    for plan in plans:
        run(plan)
    assert {row.id for row in volume.labels["others"].objects.rows()} == {3, 4, 5}
    (only,) = make_plans(volume, document, labels="others", model=oracle(volume))
    assert only.hash == plans[1].hash


def test_a_plan_is_a_value(volume: Volume, tmp_path: Path) -> None:
    import shutil

    plan = plan_of(volume)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan_of(volume).hash == plan.hash
    path = volume.location.local_path
    assert path is not None
    shutil.copytree(path, tmp_path / "copy.zarr")
    copied = plan_of(open_volume(tmp_path / "copy.zarr"), model=plan.predictor)
    assert copied.hash == plan.hash  # where it lies does not matter
    assert plan_of(volume, window=6).hash != plan.hash
    assert plan_of(volume, settings={"patience": 1}).hash != plan.hash
    changed = plan.to_json() | {"settings": plan.settings.model_dump() | {"patience": 1}}
    with pytest.raises(PlanMismatchError):
        Plan.from_json(changed)
    assert plan.differences(plan_of(volume, window=6)) == ["geometry"]
    assert "24 × 72 × 64" in plan.describe()
