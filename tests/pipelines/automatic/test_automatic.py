"""Whole volumes without a click: what is found, that no cut decides it, and how odd volumes end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.pipelines.automatic.conftest import Known, Truth, balls
from volseg.errors import ExistsError, InputError, NotThereError, VolsegError
from volseg.pipelines.automatic import make_plan, run_automatic
from volseg.pipelines.automatic.plan import AutoPlan

Make = Callable[..., Known]


def matches(truth: Truth, found: Truth, least: float = 0.5) -> int:
    """Count true objects that a found one overlaps by more than `least`, intersection over union."""
    count = 0
    for i in np.unique(truth[truth > 0]):
        inside = truth == i
        ids, counts = np.unique(found[inside], return_counts=True)
        best = ids[counts.argmax()]
        other = found == best
        count += best > 0 and (inside & other).sum() / (inside | other).sum() > least
    return count


def plan_of(known: Known, labels: str, **choices: object) -> AutoPlan:
    oracle = {"kind": "oracle", "url": known.url, "name": "truth"}
    return make_plan(known.volume, labels=labels, model=oracle, size=3.0, **choices)


def test_separate_objects_are_found_each_once(known_balls: Known) -> None:
    result = known_balls.auto("balls", size=3.0)
    assert result.plan.method == "seeds" and result.made == 6
    found = known_balls.found("balls")
    assert len(np.unique(found)) - 1 == 6
    assert matches(known_balls.truth, found, 0.9) == 6
    rows = result.labels.objects.rows()
    assert all(row.confidence is not None and row.confidence > 0.5 for row in rows)
    # the proposals are a prompts file that a person may edit: point, box and mask of one slice each
    assert result.proposals is not None
    for one in result.proposals.objects:
        (prompt,) = one.prompts
        y, x, _ = prompt.points[0]
        assert prompt.mask is not None and prompt.mask.decode()[int(y), int(x)]
        assert known_balls.truth[prompt.z, int(y), int(x)] > 0


def test_tissue_is_parted_into_regions_and_the_plan_says_why(known_tissue: Known) -> None:
    result = known_tissue.auto("cells")
    assert result.plan.method == "regions"
    assert "tissue without gaps" in result.plan.describe()
    truth, found = known_tissue.truth, known_tissue.found("cells")
    large = [
        i for i, n in zip(*np.unique(truth, return_counts=True), strict=True) if i and n > 1500
    ]
    assert matches(np.where(np.isin(truth, large), truth, 0), found, 0.7) == len(large)
    rows = {row.id: row for row in result.labels.objects.rows()}
    ids, voxels = np.unique(found[found > 0], return_counts=True)
    assert {i: row.voxels for i, row in rows.items()} == dict(
        zip(ids.tolist(), voxels.tolist(), strict=True)
    )
    assert "least sure of" in result.describe()


@pytest.mark.parametrize("method", ["seeds", "regions"])
def test_no_cut_into_blocks_decides_anything(known_tissue: Known, method: str) -> None:
    one = plan_of(known_tissue, f"one-{method}", method=method)
    chunk = one.levels[0].chunk
    other = one.model_copy(
        update={"labels": f"other-{method}", "run": 2, "block": (chunk[0], chunk[1], chunk[2])}
    )
    assert one.hash != other.hash
    run_automatic(one), run_automatic(other)
    volume = known_tissue.volume
    for a, b in zip(
        volume.labels[one.labels].levels, volume.labels[other.labels].levels, strict=True
    ):
        assert np.asarray(a).any()
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.long
@pytest.mark.parametrize("method", ["seeds", "regions"])
def test_workers_and_a_bucket_change_nothing(
    known_tissue: Known, make_known: Make, s3_url: str, method: str
) -> None:
    far = make_known(known_tissue.truth, f"{s3_url}/tissue.zarr")
    here = plan_of(known_tissue, f"here-{method}", method=method)
    run_automatic(here)
    run_automatic(plan_of(far, "far", method=method), "local", workers=2)
    a, b = known_tissue.found(here.labels), far.found("far")
    assert a.any() and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("method", ["auto", "seeds", "regions"])
def test_an_empty_volume_ends_well(make_known: Make, method: str) -> None:
    known = make_known(np.zeros((2, 40, 50), np.uint32))
    result = known.auto(method=method)
    assert result.made == 0 and "nothing was found" in result.describe()
    assert not known.found().any()


def test_a_volume_of_one_object_ends_well(make_known: Make) -> None:
    known = make_known(np.ones((3, 40, 50), np.uint32))
    result = known.auto()
    assert result.plan.method == "regions" and result.made == 1
    assert (known.found() == 1).mean() > 0.9


def test_one_slice_is_enough(make_known: Make) -> None:
    known = make_known(balls((1, 90, 122)))
    result = known.auto(size=3.0)
    assert result.made == 6 == matches(known.truth, known.found(), 0.8)


def test_small_objects_are_left_out(make_known: Make) -> None:
    truth = balls((1, 90, 122))
    truth[0, 42:49, 42:49] = 9
    known = make_known(truth)
    assert known.auto("all", size=3.0).made == 7
    assert known.auto("large", size=3.0, min_size=1.5).made == 6
    assert known.auto("regions", size=3.0, method="regions").made == 7
    assert known.auto("large-regions", size=3.0, min_size=1.5, method="regions").made == 6


def test_into_existing_labels_other_objects_stay(make_known: Make) -> None:
    known = make_known(balls((3, 90, 122)))
    whole = tuple((0, n) for n in known.truth.shape)
    mine = np.where(known.truth == 2, 77, 0).astype(np.uint32)
    labels = known.volume.create_labels("mixed")
    labels.write_objects(whole, mine)
    with labels.edit(annotator="annotator-1") as editor:
        editor[0, 0:4, 0:4] = 78
    result = known.auto("mixed", size=3.0, into_existing=True)
    found = known.found("mixed")
    assert result.proposals is not None and len(result.proposals.objects) == 5
    assert min(one.id for one in result.proposals.objects) > 78
    assert np.array_equal(found == 77, mine == 77) and (found == 78).sum() == 16
    assert matches(known.truth, found, 0.8) == 6


def test_a_finished_run_is_not_done_again(known_balls: Known) -> None:
    first = known_balls.auto("again", size=3.0)
    with pytest.raises(ExistsError, match="--overwrite"):
        known_balls.auto("again", size=3.0)
    again = known_balls.auto("again", size=3.0, resume=True)
    assert again.report == first.report
    assert first.segmented is not None and again.segmented is not None
    assert again.segmented.report == first.segmented.report
    replaced = known_balls.auto("again", size=3.0, overwrite=True)
    assert replaced.made == 6


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    known_tissue: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volseg.pipelines.automatic.fragment_stage import FragmentStage
    from volseg.pipelines.automatic.region_stages import LabelStage

    whole = plan_of(known_tissue, "whole", method="regions")
    run_automatic(whole)
    broken = plan_of(known_tissue, "broken", method="regions")
    computed = []
    looked, label = FragmentStage.compute, LabelStage.compute

    def counted(self, block, context):  # type: ignore[no-untyped-def]
        computed.append(block.id)
        return looked(self, block, context)

    def interrupted(self, block, context):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    monkeypatch.setattr(FragmentStage, "compute", counted)
    monkeypatch.setattr(LabelStage, "compute", interrupted)
    with pytest.raises((KeyboardInterrupt, VolsegError)):
        run_automatic(broken)
    monkeypatch.setattr(LabelStage, "compute", label)
    run_automatic(broken, resume=True)
    assert len(computed) == len(set(computed))
    assert known_tissue.found("broken").tobytes() == known_tissue.found("whole").tobytes()


def test_what_does_not_fit_is_told(known_balls: Known) -> None:
    with pytest.raises(NotThereError, match="leave --into-existing out"):
        known_balls.auto("none", size=3.0, into_existing=True)
    with pytest.raises(InputError, match="needs --method seeds"):
        known_balls.auto("none", size=3.0, into_existing=True, method="regions")
    with pytest.raises(InputError, match="exclude each other"):
        known_balls.auto("none", into_existing=True, overwrite=True)
    with pytest.raises(InputError, match="time point 3"):
        known_balls.auto("none", time=3)
