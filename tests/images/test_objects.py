"""The object table, kept by conditional puts and made anew from the voxels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.images import reference
from volseg.errors import InputError, NotThereError, UnsupportedFormatError
from volseg.images.create import create_volume
from volseg.images.labels import Labels
from volseg.images.objects import TABLE_KEY, ObjectRow
from volseg.images.scan import block_extents, nesting_violations, scan_objects


def make(
    url: Any, data: np.ndarray, name: str = "cells", axes: str = "zyx", **options: Any
) -> Labels:
    volume = create_volume(
        f"{url}/{name}.zarr", axes=axes, shape=data.shape, dtype="u1", scale_um=(0.5, 0.1, 0.2)
    )
    labels = volume.create_labels(name, data.dtype, chunks=(4, 32, 32), **options)
    frames = data if "t" in axes else data[np.newaxis]
    for time, frame in enumerate(frames):
        labels.write_objects(tuple((0, n) for n in frame.shape), frame, time=time)
    return labels


def geometry(rows: list[ObjectRow]) -> dict[int, Any]:
    return {row.id: (row.bbox, row.voxels) for row in rows}


def test_scanned_like_the_reference(work_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = reference.blobs((9, 70, 100), 25, seed=1)
    labels = make(work_url, data, category="cell", channel=0)
    seen: list[tuple[int, int]] = []
    rows = scan_objects(labels, progress=lambda s, d, t, m="": seen.append((d, t)))
    assert geometry(rows) == reference.objects(data)
    assert seen[-1][0] == seen[-1][1]
    row = rows[0]
    assert (row.class_, row.channel, row.time) == ("cell", 0, 0)
    assert row.volume_um3 == pytest.approx(row.voxels * 0.5 * 0.1 * 0.2)
    monkeypatch.setattr("volseg.images.mapping.BLOCK_BYTES", 1)
    assert geometry(scan_objects(labels)) == geometry(rows)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int32", "int64"])
def test_every_integer_type_and_large_ids(dtype: str) -> None:
    top = int(np.iinfo(dtype).max)
    data = reference.blobs((9, 20, 30), 12, seed=2, dtype=dtype)
    data[data == 3] = top
    data[data == 4] = top - 1
    found = block_extents(data, (100, 0, 7))
    wanted = {
        number: (tuple((a + o, b + o) for (a, b), o in zip(box, (100, 0, 7), strict=True)), n)
        for number, (box, n) in reference.objects(data).items()
    }
    assert {number: (extent.bbox, extent.voxels) for number, extent in found.items()} == wanted
    assert block_extents(np.zeros((2, 3, 4), dtype), (0, 0, 0)) == {}


def test_times_have_rows_of_their_own(tmp_path: Path) -> None:
    data = np.stack([reference.blobs((4, 40, 40), 5, seed=s) for s in (3, 4)])
    labels = make(tmp_path, data, axes="tzyx")
    rows = scan_objects(labels)
    for time in (0, 1):
        assert geometry([r for r in rows if r.time == time]) == reference.objects(data[time])
    assert {row.time for row in scan_objects(labels, time=1)} == {1}


def test_table_keeps_what_only_it_knows(work_url: str) -> None:
    data = reference.blobs((9, 70, 100), 8, seed=5)
    labels = make(work_url, data)
    table = labels.objects
    assert table.rows() == []
    table.replace(scan_objects(labels))
    number = table.rows()[0].id
    row = table.set(number, class_="nucleus", parent=3, confidence=0.5, annotator="annotator-1")
    assert table.row(number) == row
    again = {r.id: r for r in scan_objects(labels)}[number]
    assert again == row
    table.remove([number])
    with pytest.raises(NotThereError, match=f"no object {number}"):
        table.row(number)
    table.update([row, ObjectRow(2**40, bbox=((0, 1), (2, 3), (4, 5)), voxels=1, channel=[0, 2])])
    assert table.row(number) == row
    assert table.row(2**40).channel == [0, 2]
    assert len(table) == len(reference.objects(data)) + 1


def test_changes_at_the_same_time_are_all_kept(work_url: str) -> None:
    labels = make(work_url, np.zeros((1, 4, 4), np.uint32))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: labels.objects.set(number, class_=str(number)), range(1, 13)))
    assert [(row.id, row.class_) for row in labels.objects.rows()] == [
        (number, str(number)) for number in range(1, 13)
    ]


def test_damaged_tables_are_told(tmp_path: Path) -> None:
    labels = make(tmp_path, np.zeros((1, 4, 4), np.uint32))
    for damage in (b"{", b"[]", b'{"format": "volseg-objects", "version": 9, "rows": []}'):
        labels.store.put(TABLE_KEY, damage)
        with pytest.raises(UnsupportedFormatError, match="scan anew"):
            labels.objects.rows()


def test_properties_are_limited(tmp_path: Path) -> None:
    labels = make(tmp_path, np.zeros((1, 4, 4), np.uint32))
    labels.objects.replace(ObjectRow(number, class_="x", voxels=1) for number in range(1, 1202))
    labels.objects.publish()
    part = Labels(labels.volume_location, labels.store).multiscale.attributes["image-label"]
    assert len(part["properties"]) == len(part["colors"]) == 1000
    assert part["properties"][0] == {"label-value": 1, "class": "x", "voxels": 1}
    labels.objects.replace([])
    labels.objects.publish()
    part = Labels(labels.volume_location, labels.store).multiscale.attributes["image-label"]
    assert "properties" not in part


def test_children_outside_their_parents_are_found(work_url: str) -> None:
    cells = np.zeros((8, 64, 64), np.uint32)
    cells[:, :32, :] = 1
    cells[:, 32:60, :] = 2
    parts = np.zeros((8, 64, 64), np.uint64)
    inside, across, outside, poking = 2**40, 5, 6, 7
    parts[1:3, 2:6, 2:6] = inside
    parts[1:3, 30:34, 10:14] = across
    parts[1:3, 61:63, 10:14] = outside
    parts[5, 59:61, 20] = poking
    found = nesting_violations(make(work_url, parts, "parts"), make(work_url, cells, "cells"))
    assert [(v.child, v.parents, v.outside) for v in found] == [
        (across, {1: 16, 2: 16}, 0),
        (outside, {}, 16),
        (poking, {2: 1}, 1),
    ]


def test_nesting_needs_one_grid(tmp_path: Path) -> None:
    one = make(tmp_path, np.zeros((1, 4, 4), np.uint32), "one")
    other = make(tmp_path, np.zeros((1, 4, 5), np.uint32), "other")
    with pytest.raises(InputError, match="same grid"):
        nesting_violations(one, other)
