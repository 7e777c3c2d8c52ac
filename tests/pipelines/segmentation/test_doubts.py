"""A run's end tells what looks wrong about its objects."""

from __future__ import annotations

from volseg.pipelines.segmentation.doubts import describe_doubts, doubts_of
from volseg.pipelines.segmentation.groups import Extent, Found, TrackEntry


def found(**tracks: tuple[int, int, float, int]) -> Found:
    """Tracks `o7=(slices, voxels, score, voxels that stayed)`, each prompted on one slice."""
    made = Found()
    for name, (slices, voxels, score, kept) in tracks.items():
        i = int(name[1:])
        made.seeds[i] = [3]
        made.tracks[i] = TrackEntry(i, "", score, slices, voxels, ())
        if kept:
            made.extents[i] = Extent(kept, (0, 1, 0, 1, 0, 1))
    return made


def test_what_looks_wrong_is_told() -> None:
    doubts = doubts_of(
        found(
            o1=(9, 900, 0.9, 900),  # well
            o2=(1, 100, 0.9, 100),  # ended where it began
            o3=(9, 900, 0.9, 10),  # covered
            o4=(9, 900, 0.9, 0),  # covered altogether
            o5=(9, 900, 0.2, 900),  # hardly believed
        ),
        depth=20,
    )
    assert doubts == {"on_first_slice": [2], "covered": [3, 4], "unsure": [5]}
    lines = describe_doubts({"made": 4, "empty": [6], "incomplete": [], **doubts})
    assert len(lines) == 4
    assert any("object 6" in line and "background" in line for line in lines)
    assert any("objects 3, 4" in line and "twice" in line for line in lines)


def test_a_single_slice_is_no_doubt() -> None:
    assert doubts_of(found(o1=(1, 100, 0.9, 100)), depth=1)["on_first_slice"] == []


def test_many_are_cut_short() -> None:
    (line,) = describe_doubts({"unsure": list(range(1, 101))})
    assert "and 80 more" in line


def test_reports_of_older_runs_have_no_doubts() -> None:
    assert describe_doubts({"made": 3, "empty": [], "incomplete": []}) == []
