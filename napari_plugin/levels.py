"""Levels of a volume as array-likes for napari: lazy until they are converted, and then complete, or at once.

Inside `showing` (napari's slicing, see `overrides`) a conversion returns what is in memory and never waits. Anywhere
else (saving a layer, other plugins) it waits and returns the true voxels.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np

from napari_plugin.tilegrid import Key, TileLevel
from napari_plugin.tiles import Tiles
from volseg.geometry import slices
from volseg.images.arrays import LevelArray
from volseg.images.image import Volume


class _Thread(threading.local):
    showing = False


class LevelView:
    """One level, or a part of it.

    Parameters
    ----------
    tiles
        Where voxels come from.
    level
        Its number.
    axes
        Kinds of its axes in napari's order: of "t", "c", "z", "y", "x"; colours have "c" last.
    sizes
        Length of each axis.
    channel
        The channel, where "c" is none of the axes.
    """

    def __init__(
        self, tiles: Tiles, level: int, axes: str, sizes: tuple[int, ...], channel: int = 0
    ) -> None:
        self.tiles = tiles
        self.level = level
        self.axes = axes
        self._channel = channel
        self._ranges = tuple(range(n) for n in sizes)
        self._dropped: tuple[bool, ...] = (False,) * len(axes)

    def __deepcopy__(self, memo: dict[int, Any]) -> LevelView:
        return self  # napari copies layers

    def __repr__(self) -> str:
        return f"LevelView(level {self.level}, {self.axes}, {self.shape}, {self.dtype})"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the voxels; known without reading."""
        return self.tiles.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes that are left."""
        return tuple(
            len(r) for r, gone in zip(self._ranges, self._dropped, strict=True) if not gone
        )

    @property
    def ndim(self) -> int:
        """Number of axes that are left."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def chunks(self) -> tuple[int, ...]:
        """Voxels of a chunk along the axes that are left: napari asks for whole chunks."""
        chunk = dict(zip("zyx", self.tiles.levels[self.level].chunk, strict=True))
        sizes = [
            min(chunk.get(a, 1), max(1, len(r)))
            for a, r in zip(self.axes, self._ranges, strict=True)
        ]
        return tuple(n for n, gone in zip(sizes, self._dropped, strict=True) if not gone)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> LevelView:
        """Return a part: whole numbers, slices and an ellipsis; nothing is read."""
        keys = list(key) if isinstance(key, tuple) else [key]
        if any(k is Ellipsis for k in keys):
            at = next(i for i, k in enumerate(keys) if k is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        if len(keys) > self.ndim:
            raise IndexError(f"too many indices: {len(keys)} for {self.ndim} axes")
        keys += [slice(None)] * (self.ndim - len(keys))
        left = iter(keys)
        part = LevelView(self.tiles, self.level, self.axes, (), self._channel)
        ranges, dropped = [], []
        for values, gone in zip(self._ranges, self._dropped, strict=True):
            item = slice(None) if gone else next(left)
            if isinstance(item, slice):
                ranges.append(values[item])
                dropped.append(gone)
            else:
                position = int(item)
                ranges.append(range(values[position], values[position] + 1))
                dropped.append(True)
        part._ranges, part._dropped = tuple(ranges), tuple(dropped)
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Read: at once inside `showing`, else completely."""
        read = self.tiles.show if _thread.showing else self.tiles.read
        given = dict(zip(self.axes, self._ranges, strict=True))
        spans = {kind: _span(given.get(kind, range(1))) for kind in "zyx"}
        times = given.get("t", range(1))
        channels = given.get("c", range(self._channel, self._channel + 1))
        z, y, x = ((span.start, span.stop) for span in spans.values())
        if len(times) == len(channels) == 1 and self.size:  # nearly always: without another copy
            out = read(self.level, times[0], channels[0], (z, y, x))[None, None]
        else:
            sizes = (len(times), len(channels), *(b - a for a, b in (z, y, x)))
            out = np.zeros(sizes, self.dtype)
            for (i, t), (j, c) in product(enumerate(times), enumerate(channels)):
                if out.size:
                    out[i, j] = read(self.level, t, c, (z, y, x))
        steps = tuple(_steps(given.get(kind, range(1))) for kind in "zyx")
        out = out[(slice(None), slice(None), *steps)]
        order = ["tczyx".index(kind) for kind in self.axes]
        rest = [i for i in range(5) if i not in order]  # of length 1
        out = out.transpose([*rest, *order]).reshape(self.shape)
        return out if dtype is None else out.astype(dtype, copy=False)


@contextmanager
def showing() -> Iterator[None]:
    """Have conversions on this thread return what is in memory, at once."""
    before, _thread.showing = _thread.showing, True
    try:
        yield
    finally:
        _thread.showing = before


_thread = _Thread()


def _span(values: range) -> slice:
    """Return the smallest slice of step 1 around a range."""
    if not values:
        return slice(0, 0)
    low, high = min(values[0], values[-1]), max(values[0], values[-1])
    return slice(low, high + 1)


def _steps(values: range) -> slice:
    """Return the slice that takes a range out of its span."""
    return slice(None, None, values.step) if len(values) > 1 else slice(None)


def image_tiles(volume: Volume, max_bytes: int = 512 * 2**20) -> Tiles:
    """Return the tiles of a volume's image; nothing is read."""
    lazies = volume.levels
    levels = tile_levels(volume.levels)
    per_tile = _along(lazies[0], "c", lazies[0].chunks)

    def load(key: Key) -> np.ndarray:
        return load_tile(lazies[key.level], levels[key.level], key, per_tile)

    return Tiles(levels, volume.dtype, load, channels_per_tile=per_tile, max_bytes=max_bytes)


def tile_levels(levels: Sequence[LevelArray]) -> list[TileLevel]:
    """Return the tiles' grids of the levels of an image or label image."""
    finest = levels[0].scale
    spans = [[a / b for a, b in zip(level.scale, finest, strict=True)] for level in levels]
    chunks = [level.chunks[-3:] for level in levels]
    return [
        TileLevel(level.grid.shape, (z, y, x), (span[0], span[1], span[2]))
        for level, (z, y, x), span in zip(levels, chunks, spans, strict=True)
    ]


def load_tile(lazy: LevelArray, level: TileLevel, key: Key, per_tile: int = 1) -> np.ndarray:
    """Read a tile from the store: one request where a chunk is a storage object.

    Returns
    -------
    ndarray
        (channels, z, y, x), cut at the level's end.
    """
    region = level.region(key[3:])
    first = key.channel * per_tile
    channels = range(first, min(first + per_tile, _along(lazy, "c", lazy.shape)))
    if lazy.objects != lazy.chunks:  # a chunk is a part of a shard, which Zarr knows how to read
        return np.stack([lazy.read(region, key.time, channel) for channel in channels])
    index = (key.z, key.y, key.x)
    name = lazy.codec.key(index, key.time, first)
    data = lazy.codec.unpack(lazy.store.get_or_none(name))
    inner = slices(((0, region[0][1] - region[0][0]), *((0, b - a) for a, b in region[1:])))  # type: ignore[arg-type]
    return np.stack([lazy.codec.view(data, key.time, channel)[inner] for channel in channels])


def _along(lazy: LevelArray, kind: str, values: tuple[int, ...]) -> int:
    return values[lazy.axes.index(kind)] if kind in lazy.axes else 1
