"""Several people at once: disjoint voxels both win, the same voxels are told and chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.editing.making import assert_levels
from volseg.editing import EditConflictError, Editor
from volseg.editing.index import JournalIndex
from volseg.editing.past import replayed
from volseg.editing.unsaved import local_copies
from volseg.errors import ConflictError, InputError, UnsavedEditsError
from volseg.geometry import whole_region
from volseg.images.image import open_volume
from volseg.images.labels import Labels


def two(labels: Labels) -> tuple[Editor, Editor]:
    return labels.edit("ann", flush_after=None), labels.edit("bob", flush_after=None)


def test_disjoint_voxels_of_one_chunk_both_win(anywhere: Labels) -> None:
    ann, bob = two(anywhere)
    ann[1, 3:9, 3:9] = 7
    bob[1, 9:12, 3:9] = 8
    bob[0, 0, 0] = 9
    ann.flush()
    bob.flush()
    wanted = np.zeros(ann.shape, "uint32")
    wanted[1, 3:9, 3:9], wanted[1, 9:12, 3:9], wanted[0, 0, 0] = 7, 8, 9
    assert_levels(anywhere, wanted)
    np.testing.assert_array_equal(bob[...], wanted)
    ann.refresh()
    np.testing.assert_array_equal(ann[...], wanted)
    ann.close()
    bob.close()
    assert_levels(anywhere, wanted)


def test_the_same_voxels_are_told_by_chunk_and_name_and_nothing_is_written(
    anywhere: Labels,
) -> None:
    ann, bob = two(anywhere)
    ann[1, 3:9, 3:9] = 7
    bob[1, 8:12, 3:9] = 8
    bob[4, 60, 80] = 5
    ann.flush()
    with pytest.raises(EditConflictError, match=r"6 voxels of chunk .0, 0, 0.*ann") as caught:
        bob.flush()
    assert caught.value.annotators == ["ann"]
    assert isinstance(caught.value, ConflictError)
    assert JournalIndex(anywhere).last == 1
    assert np.asarray(anywhere.levels[0])[4, 60, 80] == 0
    assert len(bob.pending) == 2
    assert bob[8 // 8, 9, 3] == 8  # still in view
    bob.discard()
    assert bob[1, 9, 3] == 0
    assert bob[1, 8, 3] == 7
    ann.close()
    bob.close()


def test_edits_that_are_not_in_conflict_are_stored_around_those_that_are(anywhere: Labels) -> None:
    ann, bob = two(anywhere)
    ann[1, 3:9, 3:9] = 7
    bob[1, 8:12, 3:9] = 8
    bob[1, 11, 3:12] = 6  # lies on the one in conflict
    bob[4, 60, 80] = 5
    ann.flush()
    with pytest.raises(EditConflictError, match="1 of your edits is in conflict"):
        bob.flush(around_conflicts=True)
    wanted = np.zeros(ann.shape, "uint32")
    wanted[1, 3:9, 3:9], wanted[4, 60, 80] = 7, 5
    assert_levels(anywhere, wanted)
    assert len(bob.pending) == 2 and bob[1, 11, 10] == 6  # still in view
    bob[5, 0, 0] = 9
    with pytest.raises(EditConflictError):
        bob.flush(around_conflicts=True)
    wanted[5, 0, 0] = 9
    assert_levels(anywhere, wanted)
    bob.resolve("mine")
    bob.close()
    wanted[1, 8:12, 3:9], wanted[1, 11, 3:12] = 8, 6
    ann.close()
    assert_levels(anywhere, wanted)


def test_a_copy_is_found_by_the_labels_that_it_belongs_to_wherever_they_lie(
    labels: Labels, tmp_path: Path
) -> None:
    ann, bob = two(labels)
    other = labels.volume().create_labels("organelles", chunks=(2, 32, 32))
    ann[1, 3:9, 3:9] = 7
    bob[1, 8:12, 3:9] = 8
    ann.close()
    path = bob.keep_copy(tmp_path)
    assert path is not None
    bob.abandon()
    (copy,) = local_copies(labels, tmp_path)
    assert (copy.path, copy.annotator, copy.operations, copy.voxels) == (path, "bob", 1, 24)
    assert local_copies(other, tmp_path) == []
    root = labels.volume().location.local_path
    assert root is not None
    root.rename(root.with_name("elsewhere.zarr"))
    moved = open_volume(root.with_name("elsewhere.zarr")).labels["cells"]
    assert [one.path for one in local_copies(moved, tmp_path)] == [path]


def test_where_no_copy_can_be_kept_the_editor_stays_open(labels: Labels, tmp_path: Path) -> None:
    ann, bob = two(labels)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    bob._local_folder = blocked
    ann[1, 3:9, 3:9] = 7
    bob[1, 8:12, 3:9] = 8
    ann.close()
    with pytest.raises(UnsavedEditsError, match="No copy could be kept"):
        bob.close()
    assert not bob.closed and len(bob.pending) == 1
    bob.resolve("theirs")
    bob.close()
    assert bob.closed


def test_theirs_drops_only_what_is_in_conflict(labels: Labels) -> None:
    ann, bob = two(labels)
    ann[1, 3:9, 3:9] = 7
    bob[1, 8:12, 3:9] = 8
    bob[1, 11, 3:12] = 6  # lies on the one in conflict
    bob[4, 60, 80] = 5
    ann.flush()
    assert bob.resolve("theirs") == 2
    bob.close()
    ann.close()
    wanted = np.zeros(labels.shape, "uint32")
    wanted[1, 3:9, 3:9], wanted[4, 60, 80] = 7, 5
    assert_levels(labels, wanted)


def test_mine_goes_on_top_and_undo_brings_theirs_back(labels: Labels) -> None:
    ann, bob = two(labels)
    ann[1, 3:9, 3:9] = 7
    bob[1, 8:12, 3:9] = 8
    bob[1, 11, 3:12] = 6
    ann.flush()
    bob.resolve("mine")
    bob.flush()
    wanted = np.zeros(labels.shape, "uint32")
    wanted[1, 3:9, 3:9] = 7
    theirs = wanted.copy()
    wanted[1, 8:12, 3:9], wanted[1, 11, 3:12] = 8, 6
    assert_levels(labels, wanted)
    assert bob.undo() is not None
    assert bob.undo() is not None
    bob.close()
    ann.close()
    assert_levels(labels, theirs)


def test_undo_is_refused_where_a_later_record_touched_the_same_voxels(anywhere: Labels) -> None:
    ann, bob = two(anywhere)
    ann[1, 3:9, 3:9] = 7
    ann.flush()
    bob.refresh()
    bob[1, 5, 5] = 8
    bob.flush()
    assert ann.undo() is not None  # at once, in memory
    assert ann[1, 3, 3] == 0
    with pytest.raises(ConflictError, match="bob"):
        ann.flush()
    ann.discard()
    assert ann[1, 3, 3] == 7
    with pytest.raises(ConflictError, match="bob"):
        ann.undo()  # now known
    assert not ann.pending
    ann.close()
    bob.close()


def test_undo_takes_back_what_others_did_before(labels: Labels) -> None:
    with labels.edit("ann", flush_after=None) as ann:
        ann[1, 3:9, 3:9] = 7
        ann.delete(7)
        ann[2, :, :] = 4
    with labels.edit("bob", flush_after=None) as bob:
        bob[0, 0, 0] = 1
        kinds = [bob.undo() for _ in range(4)]
        assert [item.details["of"] for item in kinds if item] == [
            "assign",
            "assign",
            "delete",
            "assign",
        ]
        assert bob.undo() is None
    assert_levels(labels, np.zeros(labels.shape, "uint32"))
    with labels.edit("eve", flush_after=None) as eve:
        for _ in range(4):
            assert eve.redo() is not None
        assert eve.redo() is None
    wanted = np.zeros(labels.shape, "uint32")
    wanted[2], wanted[0, 0, 0] = 4, 1
    assert_levels(labels, wanted)
    index = JournalIndex(labels)
    np.testing.assert_array_equal(replayed(index, whole_region(labels.shape)), wanted)


def test_classes_conflict_by_object(labels: Labels) -> None:
    with labels.edit("ann", flush_after=None) as first:
        first[0, :4, :4] = 7
    ann, bob = two(labels)
    ann.set_class(7, "nucleus")
    bob.set_class(7, "cell")
    ann.flush()
    with pytest.raises(ConflictError, match="class"):
        bob.flush()
    bob.discard()
    bob.close()
    ann.close()
    assert labels.objects.row(7).class_ == "nucleus"
    with labels.edit("ann", flush_after=None) as ann:
        ann.undo()
    assert labels.objects.row(7).class_ is None


def test_closing_in_a_conflict_raises_both_and_keeps_a_copy(labels: Labels, tmp_path: Path) -> None:
    ann = labels.edit("ann", flush_after=None)
    bob = labels.edit("bob", flush_after=None, local_folder=tmp_path / "kept")
    ann[1, 3:9, 3:9] = 7
    bob[1, 8:12, 3:9] = 8
    ann.close()
    with pytest.raises(ConflictError) as caught:
        bob.close()
    assert isinstance(caught.value, UnsavedEditsError)
    (copy,) = (tmp_path / "kept").iterdir()
    assert str(copy) in str(caught.value)
    with labels.edit("bob", flush_after=None) as bob:
        with pytest.raises(ConflictError, match="ann"):
            bob.restore(copy)
        bob.resolve("mine")
    assert (np.asarray(labels.levels[0])[1, 8:12, 3:9] == 8).all()
    with labels.edit("bob", flush_after=None) as bob:
        assert bob.restore(copy) == 0  # its operations are in the journal by now


def test_label_images_never_touch_each_other(labels: Labels) -> None:
    other = labels.volume().create_labels("organelles", chunks=(2, 32, 32))
    with other.edit("ann", flush_after=None) as editor:
        editor[...] = 3
    before = {s.key: other.store.get(s.key) for s in other.store.list()}
    with labels.edit("ann", flush_after=None) as editor:
        editor[1:3, 5:60] = 9
        editor.flush()
        while editor.undo():
            pass
        with pytest.raises(InputError, match="has no object 9"):
            editor.delete(9)
    assert {s.key: other.store.get(s.key) for s in other.store.list()} == before
