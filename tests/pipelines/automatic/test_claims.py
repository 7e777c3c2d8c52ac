"""Of tracks that lie on each other one stays where a machine made the prompts; a person's prompts are left alone."""

from __future__ import annotations

import itertools

import numpy as np

from tests.pipelines.automatic.conftest import Known
from volseg.pipelines.segmentation import Plan, make_plan, run
from volseg.pipelines.segmentation.claims_stage import given_up
from volseg.pipelines.segmentation.groups import TrackEntry
from volseg.pipelines.segmentation.mask_stages import places_of
from volseg.propagation.track import SliceKind, Track, TrackSlice
from volseg.propagation.window import MaskWindow

SHAPE = (8, 40, 40)


def box_track(z0: int, z1: int, y0: int, y1: int) -> Track:
    """A box, 10 voxels across."""
    mask = MaskWindow.crop(np.ones((y1 - y0, 10), bool), (y0, 5))
    return Track(SHAPE, {z: TrackSlice.of(mask, 0.9, SliceKind.DECODED) for z in range(z0, z1)})


def test_the_better_one_stays_whatever_the_order() -> None:
    tracks = {
        1: (0.7, box_track(0, 6, 0, 10)),  # mostly on 2, which is better
        2: (0.9, box_track(1, 8, 0, 10)),
        3: (0.8, box_track(0, 8, 8, 18)),  # a fifth of it is on others: stays
        4: (0.9, box_track(1, 8, 0, 10)),  # as good as 2: the lower id stays
        5: (0.5, box_track(0, 8, 25, 35)),  # touches nobody
    }
    entries = [
        TrackEntry(i, str(i), score, len(track), track.voxels, places_of(track, 4))
        for i, (score, track) in tracks.items()
    ]
    for order in itertools.islice(itertools.permutations(entries), 0, 120, 7):
        assert given_up(order, lambda one: tracks[one.id][1]) == {1: 2, 4: 2}


def plan_of(known: Known, labels: str) -> Plan:
    """One prompt in each of two balls."""
    objects = [
        {"id": i, "prompts": [{"z": 6, "points": [[y, x, 1]]}]}
        for i, (y, x) in enumerate([(22, 22), (62, 62)], 1)
    ]
    prompts = {
        "format": "volseg-prompts", "version": 1, "layers": [{"name": "balls"}], "objects": objects,
    }  # fmt: skip
    oracle = {"kind": "oracle", "url": known.url, "name": "truth"}
    return make_plan(known.volume, prompts, labels=labels, model=oracle)


def test_claims_are_a_stage_of_machine_made_prompts_alone(known_balls: Known) -> None:
    plan = plan_of(known_balls, "asked")
    merging = plan.model_copy(update={"merge_claims": True})
    assert plan.hash != merging.hash
    assert plan.hash == plan.model_copy(update={"merge_claims": False}).hash
    result = run(merging)
    assert result.report["objects"]["made"] == 2
    assert result.report["stages"]["claims"]["done"] == 1
    assert run(merging, resume=True).report == result.report
