"""Segmenting into labels that exist: other objects stay, and so does what people edited, before and meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipelines.segmentation.volumes import make_truth, make_volume, oracle, point_prompts
from volseg.editing import JournalIndex, labels_now
from volseg.engine import Cancel
from volseg.errors import (
    ExistsError,
    InputError,
    InterruptedRunError,
    LeaseHeldError,
    NotThereError,
    PlanMismatchError,
)
from volseg.images.downsample import downsample_labels
from volseg.images.image import Volume, open_volume
from volseg.images.labels import Labels
from volseg.pipelines.segmentation import Plan, list_runs, make_plan, run, verify_run

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (16, 72, 64)
TRUTH = make_truth(SHAPE, 4, seed=8)
OLD, NEW = (1, 2), (3, 4)


def prompts_of(ids: tuple[int, ...]) -> dict[str, Any]:
    document = point_prompts(TRUTH)
    document["objects"] = [one for one in document["objects"] if one["id"] in ids]
    return document


def plan_of(volume: Volume, ids: tuple[int, ...], **choices: Any) -> Plan:
    choices = {"model": oracle(volume), "window": 5, "group": 1, "into_existing": True} | choices
    return make_plan(volume, prompts_of(ids), **choices)


def begun(url: str, chunks: tuple[int, int, int] = (4, 32, 32)) -> Volume:
    """A volume with the labels `cells` of the first two objects, in small chunks."""
    volume = make_volume(url, TRUTH, levels=3)
    volume.create_labels("cells", chunks=chunks)
    run(plan_of(volume, OLD))
    return open_volume(url)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return begun(str(tmp_path / "v.zarr"))


def cut(plan: Plan) -> Plan:
    """Blocks of one object each, so that all coarser levels are the pyramid stage's."""
    blocks = {"owned": 1, "compose_shape": plan.geometry.chunk}
    return plan.model_copy(update={"geometry": plan.geometry.model_copy(update=blocks)})


def voxels(volume: Volume) -> np.ndarray[Any, Any]:
    return np.asarray(volume.labels["cells"].levels[0])


def assert_pyramid(labels: Labels) -> None:
    assert len(labels.levels) == 3
    for level in range(1, len(labels.levels)):
        finer = np.asarray(labels.levels[level - 1])
        step = [
            b // a for a, b in zip(labels.factors[level - 1], labels.factors[level], strict=True)
        ]
        np.testing.assert_array_equal(
            np.asarray(labels.levels[level]), downsample_labels(finer, step)
        )


def assert_table(volume: Volume) -> None:
    found = voxels(volume)
    rows = {row.id: row for row in volume.labels["cells"].objects.rows()}
    assert set(rows) == set(np.unique(found[found > 0]).tolist())
    for i, row in rows.items():
        where = np.argwhere(found == i)
        assert row.voxels == len(where)
        assert row.bbox == tuple(zip(where.min(0), where.max(0) + 1, strict=True))


