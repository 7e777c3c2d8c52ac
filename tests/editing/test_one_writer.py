"""One writer against a NumPy array: any sequence of edits, undos, flushes, restarts gives the same voxels."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.editing.making import assert_levels, make_labels, pyramid_of, quick_folder
from volseg.editing import Editor
from volseg.editing.index import JournalIndex
from volseg.editing.past import replayed
from volseg.errors import InputError
from volseg.geometry import whole_region

SHAPE = (5, 40, 50)
IDS = st.integers(0, 5)


class OneWriter(RuleBasedStateMachine):
    """An editor, and beside it a plain array with a stack of its former states."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = quick_folder()
        self.labels = make_labels(self.folder, SHAPE, chunks=(2, 16, 16))
        self.model = np.zeros(SHAPE, "uint32")
        self.done: list[np.ndarray] = []
        self.undone: list[np.ndarray] = []
        self.saved = 0
        self.editor = self.open()

    def open(self) -> Editor:
        return self.labels.edit("one", flush_after=None, cache_bytes=40_000)

    def teardown(self) -> None:
        self.editor.close()
        assert_levels(self.labels, self.model)
        index = JournalIndex(self.labels)
        np.testing.assert_array_equal(replayed(index, whole_region(SHAPE)), self.model)
        rows = {row.id: row for row in self.labels.objects.rows()}
        ids, counts = np.unique(self.model[self.model > 0], return_counts=True)
        assert {i: r.voxels for i, r in rows.items()} == dict(
            zip(ids.tolist(), counts.tolist(), strict=True)
        )
        for label, row in rows.items():
            found = np.nonzero(self.model == label)
            assert row.bbox == tuple((int(a.min()), int(a.max()) + 1) for a in found)
        shutil.rmtree(self.folder)

    def note(self, new: np.ndarray) -> None:
        """Tell the model what an operation must have done; one that changes nothing is no step of undo."""
        if not np.array_equal(new, self.model):
            self.done.append(self.model)
            self.undone = []
            self.model = new

    @rule(data=st.data(), label=IDS)
    def assign(self, data: st.DataObject, label: int) -> None:
        key = tuple(data.draw(st.slices(n)) for n in SHAPE)
        new = self.model.copy()
        new[key] = label
        self.editor[key] = label
        self.note(new)

    @rule(seed=st.integers(0, 2**20), label=IDS)
    def scatter(self, seed: int, label: int) -> None:
        rng = np.random.default_rng(seed)
        key = tuple(rng.integers(0, n, 30) for n in SHAPE)
        values = rng.integers(0, 6, 30)
        new = self.model.copy()
        new[key] = values
        self.editor[key] = values
        self.note(new)

    @rule(
        z=st.integers(0, 4),
        y=st.integers(-9, 39),
        x=st.integers(-9, 49),
        label=IDS,
        protect=st.booleans(),
    )
    def paint(self, z: int, y: int, x: int, label: int, protect: bool) -> None:
        mask = np.hypot(*np.mgrid[-5:6, -5:6]) < 5.5
        new = self.model.copy()
        for dy, dx in np.argwhere(mask):
            p, q = y + dy, x + dx
            if 0 <= p < SHAPE[1] and 0 <= q < SHAPE[2] and not (protect and new[z, p, q]):
                new[z, p, q] = label
        self.editor.paint(z, mask, label, origin=(y, x), protect=protect)
        self.note(new)

    @rule(z=st.integers(0, 4), x=st.integers(0, 40), moves=st.integers(2, 6), label=IDS)
    def stroke(self, z: int, x: int, moves: int, label: int) -> None:
        new = self.model.copy()
        with self.editor.stroke():
            for step in range(moves):
                key = (z, slice(step * 5, step * 5 + 8), slice(x, x + 9))
                new[key] = label + step % 2
                self.editor[key] = label + step % 2
        self.note(new)

    @rule(
        z=st.integers(0, 4),
        y=st.integers(0, 39),
        x=st.integers(0, 49),
        label=IDS,
        volume=st.booleans(),
    )
    def fill(self, z: int, y: int, x: int, label: int, volume: bool) -> None:
        from scipy.ndimage import label as components

        part = self.model if volume else self.model[z : z + 1]
        numbered, _ = components(part == self.model[z, y, x])
        at = (z if volume else 0, y, x)
        new = self.model.copy()
        (new if volume else new[z : z + 1])[numbered == numbered[at]] = label
        self.editor.fill((z, y, x), label, volume=volume)
        self.note(new)

    @rule(a=st.integers(1, 5), b=st.integers(1, 5))
    def merge(self, a: int, b: int) -> None:
        if a == b:
            return
        if not {a, b} <= set(np.unique(self.model)):
            with pytest.raises(InputError, match="has no object"):
                self.editor.merge([a, b])
            return
        new = self.model.copy()
        new[new == b] = a
        self.editor.merge([a, b])
        self.note(new)

    @rule(label=st.integers(1, 5))
    def delete(self, label: int) -> None:
        new = self.model.copy()
        if not (new == label).any():
            with pytest.raises(InputError, match="has no object"):
                self.editor.delete(label)
            return
        new[new == label] = 0
        self.editor.delete(label)
        self.note(new)

    @rule()
    def undo(self) -> None:
        found = self.editor.undo()
        assert (found is not None) == bool(self.done)
        if self.done:
            self.undone.append(self.model)
            self.model = self.done.pop()

    @rule()
    def redo(self) -> None:
        found = self.editor.redo()
        assert (found is not None) == bool(self.undone)
        if self.undone:
            self.done.append(self.model)
            self.model = self.undone.pop()

    @rule()
    def flush(self) -> None:
        self.editor.flush()
        assert not self.editor.pending
        assert_levels(self.labels, self.model)

    @rule()
    def restart(self) -> None:
        self.editor.close()
        assert_levels(self.labels, self.model)
        self.editor = self.open()

    @rule()
    def half_a_stroke_is_dropped(self) -> None:
        try:
            with self.editor.stroke():
                self.editor[0, 3:20, 4:30] = 5
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass

    @precondition(lambda self: self.done)
    @rule()
    def undo_all_and_redo_all(self) -> None:
        first = self.done[0]
        while self.editor.undo() is not None:
            pass
        self.editor.flush()
        assert_levels(self.labels, first)
        states = [*self.done, self.model, *reversed(self.undone)]
        for _ in states[1:]:
            assert self.editor.redo() is not None
        assert self.editor.redo() is None
        self.done, self.model, self.undone = states[:-1], states[-1], []

    @rule(key=st.sampled_from([np.s_[2], np.s_[..., 7], np.s_[1:4, 30:, :9]]))
    def read(self, key: Any) -> None:
        np.testing.assert_array_equal(self.editor[key], self.model[key])

    @invariant()
    def coarser_views_show_every_edit(self) -> None:
        level = len(self.labels.levels) - 1
        wanted = pyramid_of(self.labels, self.model)[level]
        region = whole_region(wanted.shape)
        np.testing.assert_array_equal(self.editor.read(region, level=level), wanted)


def sized(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


TestOneWriter = OneWriter.TestCase
TestOneWriter.settings = sized(6, 25)


@pytest.mark.long
class TestOneWriterForLong(OneWriter.TestCase):
    """The same with many more sequences."""

    settings = sized(150, 60)
