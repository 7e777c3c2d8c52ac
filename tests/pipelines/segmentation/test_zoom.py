"""The zoom of a job is a number in its plan: what finds it, when nobody looks, and what resuming reads."""

from __future__ import annotations

import logging
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from volseg.engine import Cancel
from volseg.errors import InputError, InterruptedRunError, ModelUnavailableError
from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.images.pyramid import build_image_pyramid
from volseg.models import registry
from volseg.models.registry import find_model
from volseg.pipelines.segmentation import Plan, PlannedOracle, make_plan, make_plans, run

SIDE = 320


def document(prompts: list[dict[str, Any]], layers: tuple[str, ...] = ("cells",)) -> dict[str, Any]:
    objects = [
        {"id": i, "layer": layers[(i - 1) % len(layers)], "prompts": [{"z": 1, **prompt}]}
        for i, prompt in enumerate(prompts, 1)
    ]
    return {
        "format": "volseg-prompts", "version": 1, "layers": [{"name": name} for name in layers],
        "objects": objects,
    }  # fmt: skip


def points(*places: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"points": [[y, x, 1]]} for y, x in places]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """Spots of 12 voxels on the left, discs of 90 on the right; of two channels the first is empty."""
    if not find_model("nano").path.is_file():
        pytest.skip("nano's weights are not there")
    y, x = np.mgrid[:SIDE, :SIDE]
    plane = np.full((SIDE, SIDE), 30, np.uint8)
    for cy in range(20, SIDE, 40):
        for cx in range(20, SIDE // 2, 40):
            plane[np.hypot(y - cy, x - cx) < 6] = 200
        plane[np.hypot(y - cy // 160 * 160 - 80, x - 250) < 45] = 180
    noisy = np.random.default_rng(3).normal(plane, 4).clip(0, 255).astype(np.uint8)
    url = str(tmp_path_factory.mktemp("zoom") / "v.zarr")
    made = create_volume(
        url, axes="czyx", shape=(2, 3, SIDE, SIDE), dtype="uint8", scale_um=(1, 1, 1)
    )
    made.write(((0, 3), (0, SIDE), (0, SIDE)), np.stack([noisy] * 3), channel=1)
    build_image_pyramid(made)
    return open_volume(url)


SMALL = points((20, 20), (60, 60), (100, 100), (140, 20))
LARGE = points((80, 250), (240, 250))


def zoom_of(plan: Plan) -> float:
    assert plan.predictor.kind == "sam"
    return plan.predictor.zoom


def test_points_alone_tell_the_zoom_and_always_the_same(volume: Volume) -> None:
    small = make_plan(volume, document(SMALL), channel=1)
    assert zoom_of(small) >= 2
    assert make_plan(volume, document(SMALL), channel=1, zoom=None).hash == small.hash
    assert zoom_of(make_plan(volume, document(LARGE), channel=1)) <= 1
    assert not list(volume.output_store.list_names_or_none("volseg/embeddings") or ())


def test_each_layer_has_its_own_zoom_and_mixed_sizes_are_told(
    volume: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = [one for pair in zip(SMALL, LARGE * 2, strict=True) for one in pair]
    few, many = make_plans(volume, document(mixed, ("spots", "discs")), channel=1)
    assert zoom_of(few) > 1 >= zoom_of(many)
    assert "layers of their own" not in caplog.text
    with caplog.at_level(logging.WARNING, "volseg"):
        make_plan(volume, document(mixed[:4]), channel=1)
    assert "layers of their own" in caplog.text


def test_on_a_coarser_level_the_same_objects_want_twice_the_zoom(volume: Volume) -> None:
    boxes = [{"box": [74, 244, 86, 256]}, {"box": [54, 54, 66, 66]}]
    fine, coarse = (zoom_of(make_plan(volume, document(boxes), level=level)) for level in (0, 1))
    assert (fine, coarse) == (4.0, 4.0)  # the largest that is chosen
    boxes = [{"box": [40, 210, 120, 290]}]
    fine, coarse = (zoom_of(make_plan(volume, document(boxes), level=level)) for level in (0, 1))
    assert coarse == pytest.approx(2 * fine, rel=0.01)
    assert zoom_of(make_plan(volume, document(LARGE), level=1, channel=1)) <= 2


def test_where_sizes_are_told_or_the_zoom_is_given_no_model_looks(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load_model", Mock(side_effect=AssertionError("it looked")))
    box, mask = (
        {"box": [14, 14, 26, 26]},
        {"mask": {"size": [320, 320], "counts": [320, 113, 101967]}},
    )
    assert zoom_of(make_plan(volume, document([box]))) == 4.0
    assert zoom_of(make_plan(volume, document([mask]))) == 4.0
    assert zoom_of(make_plan(volume, document([box, *SMALL[:1]]))) == 4.0
    assert zoom_of(make_plan(volume, document(SMALL), zoom=1)) == 1.0
    oracle = PlannedOracle(url="nowhere", name="truth")
    assert make_plan(volume, document(SMALL), model=oracle).predictor.kind == "oracle"
    with pytest.raises(AssertionError, match="it looked"):
        make_plan(volume, document([box, *SMALL]))
    for wrong in (0, -1, 65, float("nan"), "wide"):
        with pytest.raises(InputError, match="expected auto"):
            make_plan(volume, document(SMALL), zoom=wrong)  # type: ignore[arg-type]


def test_places_where_a_model_finds_little_still_give_a_plan(volume: Volume) -> None:
    for prompts in (
        points((40, 40)),  # background
        points((0, 0), (SIDE - 1, SIDE - 1)),  # in corners
        [{"points": [[20, 20, 1], [60, 60, 0], [30, 20, 0]]}],
        [{"scribbles": [{"path": [[18, 18], [22, 22]], "radius": 1, "label": 1}]}],
    ):
        assert 0.125 <= zoom_of(make_plan(volume, document(prompts), channel=1)) <= 4
    empty = make_plan(volume, document(SMALL), channel=0)
    assert 0.125 <= zoom_of(empty) <= 4


def test_weights_that_are_not_there_say_how_to_plan_without(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        registry, "load_model", Mock(side_effect=ModelUnavailableError("no network"))
    )
    with pytest.raises(ModelUnavailableError, match=r"no network; .*give the zoom as a number"):
        make_plan(volume, document(SMALL), model="vit_b", channel=1)
    assert zoom_of(make_plan(volume, document(SMALL), model="vit_b", channel=1, zoom=1)) == 1


def test_a_run_goes_on_with_the_zoom_that_it_began_with(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = make_plan(volume, document(SMALL[:1]), channel=1, zoom=3.0)
    stop = Cancel()
    stop.request()
    with pytest.raises(InterruptedRunError):
        run(begun, cancel=stop)
    again = make_plan(volume, document(SMALL[:1]), channel=1, resume=True)
    assert again.hash == begun.hash
    other = make_plan(volume, document(SMALL[1:2]), channel=1, resume=True)
    assert zoom_of(other) != 3.0
    assert run(again, resume=True).status == "done"
