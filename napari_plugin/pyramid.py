"""A label image as the multiscale data of a napari layer; needs a private class of napari's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from napari.layers._multiscale_data import MultiScaleData

from napari_plugin.editable import LabelTiles
from napari_plugin.levels import LevelView
from volseg.editing.editor import Editor
from volseg.errors import InputError


class EditablePyramid(MultiScaleData):
    """What napari takes as multiscale data: levels by number; by any other key the voxels of level 0.

    Reading voxels waits for all edits before it; writing is queued. Axes are (t,) z, y, x.

    Parameters
    ----------
    tiles
        Of the label image.
    axes
        "tzyx" or "zyx".
    shapes
        Of the levels.
    """

    def __init__(self, tiles: LabelTiles, axes: str, shapes: Sequence[tuple[int, ...]]) -> None:
        self.tiles = tiles
        self.axes = axes
        super().__init__([LevelView(tiles, i, axes, shape) for i, shape in enumerate(shapes)])

    def __deepcopy__(self, memo: dict[int, Any]) -> EditablePyramid:
        return self  # napari copies layers

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer, slice)):
            return self._data[key]
        editing = self.tiles.editing
        if editing is None:
            return np.asarray(self._data[0])[key]
        return editing.submit(lambda editor: self._read(editor, key), "read").result()

    def __setitem__(self, key: Any, value: Any) -> None:
        value = np.array(value)
        self.tiles.edit.submit(lambda editor: self._write(editor, key, value), "assign")

    def _read(self, editor: Editor, key: Any) -> Any:
        if "t" not in self.axes:
            return editor[key]
        times = self._times(key)
        blocks = [self._at(editor, t)[key[1:]] for t in times]
        return blocks[0] if isinstance(key[0], (int, np.integer)) else np.stack(blocks)

    def _write(self, editor: Editor, key: Any, value: np.ndarray) -> None:
        if "t" not in self.axes:
            editor[key] = value
            return
        with editor.stroke("assign"):
            for at, t in enumerate(self._times(key)):
                whole = isinstance(key[0], (int, np.integer)) or value.ndim < self.ndim
                self._at(editor, t)[key[1:]] = value if whole else value[at]

    def _times(self, key: Any) -> Iterator[int]:
        if not isinstance(key, tuple) or not isinstance(key[0], (int, np.integer, slice)):
            raise InputError("labels with a time axis are indexed as [time, z, y, x]")
        first = key[0]
        if isinstance(first, slice):
            return iter(range(*first.indices(self._data[0].shape[0])))
        return iter([int(first)])

    @staticmethod
    def _at(editor: Editor, time: int) -> Editor:
        editor.time = time
        return editor
