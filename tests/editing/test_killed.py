"""SIGKILL at every named step of storing and closing: the next open repairs, and no half stroke is left."""

from __future__ import annotations

import os
import signal
from collections import Counter

import numpy as np
import pytest

from tests.editing.children import (
    edit_until_killed,
    first_edits,
    labels_of,
    later_edits,
    processes,
)
from tests.editing.making import assert_levels, make_labels
from volseg.editing.index import JournalIndex
from volseg.editing.past import replayed
from volseg.geometry import whole_region

STEPS = [
    "parts-put",
    "record-put",
    "record-created",
    "chunk-put",
    "chunks-put",
    "coarser-put",
    "level-1-put",
    "level-2-put",
    "table-put",
    "applied",
    "before-checkpoint",
    "checkpoint-written",
    "session-removed",
]
DURABLE_FROM = "record-created"


def expected(folder: str) -> tuple[list[np.ndarray], Counter[str]]:
    """Return the voxels after the first and after all edits, and how often each step comes."""
    labels = make_labels(f"{folder}/undisturbed")
    seen: Counter[str] = Counter()
    states = []
    editor = labels.edit("ann", flush_after=None, step=lambda name: seen.update([name]))
    first_edits(editor)
    editor.flush()
    states.append(editor[...])
    seen.clear()
    later_edits(editor)
    states.append(editor[...])
    from volseg.editing import flush

    usual, flush.INLINE_BYTES = flush.INLINE_BYTES, 2000
    try:
        editor.close()
    finally:
        flush.INLINE_BYTES = usual
    return states, seen


def test_the_steps_are_all_there_are(folder: str) -> None:
    _, seen = expected(folder)
    assert set(seen) == set(STEPS)


def kill_and_reopen(url: str, step: str, occurrence: int, states: list[np.ndarray]) -> None:
    make_labels(url)
    arguments = (dict(os.environ), url, step, occurrence, 2000)
    process = processes().Process(target=edit_until_killed, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, f"{step} number {occurrence} did not come"
    labels = labels_of(url)
    durable = STEPS.index(step) >= STEPS.index(DURABLE_FROM)
    wanted = states[1] if durable else states[0]
    index = JournalIndex(labels)
    np.testing.assert_array_equal(replayed(index, whole_region(labels.shape)), wanted)
    with labels.edit("bob", flush_after=None) as editor:
        assert_levels(labels, wanted)
        np.testing.assert_array_equal(editor[...], wanted)
        sizes = {row.id: row.voxels for row in labels.objects.rows()}
        ids, counts = np.unique(wanted[wanted > 0], return_counts=True)
        assert sizes == dict(zip(ids.tolist(), counts.tolist(), strict=True))
        while editor.undo():
            pass
    assert_levels(labels, np.zeros(labels.shape, labels.dtype))
    assert list(labels.store.list("volseg/journal/sessions")) == []


def test_killed_at_every_other_step(folder: str) -> None:
    states, _ = expected(folder)
    for step in STEPS[::2]:
        kill_and_reopen(f"{folder}/{step}", step, 1, states)


@pytest.mark.parametrize("step", ["record-created", "chunk-put"])
def test_killed_on_s3(s3_url: str, folder: str, step: str) -> None:
    states, _ = expected(folder)
    kill_and_reopen(s3_url, step, 1, states)


@pytest.mark.long
def test_killed_at_every_single_put(folder: str) -> None:
    states, seen = expected(folder)
    for step in STEPS:
        for occurrence in range(1, seen[step] + 1):
            kill_and_reopen(f"{folder}/{step}-{occurrence}", step, occurrence, states)
