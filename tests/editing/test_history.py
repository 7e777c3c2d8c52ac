"""Looking back: the list of operations, and the labels as they were after any of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import volseg
from tests.editing.making import assert_levels, pyramid_of
from volseg.editing import append_run_record, history, labels_at, labels_now
from volseg.editing.index import JournalIndex
from volseg.editing.past import replayed
from volseg.errors import InputError
from volseg.geometry import whole_region
from volseg.images.labels import Labels


def edited(labels: Labels) -> tuple[list[np.ndarray], list[datetime]]:
    """Edit in three sessions; return the voxels and the time after each record, starting before the first."""
    states = [np.zeros(labels.shape, "uint32")]
    times = [datetime.now(UTC)]
    for who in ("ann", "bob", "ann"):
        with labels.edit(who, flush_after=None) as editor:
            for number in range(2):
                editor[number : number + 2, 5:40, 8 : 30 + len(states)] = len(states)
                if len(states) == 4:
                    editor.undo()
                    editor[3, :, :] = 9
                editor.flush()
                states.append(editor[...])
                times.append(datetime.now(UTC))
    return states, times


def test_history_tells_who_when_what_and_where(labels: Labels) -> None:
    edited(labels)
    entries = history(labels)
    assert [e.number for e in entries] == [1, 2, 3, 4, 4, 4, 5, 6]
    assert [e.annotator for e in entries] == ["ann"] * 2 + ["bob"] * 4 + ["ann"] * 2
    assert [e.kind for e in entries][3:6] == ["assign", "undo", "assign"]
    assert [e.undone for e in entries] == [n == 3 for n in range(8)]
    first = entries[0]
    assert first.voxels == 2 * 35 * 23
    assert first.bbox == ((0, 2), (5, 40), (8, 31))
    assert first.ids == {1: first.voxels}
    assert first.to_json()["bbox"] == ((0, 2), (5, 40), (8, 31))
    assert entries[4].details["operation"] == entries[3].operation


def test_labels_as_they_were_after_every_record(anywhere: Labels) -> None:
    states, times = edited(anywhere)
    region = ((1, 5), (3, 44), (0, 33))
    inside = tuple(slice(a, b) for a, b in region)
    for number, (state, time) in enumerate(zip(states, times, strict=True)):
        for when in (number, time, time.isoformat()):
            then = labels_at(anywhere, when)
            np.testing.assert_array_equal(then.read(region), state[inside])
    index = JournalIndex(anywhere)
    for number, state in enumerate(states):
        found = replayed(index, whole_region(anywhere.shape), upto=number)
        np.testing.assert_array_equal(found, state)
    then = labels_at(anywhere, 3)
    for level, wanted in enumerate(pyramid_of(anywhere, states[3])):
        found = then.read(whole_region(wanted.shape), level=level)
        np.testing.assert_array_equal(found, wanted)


def test_writing_labels_as_they_were(labels: Labels, tmp_path: Path) -> None:
    states, times = edited(labels)
    copy = labels_at(labels, times[2].isoformat()).write(tmp_path / "then.zarr")
    again = volseg.open(tmp_path / "then.zarr")
    assert copy.shape == again.shape == labels.shape
    assert len(again.levels) == len(labels.levels)
    for level, wanted in zip(again.levels, pyramid_of(labels, states[2]), strict=True):
        np.testing.assert_array_equal(np.asarray(level), wanted)
    assert "image-label" in again.multiscale.attributes
    assert_levels(labels, states[-1])


def test_times_that_are_none(labels: Labels) -> None:
    edited(labels)
    with pytest.raises(InputError, match="ISO 8601"):
        labels_at(labels, "yesterday")
    with pytest.raises(InputError, match="1 to 6"):
        labels_at(labels, 7)
    append_run_record(labels, plan="p", tracks="t")
    with pytest.raises(InputError, match="segmentation run"):
        labels_at(labels, 3)
    assert labels_at(labels, 7).number == 7


def test_reading_without_writing_sees_what_a_stopped_editor_left(labels: Labels) -> None:
    class Stopped(BaseException):
        pass

    def stop(step: str) -> None:
        if step == "chunk-put":
            raise Stopped

    editor = labels.edit("ann", flush_after=None, step=stop)
    editor[1:3, 10:50, 10:50] = 7
    with pytest.raises(Stopped):
        editor.flush()
    assert not np.asarray(labels.levels[0]).any()
    wanted = np.zeros(labels.shape, "uint32")
    wanted[1:3, 10:50, 10:50] = 7
    now = labels_now(labels)
    for level, expected in enumerate(pyramid_of(labels, wanted)):
        np.testing.assert_array_equal(now.read(whole_region(expected.shape), level=level), expected)
    assert not np.asarray(labels.levels[0]).any()
