"""`on_change` names the voxels that look different after each way in which they can change."""

from __future__ import annotations

import numpy as np
import pytest

from volseg.editing.editor import Editor
from volseg.editing.engine import Changed
from volseg.geometry import Region, slices
from volseg.images.labels import Labels


class Watch:
    """Collects what an editor tells."""

    def __init__(self) -> None:
        self.regions: list[tuple[int, Region]] = []

    def __call__(self, regions: Changed) -> None:
        self.regions += list(regions)

    def covers(self, changed: np.ndarray) -> bool:
        """Whether every changed voxel lies in a region told since; forgets them."""
        told = np.zeros(changed.shape, bool)
        for _, region in self.regions:
            told[slices(region)] = True
        self.regions = []
        return bool(changed.any() and told[changed].all())


def test_every_change_is_told(labels: Labels) -> None:
    watch = Watch()
    with labels.edit("me", flush_after=None, on_change=watch) as editor:
        before = editor[...]
        steps = [
            lambda: editor.__setitem__((1, slice(10, 40), slice(10, 60)), 3),
            lambda: editor.undo(),
            lambda: editor.redo(),
            lambda: editor.fill((1, 12, 12), 5),
            lambda: editor.relabel(5, 9),
            lambda: editor.discard(),
        ]
        for step in steps:
            step()
            after = editor[...]
            assert watch.covers(before != after)
            before = after


def half_a_stroke(editor: Editor) -> None:
    with editor.stroke():
        editor[0, :5, :5] = 1
        raise ValueError("half-way")


def test_a_dropped_stroke_is_told(labels: Labels) -> None:
    watch = Watch()
    with labels.edit("me", flush_after=None, on_change=watch) as editor:
        with pytest.raises(ValueError, match="half-way"):
            half_a_stroke(editor)
        assert watch.regions
        assert not editor[...].any()


def test_the_edits_of_others_are_told(labels: Labels) -> None:
    watch = Watch()
    with (
        labels.edit("me", flush_after=None, on_change=watch) as mine,
        labels.edit("you", flush_after=None) as yours,
    ):
        mine[0, 0, 0] = 0
        yours[2, 3:9, 3:9] = 4
        yours.flush()
        mine.refresh()
        assert watch.covers(mine[...] != 0)
