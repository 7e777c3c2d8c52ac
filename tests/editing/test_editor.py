"""The editor's tools, on all kinds of label images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.any_shape import Drawn, coarser, write_image, write_labels_of_others
from tests.editing.making import assert_levels, make_labels
from volseg.errors import InputError, MemoryBudgetError
from volseg.images.image import open_volume
from volseg.images.labels import Labels


@pytest.mark.parametrize(
    ("axes", "shape", "options"),
    [
        ("yx", (70, 90), {}),
        ("zyx", (3, 5, 7), {"levels": 1}),  # smaller than a chunk
        ("zyx", (5, 33, 65), {"dtype": "uint64", "ngff": "0.4"}),
        ("zyx", (5, 33, 65), {"thin": True}),
        ("tczyx", (2, 2, 4, 40, 40), {"dtype": "uint16"}),
    ],
)
def test_all_kinds_of_labels(folder: str, axes: str, shape: tuple[int, ...], options: Any) -> None:
    labels = make_labels(folder, shape, axes=axes, **options)
    top = int(np.iinfo(labels.dtype).max)
    wanted = np.zeros(labels.shape, labels.dtype)
    time = labels.n_times - 1
    with labels.edit("ann", flush_after=None, time=time) as editor:
        editor[0, 1:4, 2:6] = top
        editor[-1, :, ::3] = 1
        editor[-1, 2, 3] = 2
    wanted[0, 1:4, 2:6] = top
    wanted[-1, :, ::3] = 1
    wanted[-1, 2, 3] = 2
    np.testing.assert_array_equal(labels.read(whole(labels), time=time), wanted)
    if labels.n_times == 1 and "t" not in axes:
        assert_levels(labels, wanted)
    else:
        assert not labels.read(whole(labels), time=0).any()
    assert {(row.time, row.id) for row in labels.objects.rows()} == {
        (time, 1),
        (time, 2),
        (time, top),
    } - ({(time, 2)} if not (wanted == 2).any() else set())
    with labels.edit("bob", flush_after=None) as editor:
        while editor.undo():
            pass
    assert not labels.read(whole(labels), time=time).any()
    assert labels.objects.rows() == []


def whole(labels: Labels) -> Any:
    return tuple((0, n) for n in labels.shape)


def test_wrong_values_change_nothing(labels: Labels) -> None:
    with labels.edit("ann", flush_after=None) as editor:
        for value in (-1, 2**32, 1.5, "seven", [1, 2, 3]):
            with pytest.raises(InputError):
                editor[0, 0] = value
        with pytest.raises(InputError, match="slice"):
            editor.paint(99, np.ones((2, 2), bool), 1)
        with pytest.raises(InputError, match="bool"):
            editor.paint(0, np.ones((2, 2), int), 1)
        with pytest.raises(InputError, match="above 0"):
            editor.merge([1])
        with pytest.raises(IndexError):
            editor[0, 0, 999] = 1
        assert not editor.pending
    with pytest.raises(InputError, match="name"):
        labels.edit(" ")


def test_brushes_protect_and_erase(labels: Labels) -> None:
    mask = np.ones((10, 10), bool)
    with labels.edit("ann", flush_after=None) as editor:
        editor.paint(1, mask, 7, origin=(-5, 60))
        editor.paint(1, mask, 8, origin=(0, 62), protect=True)
        assert (editor[1, :5, 60:70] == 7).all()
        assert (editor[1, 5:10, 62:72] == 8).all()
        editor.erase(1, np.ones((70, 90), bool), label=7)
        assert sorted(np.unique(editor[1])) == [0, 8]
        editor.erase(1, mask, origin=(5, 65))
        assert not editor[1, 5:15, 65:75].any()


def test_fill_reaches_as_far_as_the_value(labels: Labels) -> None:
    with labels.edit("ann", flush_after=None) as editor:
        editor[:, 30] = 4  # a wall
        assert editor.fill((2, 0, 0), 5) == 30 * 90
        assert editor.fill((2, 69, 0), 6, volume=True) == 6 * 39 * 90
        with pytest.raises(MemoryBudgetError):
            editor.fill((0, 0, 0), 1, volume=True, max_voxels=1000)
    wanted = np.zeros(labels.shape, "uint32")
    wanted[2, :30], wanted[:, 30:] = 5, 6
    wanted[:, 30] = 4
    assert_levels(labels, wanted)


def test_split_divides_at_the_neck_and_merge_joins(labels: Labels) -> None:
    _, y, x = np.mgrid[:6, :70, :90]
    dumbbell = (np.hypot(y - 35, x - 25) < 16) | (np.hypot(y - 35, x - 62) < 16)
    dumbbell |= (abs(y - 35) < 3) & (x > 25) & (x < 62)
    with labels.edit("ann", flush_after=None) as editor:
        editor[dumbbell] = 7
        editor.flush()
        parts = editor.split(7, [[(3, 35, 25)], [(3, 35, 62), (2, 30, 60)]])
        assert parts[0] == 7
        assert parts[1] not in (0, 7)
        assert (editor[3, 35, 25], editor[3, 35, 62]) == tuple(parts)
        shares = [int((editor[...] == part).sum()) for part in parts]
        assert min(shares) > 0.45 * dumbbell.sum()
        editor.flush()
        assert {r.id: r.voxels for r in labels.objects.rows()} == dict(
            zip(parts, shares, strict=True)
        )
        with pytest.raises(InputError, match="not in object"):
            editor.split(7, [[(3, 35, 25)], [(3, 35, 62)]])
        with pytest.raises(MemoryBudgetError, match="GiB"):
            editor.split(7, [[(3, 35, 25)], [(3, 35, 20)]], max_bytes=1000)
        editor.merge(parts)
        np.testing.assert_array_equal(editor[...], np.where(dumbbell, 7, 0))
        editor.undo()
        editor.undo()
        np.testing.assert_array_equal(editor[...], np.where(dumbbell, 7, 0))


def test_relabel_takes_class_and_refuses_what_is_taken(labels: Labels) -> None:
    with labels.edit("ann", flush_after=None) as editor:
        editor[0, :9, :9] = 3
        editor[1, :9, :9] = 4
        editor.set_class(3, "nucleus")
        with pytest.raises(InputError, match="merge"):
            editor.relabel(3, 4)
        editor.relabel(3, 11)
        assert (editor[0, :9, :9] == 11).all()
    rows = {row.id: row.class_ for row in labels.objects.rows()}
    assert rows == {4: None, 11: "nucleus"}
    with labels.edit("ann", flush_after=None) as editor:
        editor.undo()
    assert {row.id: row.class_ for row in labels.objects.rows()} == {4: None, 3: "nucleus"}


@pytest.mark.parametrize("saved", [True, False])
def test_objects_that_are_not_there_are_refused(labels: Labels, saved: bool) -> None:
    with labels.edit("ann", flush_after=None) as editor:
        editor[0, :9, :9] = 3
        editor[1, :9, :9] = 4
        if saved:
            editor.flush()
        before = len(editor.pending)
        for call in (
            lambda: editor.delete(99),
            lambda: editor.merge([3, 99]),
            lambda: editor.merge([99, 3]),
            lambda: editor.relabel(99, 7),
            lambda: editor.set_class(99, "nucleus"),
        ):
            with pytest.raises(InputError, match="no object 99"):
                call()
        assert len(editor.pending) == before
        editor.delete(4)
        with pytest.raises(InputError, match="no object 4"):
            editor.delete(4)  # gone, though the table may still list it
        with pytest.raises(InputError, match="no object 4"):
            editor.set_class(4, "nucleus")
        editor.set_class(3, "nucleus")
        editor.set_class(3, None)
    assert {row.id for row in labels.objects.rows()} == {3}


def test_new_ids_are_nobody_elses(anywhere: Labels) -> None:
    with (
        anywhere.edit("ann", flush_after=None) as ann,
        anywhere.edit("bob", flush_after=None) as bob,
    ):
        ann[0, 0, 0] = 3000
        ids = [*ann.new_ids(3), *bob.new_ids(3), ann.new_id()]
        assert len(set(ids)) == 7
        assert all(label > 3000 for label in ids[:3])


def test_new_ids_do_not_end_where_somebody_used_the_largest(anywhere: Labels) -> None:
    largest = int(np.iinfo(anywhere.dtype).max)
    with anywhere.edit("ann", flush_after=None) as ann:
        ann[0, 0, 0] = 5
        ann[0, 0, 1] = largest
        ann.flush()
        ids = ann.new_ids(2000)
        assert len(set(ids)) == 2000
        assert not set(ids) & {0, 5, largest}
    with anywhere.edit("bob", flush_after=None) as bob:
        assert not set(bob.new_ids(3)) & set(ids)


def test_whole_objects_need_no_memory_for_the_whole(
    labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volseg.editing import bulk

    monkeypatch.setattr(bulk, "PART_BYTES", 500)
    with labels.edit("ann", flush_after=None, cache_bytes=20_000) as editor:
        editor[...] = np.random.default_rng(0).integers(1, 4, editor.shape)
        editor.flush()
        before = editor[...]
        editor.merge([1, 2, 3])
        assert len(list(labels.store.list("volseg/journal/parts"))) > 1
        assert editor._cache.nbytes <= 20_000 * 2
        assert (editor[...] == 1).all()
        editor.flush()
        assert_levels(labels, np.ones(labels.shape, "uint32"))
        editor.undo()
        np.testing.assert_array_equal(editor[...], before)
    assert_levels(labels, before)


def test_the_cache_keeps_its_bound_and_no_edit_leaves_with_a_chunk(labels: Labels) -> None:
    rng = np.random.default_rng(1)
    model = np.zeros(labels.shape, "uint32")
    with labels.edit("ann", flush_after=None, cache_bytes=30_000) as editor:
        for _ in range(40):
            z, y, x = (int(rng.integers(0, n)) for n in labels.shape)
            label = int(rng.integers(1, 9))
            editor[z, y : y + 30, x : x + 30] = label
            model[z, y : y + 30, x : x + 30] = label
            assert editor._cache.nbytes <= 30_000 + 2 * 2 * 32 * 32 * 4
        np.testing.assert_array_equal(editor[...], model)
    assert_levels(labels, model)


def test_reads_of_cached_chunks_send_no_request(labels: Labels) -> None:
    with labels.edit("ann", flush_after=None) as editor:
        region = ((0, 2), (0, 64), (0, 64))
        assert not editor.holds(region, 0, 0)
        editor.read(region)
        assert editor.holds(region, 0, 0)
        reads = editor._cache.reads
        with editor.stroke():
            for step in range(40):
                editor.paint(1, np.ones((9, 9), bool), 7, origin=(step, step))
        editor.undo()
        assert editor._cache.reads == reads


def test_one_slice_of_an_object(labels: Labels) -> None:
    with labels.edit("me", flush_after=None) as editor:
        editor[2:4, 20:50, 30:70] = 7  # over several chunks
        editor[3, 25, 35] = 8
        mask, origin = editor.slice_mask(7, 3) or (None, None)
        expected = np.ones((30, 40), bool)
        expected[5, 5] = False
        assert origin == (20, 30)
        np.testing.assert_array_equal(mask, expected)
        editor.flush()
        editor.clear_slice(7, 3)
        assert editor.slice_mask(7, 3) is None
        assert (editor[2] == 7).sum() == 1200
        assert editor[3, 25, 35] == 8
        assert editor.slice_mask(9, 0) is None
        assert editor.slices_of(7) == [2] and editor.slices_of(8) == [3] and not editor.slices_of(9)


def test_edits_at_the_far_border_of_levels_that_were_rounded_down(tmp_path: Path) -> None:
    """Others make a level of 13 voxels by 3 into one of 4: nothing of it is above the last voxel."""
    drawn = Drawn(
        shape=(13, 37, 22), times=0, channels=0, scale=(1.0, 1.0, 1.0), writer="zarr", zarr_format=3,
        separator="/", chunks=(2, 16, 16), factors=((3, 3, 3), (1, 2, 2)), up=False, level=0,
        existing=(2, 16, 16), window=1, group=1, cut=None, seed=4,
    )  # fmt: skip
    write_labels_of_others(write_image(tmp_path, drawn), drawn, np.zeros(drawn.shape, np.uint32))
    labels = open_volume(tmp_path / "v.zarr").labels["cells"]
    assert [array.shape for array in labels.levels] == [(13, 37, 22), (4, 12, 7), (4, 6, 3)]
    wanted = np.zeros(labels.shape, np.uint32)

    def made() -> list[np.ndarray]:
        middle = coarser(wanted, (3, 3, 3), labels.levels[1].shape)
        return [wanted, middle, coarser(middle, (1, 2, 2), labels.levels[2].shape)]

    with labels.edit(annotator="ann") as editor:
        for number, at in enumerate([np.s_[12], np.s_[:, 36], np.s_[..., 21], np.s_[3:, 20:, 9:]]):
            editor[at] = wanted[at] = number + 1
            for level, voxels in enumerate(made()):
                region = tuple((0, n) for n in voxels.shape)
                np.testing.assert_array_equal(editor.read(region, level=level), voxels)
    for level, voxels in enumerate(made()):
        np.testing.assert_array_equal(np.asarray(labels.levels[level]), voxels)
