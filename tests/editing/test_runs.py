"""Segmentation runs among editors: people's voxels stay, record numbers decide, blocks are put conditionally."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.editing.making import assert_levels
from volseg.editing import JournalIndex, RunWriter, append_run_record, person_edited_mask
from volseg.errors import LeaseHeldError
from volseg.geometry import Region, whole_region
from volseg.images.labels import Labels


def mask_of(labels: Labels) -> np.ndarray:
    return person_edited_mask(labels, whole_region(labels.shape))


def test_who_edited_last(anywhere: Labels) -> None:
    assert not mask_of(anywhere).any()
    wanted = np.zeros(anywhere.shape, bool)
    with anywhere.edit("ann", flush_after=None) as editor:
        editor[1, 5:40, 5:40] = 7
        editor.flush()
        editor[2, 5:40, 5:40] = 7
        editor.undo()  # as if it had never been
        editor[1, 5:10, 5:10] = 0  # background by a person's hand
    wanted[1, 5:40, 5:40] = True
    np.testing.assert_array_equal(mask_of(anywhere), wanted)
    number = append_run_record(anywhere, plan="p", tracks="t")
    assert append_run_record(anywhere, plan="p", tracks="t") == number
    assert append_run_record(anywhere, plan="p", tracks="u") == number + 1
    np.testing.assert_array_equal(mask_of(anywhere), wanted)
    region = ((1, 3), (30, 50), (0, 20))
    inside = tuple(slice(a, b) for a, b in region)
    np.testing.assert_array_equal(person_edited_mask(anywhere, region), wanted[inside])


def test_a_run_may_be_told_to_overwrite_but_not_while_somebody_edits(labels: Labels) -> None:
    with labels.edit("ann", flush_after=None) as editor:
        editor[1, 5:40, 5:40] = 7
        editor.flush()
        with pytest.raises(LeaseHeldError, match="ann"):
            append_run_record(labels, plan="p", tracks="t", overwrite_edits=True)
    region: Region = ((0, 6), (0, 70), (0, 20))
    append_run_record(labels, plan="p", tracks="t", overwrite_edits=True, region=region)
    index = JournalIndex(labels)
    assert not index.person_edited(region).any()
    with labels.edit("ann", flush_after=None) as editor:
        editor[1, 5:10, 5:10] = 8
        assert editor.undo() is not None
        editor.redo()
    found = mask_of(labels)
    assert found[1, 5:10, 5:10].all()
    assert found[:, :, :20].sum() == 25


def test_a_run_and_an_editor_at_the_same_time(labels: Labels) -> None:
    with labels.edit("ann", flush_after=None) as editor:
        editor[0:2, 20:40, 20:40] = 7
    tracks = np.zeros(labels.shape, "uint32")
    tracks[:, 10:60, 30:80] = 3
    append_run_record(labels, plan="p", tracks="t")
    failures: list[BaseException] = []

    def compose(block: np.ndarray, owned: np.ndarray, region: Region) -> np.ndarray:
        part = tracks[tuple(slice(a, b) for a, b in region)]
        return np.where(owned | (part == 0), block, part)

    def run() -> None:
        try:
            writer = RunWriter(labels)
            for z in range(0, 6, 2):
                writer.write(((z, z + 2), (0, 70), (0, 90)), compose)
            writer.close()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    rng = np.random.default_rng(0)
    wanted = tracks.copy()
    wanted[0:2, 20:40, 20:40] = 7
    thread.start()
    with labels.edit("bob", flush_after=None) as editor:
        for label in range(20, 32):
            z, y, x = (int(rng.integers(0, n - 5)) for n in labels.shape)
            editor[z, y : y + 12, x : x + 12] = label
            wanted[z, y : y + 12, x : x + 12] = label
            editor.flush()
    thread.join()
    assert not failures
    edited = mask_of(labels)
    np.testing.assert_array_equal(
        np.where(edited, 0, np.asarray(labels.levels[0])), np.where(edited, 0, wanted)
    )
    np.testing.assert_array_equal(np.asarray(labels.levels[0]), wanted)
    assert_levels(labels, wanted)


def test_levels_that_a_writer_leaves_are_renewed_one_by_one(anywhere: Labels) -> None:
    ids = np.zeros(anywhere.shape, "uint32")
    ids[1:5, 10:60, 30:80] = 3
    writer = RunWriter(anywhere, levels=1)
    writer.write(
        whole_region(anywhere.shape), lambda block, _, r: ids[tuple(slice(*span) for span in r)]
    )
    assert not np.asarray(anywhere.levels[1]).any()
    for level in range(1, len(anywhere.levels)):
        grid = anywhere.levels[level].grid
        for index in grid.index_of(whole_region(grid.shape)):
            writer.renew(level, grid.region(index))
    writer.close()
    assert_levels(anywhere, ids)


def test_what_people_put_by_the_journal_alone(labels: Labels) -> None:
    with labels.edit("ann", flush_after=None) as editor:
        editor[1, 5:40, 5:40] = 7
        editor.flush()
        editor[1, 20:60, 20:60] = 8
        editor.undo()
        editor[1, 30:35, 30:35] = 0
    now = np.asarray(labels.levels[0])
    region: Region = ((0, 4), (3, 60), (10, 90))
    inside = tuple(slice(*span) for span in region)
    labels.store.delete_all("0")  # the chunks are gone, the journal is not
    index = JournalIndex(labels)
    mask, values = index.person_values(region)
    np.testing.assert_array_equal(mask, index.person_edited(region))
    assert mask.sum() == (37 - 2) * (40 - 10)
    np.testing.assert_array_equal(values, now[inside])
    append_run_record(labels, plan="p", tracks="t", overwrite_edits=True)
    index.refresh()
    assert not index.person_values(region)[0].any()
    np.testing.assert_array_equal(index.person_edited(region, forget=False), mask)