def expected(volume: Volume, ids: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The tracks of some objects, painted into labels of their own."""
    made = run(plan_of(volume, ids, labels=f"alone-{min(ids)}", into_existing=False)).labels
    return np.asarray(made.levels[0])


def test_new_objects_come_to_the_old_ones(work_url: str) -> None:
    volume = begun(f"{work_url}/v.zarr")
    before = voxels(volume)
    result = run(plan_of(volume, NEW))
    after, alone = voxels(volume), expected(volume, NEW)
    np.testing.assert_array_equal(after[before > 0], before[before > 0])
    np.testing.assert_array_equal(after[before == 0], alone[before == 0])
    assert set(np.unique(after).tolist()) == {0, *OLD, *NEW}
    assert result.labels.grid.chunk == (4, 32, 32)
    assert_pyramid(volume.labels["cells"])
    assert_table(volume)
    assert verify_run(volume, result.plan.hash).complete
    first = list_runs(volume)[0]
    found = verify_run(volume, first.plan_hash)  # the later run's record accounts for the rest
    assert found.complete
    assert found.edited


def test_an_object_made_anew_leaves_nothing_of_its_old_self(volume: Volume) -> None:
    labels = volume.labels["cells"]
    rows = {row.id: row for row in labels.objects.rows()}
    corner = ((0, 4), (0, 32), (0, 32))
    data = labels.read(corner)
    data[:2, :6, :6] = 1  # as an earlier model may have seen it
    labels.write_objects(corner, data)
    labels.objects.set(1, bbox=((0, rows[1].bbox[0][1]), (0, 72), (0, 64)))  # type: ignore[index]
    run(plan_of(volume, (1,), settings={"patience": 2}))
    np.testing.assert_array_equal(voxels(volume) == 1, expected(volume, (1,)) == 1)
    assert_pyramid(labels)
    assert_table(volume)


def test_labels_without_a_table_are_looked_through(volume: Volume) -> None:
    wanted = voxels(volume)
    labels = volume.labels["cells"]
    corner = ((0, 4), (0, 32), (0, 32))
    data = labels.read(corner)
    data[:2, :6, :6] = 1
    labels.write_objects(corner, data)
    labels.store.delete("volseg/objects.json")
    run(plan_of(volume, OLD, settings={"patience": 2}))
    np.testing.assert_array_equal(voxels(volume), wanted)


def edit(volume: Volume) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A person paints a new object, erases, and extends an old one; the mask, and what is there."""
    where = np.argwhere(NEW[0] == TRUTH)
    z, y, x = where[len(where) // 2]
    mask = np.zeros(SHAPE, bool)
    mask[z, y - 3 : y + 3, x - 3 : x + 3] = True  # inside of an object that will be segmented
    mask[z + 1, y - 1 : y + 1, x - 6 : x + 6] = True
    with volume.labels["cells"].edit("ann", flush_after=None) as editor:
        editor[z, y - 3 : y + 3, x - 3 : x + 3] = 77
        editor[z + 1, y - 1 : y + 1, x - 6 : x + 6] = 9
        editor.flush()
        editor[z + 1, y - 1 : y + 1, x - 6 : x + 6] = 0
    return mask, voxels(volume)


def test_what_a_person_edited_stays(volume: Volume) -> None:
    mask, before = edit(volume)
    plan = cut(plan_of(volume, NEW))
    assert {"pyramid-1", "pyramid-2"} < set(run(plan).report["stages"])
    after = voxels(volume)
    np.testing.assert_array_equal(after[mask], before[mask])
    rest = ~mask & (before == 0)
    np.testing.assert_array_equal(after[rest], expected(volume, NEW)[rest])
    assert_pyramid(volume.labels["cells"])
    assert_table(volume)
    records = [r for r in JournalIndex(volume.labels["cells"]).records if r.session == ""]
    assert [r.operations[0].kind for r in records] == ["segment", "segment"]
    assert records[-1].operations[0].run["plan"] == plan.hash  # type: ignore[index]


def test_unless_it_may_be_overwritten(volume: Volume) -> None:
    mask, before = edit(volume)
    plan = plan_of(volume, NEW, overwrite_edits=True)
    assert plan.hash != plan_of(volume, NEW).hash
    with (
        volume.labels["cells"].edit("bob", flush_after=None),
        pytest.raises(LeaseHeldError, match="bob"),
    ):
        run(plan)
    run(plan)
    after, alone = voxels(volume), expected(volume, NEW)
    covered = mask & (alone > 0)
    assert covered.any()
    np.testing.assert_array_equal(after[covered], alone[covered])
    others = np.isin(before, OLD)
    np.testing.assert_array_equal(after[others], before[others])
    assert_table(volume)
    with volume.labels["cells"].edit("ann", flush_after=None) as editor:  # and it stays overwritten
        np.testing.assert_array_equal(editor[:, :, :], after)


def test_people_edit_while_it_is_composed(volume: Volume, tmp_path: Path) -> None:
    """In a process of their own, on chunks that the run writes at the same time."""
    before = voxels(volume)
    flag = tmp_path / "go"
    code = """
import sys, time, pathlib
import numpy as np
from volseg.images.image import open_volume
labels = open_volume(sys.argv[1]).labels["cells"]
go = pathlib.Path(sys.argv[2])
rng = np.random.default_rng(3)
with labels.edit("bob", flush_after=None) as editor:
    print("open", flush=True)
    while not go.exists():
        time.sleep(0.01)
    for label in range(50, 66):
        z, y, x = (int(rng.integers(0, n - 4)) for n in labels.shape)
        editor[z, y : y + 9, x : x + 9] = label
        editor.flush()
        print(z, y, x, label, flush=True)
"""
    bob = subprocess.Popen(
        [sys.executable, "-c", code, str(volume.location.url), str(flag)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert bob.stdout is not None
    assert bob.stdout.readline() == "open\n"
    composed = threading.Event()

    def slowly(stage: str, done: int, total: int, message: str = "") -> None:
        if stage == "compose":
            if not done:
                flag.touch()
            composed.wait(0.03)

    plan = cut(plan_of(volume, NEW))
    run(plan, progress=slowly)
    mask = np.zeros(SHAPE, bool)
    wanted = np.zeros(SHAPE, np.uint32)
    for line in bob.stdout:
        z, y, x, label = map(int, line.split())
        mask[z, y : y + 9, x : x + 9] = True
        wanted[z, y : y + 9, x : x + 9] = label
    assert bob.wait() == 0
    assert mask.any()
    after = voxels(volume)
    np.testing.assert_array_equal(after[mask], wanted[mask])
    rest = ~mask & (before == 0)
    np.testing.assert_array_equal(after[rest], expected(volume, NEW)[rest])
    np.testing.assert_array_equal(after[~mask & (before > 0)], before[~mask & (before > 0)])
    labels = volume.labels["cells"]
    assert_pyramid(labels)
    np.testing.assert_array_equal(labels_now(labels).read(((0, 16), (0, 72), (0, 64))), after)
    assert verify_run(volume, plan.hash).complete


def test_edits_of_new_labels_survive_the_run_that_makes_them(tmp_path: Path) -> None:
    """The label image is new, and somebody opens it while it is being composed."""
    volume = make_volume(str(tmp_path / "v.zarr"), TRUTH, levels=3)
    plan = plan_of(volume, (1, 2, 3, 4), into_existing=False)
    plan = plan.model_copy(
        update={
            "geometry": plan.geometry.model_copy(update={"owned": 1, "compose_shape": (8, 72, 64)})
        }
    )

    def paint(stage: str, done: int, total: int, message: str = "") -> None:
        if stage == "compose" and done == 1:
            with volume.labels["cells"].edit("ann", flush_after=None) as editor:
                editor[2:14, 20:40, 20:40] = 2000

    run(plan, progress=paint)
    wanted = expected(volume, (1, 2, 3, 4))
    wanted[2:14, 20:40, 20:40] = 2000
    np.testing.assert_array_equal(voxels(volume), wanted)
    assert_pyramid(volume.labels["cells"])
    assert_table(volume)
    assert verify_run(volume, plan.hash).complete


@pytest.mark.parametrize("stop_at", [6, 12, 16, 20])
def test_interrupted_and_resumed_it_is_the_same(tmp_path: Path, stop_at: int) -> None:
    whole, broken = (begun(str(tmp_path / f"{name}.zarr")) for name in ("a", "b"))
    for one in (whole, broken):
        edit(one)
    run(cut(plan_of(whole, NEW)))
    plan, cancel, ended = cut(plan_of(broken, NEW)), Cancel(), []

    def stop(stage: str, done: int, total: int, message: str = "") -> None:
        ended.append(message)
        if sum(map(bool, ended)) >= stop_at:
            cancel.request()

    with pytest.raises(InterruptedRunError, match="--resume"):
        run(plan, cancel=cancel, progress=stop)
    with pytest.raises(ExistsError, match="--resume"):
        run(plan)
    result = run(plan, resume=True)
    assert sum(c["resumed"] for c in result.report["stages"].values()) >= stop_at
    np.testing.assert_array_equal(voxels(broken), voxels(whole))
    records = JournalIndex(broken.labels["cells"]).runs()
    assert len([n for n, operation in records if operation.run["plan"] == plan.hash]) == 1  # type: ignore[index]
    assert run(plan, resume=True).report == result.report
    assert verify_run(broken, plan.hash).complete


def test_anew_it_gets_a_record_of_its_own(volume: Volume) -> None:
    plan = plan_of(volume, NEW)
    run(plan)
    with pytest.raises(ExistsError, match="--restart"):
        run(plan)
    with volume.labels["cells"].edit("ann", flush_after=None) as editor:
        editor[:, 20:30, 20:30] = 0
    edited = voxels(volume)
    result = run(plan, restart=True)
    assert all(c["resumed"] == 0 for c in result.report["stages"].values())
    np.testing.assert_array_equal(voxels(volume), edited)
    numbers = [
        n for n, op in JournalIndex(volume.labels["cells"]).runs() if op.run["plan"] == plan.hash
    ]  # type: ignore[index]
    assert len(numbers) == 2


def test_labels_replaced_meanwhile_are_not_taken_for_its_own(volume: Volume) -> None:
    plan, cancel = plan_of(volume, NEW), Cancel()

    def stop(stage: str, done: int, total: int, message: str = "") -> None:
        if stage == "compose" and done:
            cancel.request()

    with pytest.raises(InterruptedRunError):
        run(plan, cancel=cancel, progress=stop)
    volume.create_labels("cells", chunks=(4, 32, 32), overwrite=True)
    with pytest.raises(PlanMismatchError, match="replaced"):
        run(plan, resume=True)
    run(plan, restart=True)
    np.testing.assert_array_equal(voxels(volume), expected(volume, NEW))


def test_other_runs_stay_resumable_and_verifiable(volume: Volume) -> None:
    first = list_runs(volume)[0].plan_hash
    run(plan_of(volume, NEW))
    again = run(plan_of(volume, OLD), resume=True)  # is done, and says so
    assert again.plan.hash == first
    assert verify_run(volume, first).complete


def test_refused_before_anything_is_written(volume: Volume) -> None:
    before = {s.key: s.etag for s in volume.output_store.list()}
    with pytest.raises(NotThereError, match="into-existing"):
        plan_of(volume, NEW, labels="others")
    with pytest.raises(InputError, match="exclude"):
        plan_of(volume, NEW, overwrite=True)
    with pytest.raises(InputError, match="into-existing"):
        plan_of(volume, NEW, into_existing=False, overwrite_edits=True)
    plan = plan_of(volume, NEW)
    levels = tuple(x.model_copy(update={"chunk": (1, 8, 8)}) for x in plan.geometry.levels)
    other = plan.model_copy(
        update={"geometry": plan.geometry.model_copy(update={"levels": levels})}
    )
    with pytest.raises(PlanMismatchError, match="levels"):
        run(other)
    assert {s.key: s.etag for s in volume.output_store.list()} == before
    narrow = volume.create_labels("narrow", "uint8")
    document = prompts_of(NEW)
    document["objects"][0]["id"] = 300
    with pytest.raises(InputError, match="300"):
        make_plan(volume, document, labels="narrow", model=oracle(volume), into_existing=True)
    plan = plan_of(volume, NEW, labels="narrow")
    run(plan)
    assert narrow.dtype == np.uint8
    assert set(np.unique(np.asarray(narrow.levels[0])).tolist()) == {0, *NEW}
    assert json.loads(json.dumps(plan.to_json()))["existing"] == {"overwrite_edits": False}


def test_new_ids_stay_clear_of_those_of_prompts(tmp_path: Path) -> None:
    from volseg.editing.ids import IdClaims

    volume = make_volume(str(tmp_path / "v.zarr"), TRUTH)
    taken: list[int] = []

    def claim(stage: str, done: int, total: int, message: str = "") -> None:
        if stage == "compose" and not taken:
            taken.extend(IdClaims(volume.labels["cells"], "ann").take(2))

    run(plan_of(volume, (1, 2, 3, 4), into_existing=False), progress=claim)
    assert min(taken) > 4
