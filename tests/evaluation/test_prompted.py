"""Labels that were made from prompts are scored on the objects that were prompted, beside a baseline on the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.evaluation import evaluate
from volseg.evaluation.prompted import otsu_baseline, prompted_objects
from volseg.images.create import create_volume
from volseg.images.image import Volume

SHAPE = (6, 40, 40)
WHOLE = tuple((0, n) for n in SHAPE)
PLACES = {1: (5, 5), 2: (5, 25), 3: (25, 5), 4: (25, 25)}  # y, x of the first voxel of each


def truth() -> np.ndarray[Any, Any]:
    ids = np.zeros(SHAPE, np.uint32)
    for label, (y, x) in PLACES.items():
        ids[1:5, y : y + 8, x : x + 8] = label
    return ids


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Volume]:
    """A volume with labels `cells`: truth's objects 1 and 2 as 11 and 12, made from the prompts given."""

    def made(*objects: dict[str, Any]) -> Volume:
        volume = create_volume(
            tmp_path / "v.zarr", axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1)
        )
        volume.write(WHOLE, np.where(truth() > 0, 200, 20).astype(np.uint8))
        labels = volume.create_labels("cells")
        ids = truth()
        labels.write_objects(
            WHOLE, np.where((ids == 1) | (ids == 2), ids + 10, 0).astype(np.uint32)
        )
        for one in objects:
            document = {"layers": [{"name": "cells"}], "objects": [{"layer": "cells", **one}]}
            labels.store.put(f"volseg/prompts/{one['id']}.json", json.dumps(document).encode())
        return volume

    return made


def rle(mask: np.ndarray[Any, Any]) -> dict[str, Any]:
    flat = np.concatenate(([0], mask.ravel().astype(int), [0]))
    ends = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate(([0], ends, [mask.size])))
    return {"size": list(mask.shape), "counts": counts.tolist()}


POINT = {"id": 11, "prompts": [{"z": 2, "points": [[1, 1, 0], [8, 8, 1]]}]}
BOX = {"id": 12, "prompts": [{"z": 2, "box": [5, 25, 13, 33]}]}
MASK = {"id": 12, "prompts": [{"z": 2, "mask": rle(truth()[2] == 2)}]}
SCRIBBLE = {
    "id": 12,
    "prompts": [{"z": 2, "scribbles": [{"path": [[6, 27], [8, 30]], "radius": 2, "label": 1}]}],
}
BESIDE = {"id": 13, "prompts": [{"z": 2, "points": [[38, 38, 1]]}]}


@pytest.mark.parametrize("second", [BOX, MASK, SCRIBBLE], ids=["box", "mask", "scribble"])
def test_scores_are_those_of_prompted_objects(
    make: Callable[..., Volume], second: dict[str, Any]
) -> None:
    volume = make(POINT, second, BESIDE)
    labels = volume.labels["cells"]
    prompted = prompted_objects(labels, truth())
    assert prompted is not None
    assert (set(prompted.points), prompted.beside) == ({1, 2}, (13,))
    report = evaluate(labels, truth(), objects=prompted.points)
    assert (report.mean_dice, report.left_out, len(report.objects)) == (1.0, 2, 2)
    assert report.overall["recall"] == 1.0
    baseline = otsu_baseline(volume, labels, truth())
    assert baseline is not None
    assert set(baseline.objects) == {row.id for row in report.objects}
    assert "2 truth objects" in report.to_text()


def test_everything_is_scored_on_request_and_where_no_prompt_is_known(
    make: Callable[..., Volume],
) -> None:
    labels = make().labels["cells"]
    assert prompted_objects(labels, truth()) is None
    report = evaluate(labels, truth())
    assert (report.mean_dice, report.left_out) == (0.5, 0)


def test_an_object_that_spills_into_one_without_a_prompt_pays_for_it(
    make: Callable[..., Volume],
) -> None:
    labels = make(POINT).labels["cells"]
    spilled = np.where(np.isin(truth(), (1, 3)), 11, 0)
    report = evaluate(spilled, truth(), objects=[1])
    assert report.mean_dice == pytest.approx(2 / 3)
    assert labels.name == "cells"


def test_the_command_line_says_what_it_left_out(
    make: Callable[..., Volume], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from volseg.cli import main

    url = str(make(POINT, BOX, BESIDE).location)
    np.save(tmp_path / "truth.npy", truth())

    def run(*options: str) -> dict[str, Any]:
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(
                [
                    "evaluate",
                    url,
                    "cells",
                    "--truth",
                    str(tmp_path / "truth.npy"),
                    "--json",
                    *options,
                ]
            )
        return json.loads(capsys.readouterr().out)

    asked = run()
    assert (asked["mean_dice"], asked["left_out"], asked["beside_truth"]) == (1.0, 2, [13])
    assert len(asked["objects"]) == len(asked["baseline_otsu"]["objects"]) == 2
    assert run("--all")["mean_dice"] == 0.5
