"""The segment job with the embedded model: the same bytes however it is cut, with fresh or cached embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.pipelines.segmentation.volumes import make_truth, make_volume, point_prompts
from volseg.errors import InputError, ModelUnavailableError, VolsegError
from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.models import nano
from volseg.models.nano import versions
from volseg.models.registry import find_model
from volseg.pipelines.segmentation import make_plan, run
from volseg.pipelines.segmentation.report import verify_run

TRUTH = make_truth((7, 72, 64), 2, seed=8)


def stored(volume: Volume, name: str) -> dict[str, bytes]:
    below = volume.output_store.sub(f"labels/{name}")
    return {s.key: below.get(s.key) for s in below.list() if s.key[0].isdigit()}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    if not find_model("nano").path.is_file():
        pytest.skip("nano's weights are not there")
    return make_volume(str(tmp_path_factory.mktemp("nano") / "v.zarr"), TRUTH)


def test_any_cut_gives_the_same_labels_fresh_or_cached(volume: Volume) -> None:
    prompts = point_prompts(TRUTH)
    fresh = make_plan(volume, prompts, labels="fresh", window=16, group=8)
    cached = make_plan(volume, prompts, labels="cached", window=3, group=1)
    assert run(fresh).report["objects"]["made"] > 0
    run(cached)
    assert stored(volume, "fresh") == stored(volume, "cached")
    assert volume.output_store.list_names("volseg/embeddings")
    assert [row.confidence for row in volume.labels["fresh"].objects.rows()] == [
        row.confidence for row in volume.labels["cached"].objects.rows()
    ]


def test_other_weights_than_the_plans_are_refused_before_anything_is_written(
    volume: Volume,
) -> None:
    plan = make_plan(volume, point_prompts(TRUTH), labels="other")
    assert plan.predictor.kind == "sam"
    other = plan.model_copy(
        update={"predictor": plan.predictor.model_copy(update={"sha256": "0" * 64})}
    )
    before = {s.key for s in volume.output_store.list()}
    with pytest.raises(ModelUnavailableError, match="0000") as caught:
        run(other)
    assert isinstance(caught.value, VolsegError)
    assert {s.key for s in volume.output_store.list()} == before


def test_a_plan_runs_with_its_weights_though_a_newer_nano_ships(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = point_prompts(TRUTH)
    before, after = (make_plan(volume, prompts, labels=name) for name in ("before", "after"))
    run(before)
    (tmp_path / "v1").symlink_to(versions.version_folder(1))
    (tmp_path / "v2").mkdir()
    nano.save(nano.build(), tmp_path / "v2")
    monkeypatch.setattr(versions, "PACKAGE", tmp_path)
    newer = make_plan(volume, prompts, labels="newer").predictor
    assert newer.kind == after.predictor.kind == "sam"
    assert newer.name == after.predictor.name == "nano"
    assert newer.sha256 != after.predictor.sha256
    run(after)
    assert stored(volume, "after") == stored(volume, "before")


def test_zoom_batches_and_filters_are_in_the_plan(volume: Volume, tmp_path: Path) -> None:
    prompts = point_prompts(TRUTH)
    plain = make_plan(volume, prompts, zoom=1)  # a number, so that no model looks for one
    for choice in ({"zoom": 2.0}, {"decode_batch": 3}, {"preprocess": ["denoise"]}, {"window": 4}):
        assert make_plan(volume, prompts, **{"zoom": 1, **choice}).hash != plain.hash, choice
    boxed = point_prompts(TRUTH)
    for one in boxed["objects"]:
        y, x, _ = one["prompts"][0]["points"][0]
        one["prompts"][0] = {"z": one["prompts"][0]["z"], "box": [y - 6, x - 6, y + 6, x + 6]}
    auto = make_plan(volume, boxed, zoom="auto").predictor
    assert auto.kind == "sam"
    assert auto.zoom > 1  # objects of 12 voxels are small for the model


def test_the_model_of_another_plan_is_taken_as_it_was_planned(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    import volseg.features.rendering

    prompts = point_prompts(TRUTH)
    first = make_plan(volume, prompts, zoom=2.0)
    monkeypatch.delattr(volseg.features.rendering, "measure_rendering")  # nothing is measured again
    again = make_plan(volume, prompts, model=first.predictor)
    assert again.hash == first.hash
    rendering = first.predictor.rendering | {"channels": [1]}
    other = first.predictor.model_copy(update={"rendering": rendering})
    with pytest.raises(InputError, match="looks at channels"):
        make_plan(volume, prompts, model=other)


@pytest.mark.parametrize(
    ("axes", "shape", "value"),
    [
        ("yx", (30, 41), 0),
        ("zyx", (5, 1, 40), 200),
        ("zyx", (3, 40, 1), 0),
        ("tczyx", (1, 1, 1, 1, 7), 200),
    ],
)
def test_thin_and_constant_images_are_segmented(
    tmp_path: Path, axes: str, shape: tuple[int, ...], value: int
) -> None:
    volume = create_volume(
        tmp_path / "v.zarr", axes=axes, shape=shape, dtype="uint8", scale_um=(1, 1, 1)
    )
    z, y, x = volume.shape
    volume.write(((0, z), (0, y), (0, x)), np.full((z, y, x), value, np.uint8))
    point = {"z": z // 2, "points": [[y // 2, x // 2, 1]]}
    objects = [
        {"id": 1, "prompts": [point]},
        {"id": 2, "prompts": [{"z": 0, "box": [0, 0, y, x]}]},
    ]
    layers = [{"name": "cells"}]
    document = {"format": "volseg-prompts", "version": 1, "layers": layers, "objects": objects}
    plan = make_plan(open_volume(tmp_path / "v.zarr"), document, labels="cells", zoom="auto")
    labels = run(plan).labels
    assert labels.shape == (z, y, x)
    assert set(np.unique(np.asarray(labels.levels[0]))) <= {0, 1, 2}
    assert verify_run(open_volume(tmp_path / "v.zarr")).complete
