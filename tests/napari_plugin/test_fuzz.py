"""Random edits of the editable layer leave the same voxels as stock napari's layer on a NumPy array."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_plugin.layers import add_session
from napari_plugin.session import open_session
from tests.editing.making import assert_levels, quick_folder
from volseg.images.create import create_volume
from volseg.images.image import open_volume

SHAPE = (5, 70, 90)
ROUNDS = 240


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder that is quick to sync."""
    path = quick_folder()
    yield path
    shutil.rmtree(path)


class Pair:
    """The same operations on both layers."""

    def __init__(self, ours: Any, rng: np.random.Generator) -> None:
        self.ours = ours
        self.stock = Labels(np.zeros(SHAPE, np.uint32), scale=ours.scale)
        self.stock._history_limit = 10_000
        self.stock._reset_history()
        self.both = (ours, self.stock)
        self.rng = rng

    def settings(self) -> None:
        """Choose how the tools work."""
        label = int(self.rng.integers(0, 7))
        size = int(self.rng.integers(1, 25))
        protect = bool(self.rng.random() < 0.3)
        dimensions = int(self.rng.choice([2, 2, 3]))
        connected = bool(self.rng.random() < 0.7)
        for layer in self.both:
            layer.selected_label = label
            layer.brush_size = size
            layer.preserve_labels = protect
            layer.n_edit_dimensions = dimensions
            layer.contiguous = connected

    def point(self) -> tuple[int, ...]:
        """A voxel."""
        return tuple(int(self.rng.integers(0, n)) for n in SHAPE)

    def label(self) -> int:
        """An id, often background."""
        return int(self.rng.choice([0, 1, 2, 3, 4, 5, 6]))

    def stroke(self) -> None:
        """Paint or erase along a line."""
        z, y, x = self.point()
        step = self.rng.integers(-6, 7, 2)
        count, label = int(self.rng.integers(1, 10)), self.label()
        for layer in self.both:
            with layer.block_history():
                for i in range(count):
                    at = np.clip(
                        (y + i * step[0], x + i * step[1]), 0, (SHAPE[1] - 1, SHAPE[2] - 1)
                    )
                    layer.paint((z, *at), label, refresh=False)

    def polygon(self) -> None:
        """Paint a polygon, which may reach outside."""
        if self.stock.n_edit_dimensions != 2:
            return
        z, label = self.point()[0], self.label()
        corners = self.rng.integers(-10, (80, 100), (int(self.rng.integers(3, 7)), 2))
        for layer in self.both:
            layer.paint_polygon([(z, y, x) for y, x in corners], label)

    def fill(self) -> None:
        """Fill around a voxel."""
        point, label = self.point(), self.label()
        for layer in self.both:
            layer.fill(point, label)

    def voxels(self) -> None:
        """Set scattered voxels."""
        points = [self.point() for _ in range(20)]
        indices = tuple(np.array(axis) for axis in zip(*dict.fromkeys(points), strict=True))
        label = self.label()
        for layer in self.both:
            layer.data_setitem(indices, label)

    def undo(self) -> None:
        """Take back a few steps."""
        for _ in range(int(self.rng.integers(1, 4))):
            for layer in self.both:
                layer.undo()

    def redo(self) -> None:
        """Do a few steps again."""
        for _ in range(int(self.rng.integers(1, 3))):
            for layer in self.both:
                layer.redo()

    def same(self) -> bool:
        """Whether both hold the same voxels."""
        return np.array_equal(self.ours.data[(slice(None),) * 3], self.stock.data)


def run(folder: str, rounds: int, seed: int) -> None:
    """Do random operations, in several sessions, and compare."""
    url = f"{folder}/v{seed}.zarr"
    create_volume(url, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(2, 1, 1), levels=3)
    open_volume(url).create_labels("cells", chunks=(2, 32, 32))
    rng = np.random.default_rng(seed)
    session = open_session(url, annotator="me", flush_after=None, refresh_s=None)
    pair = Pair(add_session(ViewerModel(), session)[1], rng)
    weights = {"stroke": 8, "fill": 3, "polygon": 3, "voxels": 2, "undo": 3, "redo": 2}
    names, chances = list(weights), np.array(list(weights.values())) / sum(weights.values())
    done = []
    for number in range(rounds):
        pair.settings()
        name = str(rng.choice(names, p=chances))
        getattr(pair, name)()
        done.append(name)
        if number % 10 == 9:
            assert pair.same(), done[-10:]
        if number % 40 == 39:
            session.editing("cells").flush().result()
        if number % 100 == 99:  # a new session goes on where the last one ended
            session.close()
            session = open_session(url, annotator="me", flush_after=None, refresh_s=None)
            pair.ours = add_session(ViewerModel(), session)[1]
            pair.both = (pair.ours, pair.stock)
    assert pair.same()
    session.close()
    assert_levels(open_volume(url).labels["cells"], pair.stock.data)


def test_random_edits_are_what_napari_makes_of_them(folder: str) -> None:
    run(folder, ROUNDS, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 6))
def test_thousands_of_random_edits(folder: str, seed: int) -> None:
    run(folder, 2000, seed)
