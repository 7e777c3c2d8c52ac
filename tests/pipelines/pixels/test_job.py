"""The job that classifies voxels: what it writes, however it is cut, interrupted and repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

import volseg
from tests.images.validation import validate_image
from tests.pipelines.pixels.conftest import (
    SHAPE,
    WHOLE,
    Striped,
    make_volume,
    scribbled,
    squares,
    write,
)
from volseg.classify.voxels.maps import Maps
from volseg.engine.cancel import Cancel
from volseg.errors import (
    ExistsError,
    InputError,
    InterruptedRunError,
    MemoryBudgetError,
    ModelUnavailableError,
)
from volseg.images.labels import Labels
from volseg.pipelines.pixels import make_plan, run

Contents = Callable[[Labels], list[bytes]]


@pytest.fixture(scope="session")
def classified(striped: Striped) -> Striped:
    """The shared volume with classes, objects and maps."""
    volseg.pixels.apply(striped.volume, striped.model, instances="pieces", maps="seen")
    return striped


def test_few_strokes_tell_the_classes_of_all_slices(classified: Striped) -> None:
    found = np.asarray(classified.volume.labels["classes"].levels[0])
    assert (found == classified.truth).mean() > 0.95
    assert classified.volume.labels["classes"].classes == {1: "background", 2: "bright"}


def test_objects_are_the_pieces_of_each_class_but_background(classified: Striped) -> None:
    labels = classified.volume.labels
    classes = np.asarray(labels["classes"].levels[0])
    wanted, count = scipy.ndimage.label(classes == 2)
    np.testing.assert_array_equal(np.asarray(labels["pieces"].levels[0]), wanted)
    rows = labels["pieces"].objects.rows()
    assert [row.voxels for row in rows] == np.bincount(wanted.ravel())[1:].tolist()
    assert len(rows) == count and {row.class_ for row in rows} == {"bright"}


def test_maps_are_probabilities_and_entropy_with_levels_by_mean_and_maximum(
    classified: Striped,
) -> None:
    maps = Maps(classified.volume, "seen")
    assert maps.classes == {1: "background", 2: "bright"}
    shape = classified.truth.shape
    seen = maps.read(((0, shape[0]), (0, shape[1]), (0, shape[2]))).astype(int)
    assert np.abs(seen[:2].sum(axis=0) - 255).max() <= 1
    classes = np.asarray(classified.volume.labels["classes"].levels[0])
    sure = np.abs(seen[0] - seen[1]) > 2
    np.testing.assert_array_equal((seen[1] > seen[0])[sure], (classes == 2)[sure])
    assert seen[2][np.abs(seen[0] - seen[1]) < 20].min() > 240
    assert [c.name for c in maps.volume.channels] == ["background", "bright", "entropy"]
    path = maps.volume.location.local_path
    assert path is not None
    validate_image(path)


def test_any_cut_into_blocks_gives_the_same_bytes(
    classified: Striped, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volseg.pipelines.pixels import planner

    volume = classified.volume
    whole = [contents(volume.labels[name]) for name in ("classes", "pieces")]
    monkeypatch.setattr("volseg.images.labels.LABEL_CHUNKS", (2, 64, 48))
    monkeypatch.setattr("volseg.images.label_groups.LABEL_CHUNKS", (2, 64, 48))
    monkeypatch.setattr("volseg.classify.voxels.maps.LABEL_CHUNKS", (2, 64, 48))
    monkeypatch.setattr(planner, "BLOCK_VOXELS", 1)
    monkeypatch.setattr(planner, "FEATURE_BYTES", 4 * 56 * 48 * 37)  # 37 rows at once
    names = {"labels": "cut", "instances": "cut-pieces", "maps": "cut"}
    plan = make_plan(volume, classified.model, **names)
    assert plan.block == (2, 64, 48) and plan.rows == 37
    run(plan)
    assert [contents(volume.labels[name]) for name in ("cut", "cut-pieces")] == whole
    shape = classified.truth.shape
    region = ((0, shape[0]), (0, shape[1]), (0, shape[2]))
    np.testing.assert_array_equal(
        Maps(volume, "cut").read(region), Maps(volume, "seen").read(region)
    )


def test_what_nobody_labelled_teaches_nothing(
    striped: Striped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Truth that a loader sees of unlabelled voxels is poisoned: the classifier keeps every byte."""
    from volseg.classify.voxels import strokes

    volume = striped.volume
    first = volseg.pixels.train(
        [(volume, "scribbles")], str(tmp_path / "a.model"), embedding="none"
    )
    honest = Labels.read

    def poisoned(self: Labels, region: object, **how: int) -> np.ndarray:
        data = honest(self, region, **how)  # type: ignore[arg-type]
        return np.where(data == 0, -np.random.default_rng(1).integers(0, 9, data.shape), data)

    monkeypatch.setattr(Labels, "read", poisoned)
    again = volseg.pixels.train(
        [(volume, "scribbles")], str(tmp_path / "b.model"), embedding="none"
    )
    assert first.sha256 == again.sha256
    assert strokes.read_strokes(volume.labels["scribbles"]).classes.min() == 1


