"""Several processes editing overlapping chunks at random: nothing lost, every conflict told, all replicas equal."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.editing.children import labels_of, processes, write_at_random
from tests.editing.making import assert_levels, make_labels
from volseg.editing.index import JournalIndex
from volseg.editing.past import replayed
from volseg.geometry import whole_region

SHAPE = (4, 40, 60)
CHUNKS = (2, 20, 20)


def run_writers(url: str, writers: int, operations: int, seed: int) -> None:
    labels = make_labels(url, SHAPE, chunks=CHUNKS)
    context = processes()
    results = context.Queue()
    children = [
        context.Process(
            target=write_at_random,
            args=(dict(os.environ), url, f"writer-{n}", seed + n, operations, results),
        )
        for n in range(writers)
    ]
    for child in children:
        child.start()
    told = [results.get(timeout=60 + operations * 3) for _ in children]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    check(labels_of(url), told)
    assert labels.name == "cells"


def check(labels: object, told: list[tuple[str, list[str], list[str]]]) -> None:
    index = JournalIndex(labels)
    assert [record.number for record in index.records] == list(range(1, index.last + 1))
    stored = {o.uuid: record.annotator for record in index.records for o in record.operations}
    for name, confirmed, refused in told:
        for operation in confirmed:  # one that was put on top may have had nothing left to change
            assert stored.get(operation, name) == name
        assert not set(refused) & set(stored)
    confirmed = {o for _, names, _ in told for o in names}
    assert set(stored) <= confirmed
    final = replayed(index, whole_region(labels.shape))
    assert len(np.unique(final)) > 3
    assert_levels(labels, final)
    with labels.edit("replica", flush_after=None) as editor:
        np.testing.assert_array_equal(editor[...], final)
    rows = {row.id: row.voxels for row in labels.objects.rows()}
    ids, counts = np.unique(final[final > 0], return_counts=True)
    assert rows == dict(zip(ids.tolist(), counts.tolist(), strict=True))


def test_three_writers_in_a_folder(folder: str) -> None:
    run_writers(folder, 3, 60, seed=20)


def test_two_writers_on_s3(s3_url: str) -> None:
    run_writers(s3_url, 2, 15, seed=30)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 108))
def test_many_thousand_operations(folder: str, seed: int) -> None:
    run_writers(folder, 4, 800, seed)