def test_an_interrupted_run_goes_on_where_it_was(
    striped: Striped, contents: Contents, classified: Striped, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = striped.volume
    plan = make_plan(volume, striped.model, labels="resumed", instances="resumed-pieces")
    cancel = Cancel()
    stages: list[str] = []

    def stop_at_the_objects(stage: str, done: int, total: int, message: str) -> None:
        stages.append(stage)
        if stage == "pieces":
            cancel.request()

    with pytest.raises(InterruptedRunError):
        run(plan, progress=stop_at_the_objects, cancel=cancel)
    with pytest.raises(ExistsError):
        run(plan)
    result = run(plan, resume=True)
    assert result.report["stages"]["classify"]["done"] == 0
    assert contents(volume.labels["resumed"]) == contents(volume.labels["classes"])
    assert contents(volume.labels["resumed-pieces"]) == contents(volume.labels["pieces"])
    assert run(plan, resume=True).report == result.report


def test_names_that_are_taken_are_refused_and_nothing_is_written(classified: Striped) -> None:
    volume = classified.volume
    before = set(volume.labels)
    for names in (
        {"labels": "classes"},
        {"labels": "new", "instances": "pieces"},
        {"labels": "new", "maps": "seen"},
    ):
        with pytest.raises(ExistsError):
            volseg.pixels.apply(volume, classified.model, **names)
    with pytest.raises(InputError, match="one holds class numbers"):
        volseg.pixels.apply(volume, classified.model, labels="new", instances="new")
    assert set(volseg.open(classified.url).labels) == before


def test_a_plan_tells_its_memory_and_is_refused_by_it(striped: Striped) -> None:
    plan = make_plan(striped.volume, striped.model)
    with pytest.raises(MemoryBudgetError, match="GB"):
        plan.check_budget(plan.memory_per_worker - 1)
    plan.check_budget(plan.memory_per_worker)


def test_a_classifier_that_was_changed_is_refused(striped: Striped, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "changed.model"
    shutil.copytree(striped.model, copy)
    (copy / "trees.txt").write_text((copy / "trees.txt").read_text() + " ")
    with pytest.raises(ModelUnavailableError, match="changed"):
        make_plan(striped.volume, str(copy))


def test_a_volume_of_other_channels_is_refused_by_the_numbers(
    striped: Striped, tmp_path: Path
) -> None:
    made = volseg.create_volume(
        tmp_path / "two.zarr", axes="cyx", shape=(2, 40, 50), dtype="uint16", scale_um=(1, 1, 1)
    )
    with pytest.raises(InputError, match="2 channels, but the classifier was trained on 1"):
        make_plan(made, striped.model)
    assert make_plan(made, striped.model, channel="1").source.channels == (1,)


def test_several_images_train_together(tmp_path: Path) -> None:
    volumes = []
    for seed in (1, 2):
        image, truth = squares(seed)
        volume = make_volume(str(tmp_path / f"{seed}.zarr"), image)
        scribbles = scribbled(truth)
        scribbles[scribbles == seed] = 0  # each image shows one class alone
        write(volume.create_labels("scribbles", classes={}), scribbles)
        volumes.append(volume)
    with pytest.raises(InputError, match="at least two classes"):
        volseg.pixels.train([(volumes[0], "scribbles")], embedding="none")
    result = volseg.pixels.train([(v, "scribbles") for v in volumes], embedding="none")
    assert result.strokes == {1: 2, 2: 2}


@pytest.mark.long
def test_on_an_object_store_through_workers(s3_url: str) -> None:
    """Two channels on S3: two workers write what one process does."""
    image, truth = squares(5)
    volume = volseg.create_volume(
        f"{s3_url}/a.zarr",
        axes="czyx",
        shape=(2, *SHAPE),
        dtype="uint8",
        scale_um=(0.05, 0.01, 0.01),
    )
    for channel, data in enumerate((image, 255 - image)):
        volume.write(WHOLE, data, channel=channel)
    write(volume.create_labels("s", classes={1: "background"}), scribbled(truth))
    model = f"{s3_url}/models/a.model"
    volseg.pixels.train([(volume, "s")], model, embedding="none")
    here = volseg.pixels.apply(volume, model, labels="here", instances="here-o", maps="here")
    names = {"labels": "there", "instances": "there-o", "maps": "there"}
    there = volseg.pixels.apply(volume, model, cluster="local", workers=2, **names)
    for one, other in (("here", "there"), ("here-o", "there-o")):
        found = [
            np.asarray(volseg.open(volume.location.url).labels[n].levels[0]) for n in (one, other)
        ]
        np.testing.assert_array_equal(*found)
    assert (np.asarray(here.labels.levels[0]) == truth).mean() > 0.95
    assert there.report["status"] == "done"
