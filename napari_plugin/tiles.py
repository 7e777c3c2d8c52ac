"""Chunks of all levels of a volume in memory, for a screen that never waits: what is there is shown, what is missing
is shown from a coarser level and fetched in threads, what comes next along the scrolled axis is fetched ahead.

Knows neither napari nor editing; arrays in memory are never written to, only replaced.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from napari_plugin.tilegrid import Key, TileLevel
from volseg.geometry import Region, intersection, region_origin, region_shape, slices

_log = logging.getLogger(__name__)
_AHEAD_SLICES = 8
# on few cores threads that decode hold up the window, above all what is not yet looked at
_THREADS = min(8, 2 * (os.cpu_count() or 1))
_AHEAD_THREADS = 2
_RETRY_S = 5.0


class Tiles:
    """Tiles of one image (all channels) or label image.

    Parameters
    ----------
    levels
        Finest first.
    dtype
        Of the voxels.
    load
        Returns a tile (channels, z, y, x); called on several threads.
    channels_per_tile
        How many channels one storage object holds.
    max_bytes
        Bound of the memory; what is on the screen is kept in any case.
    threads
        How many tiles are fetched at once.

    Attributes
    ----------
    on_loaded
        Called on a loading thread with the key of a tile that was on the screen's list.
    on_failed
        Called with an error of `load`; the tile is asked for again after some seconds.
    """

    def __init__(
        self,
        levels: Sequence[TileLevel],
        dtype: np.dtype[Any],
        load: Callable[[Key], np.ndarray],
        *,
        channels_per_tile: int = 1,
        max_bytes: int = 512 * 2**20,
        threads: int = _THREADS,
    ) -> None:
        self.levels = list(levels)
        self.dtype = np.dtype(dtype)
        self.channels_per_tile = channels_per_tile
        self.max_bytes = max_bytes
        self.on_loaded: list[Callable[[Key], None]] = []
        self.on_failed: Callable[[Exception], None] = lambda error: _log.warning("%s", error)
        self.loads = 0
        self.nbytes = 0
        self._load = load
        self._threads = threads
        self._work = threading.Condition()
        self._tiles: OrderedDict[Key, np.ndarray] = OrderedDict()
        self._shown: dict[tuple[int, int], frozenset[Key]] = {}
        self._wanted: dict[tuple[int, int], list[Key]] = {}
        self._ahead: dict[tuple[int, int], list[Key]] = {}
        self._last: dict[tuple[int, int, int], tuple[int, int]] = {}  # plane and direction
        self._loading: set[Key] = set()
        self._fetching_ahead = 0
        self._outdated: set[Key] = set()
        self._failed: dict[Key, float] = {}
        self._running = 0
        self._closed = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Tiles:
        return self  # napari copies layers

    # --- for the screen

    def show(self, level: int, time: int, channel: int, region: Region) -> np.ndarray:
        """Return a region as far as it is in memory, and have the rest fetched; never waits.

        What is missing is taken from the finest coarser level that is in memory, else it is background.

        Returns
        -------
        ndarray
            (z, y, x), one's own copy.
        """
        group = channel // self.channels_per_tile
        with self._work:
            self._want(level, time, group, region, self._keys(level, time, group, region))
        return self.peek(level, time, channel, region)

    def peek(self, level: int, time: int, channel: int, region: Region) -> np.ndarray:
        """Return what `show` returns, without having anything fetched."""
        group, at = divmod(channel, self.channels_per_tile)
        keys = self._keys(level, time, group, region)
        with self._work:
            found = [self._peek(key) for key in keys]
        complete = all(tile is not None for tile in found)
        out = (np.empty if complete else np.zeros)(region_shape(region), self.dtype)
        for key, tile in zip(keys, found, strict=True):
            part, inner = self.levels[level].part(key[3:], region)
            if tile is not None:
                out[part] = tile[at][inner]
            else:
                self._from_coarser(out, part, key, channel, region)
        return out

    def holds(self, level: int, time: int, channel: int, region: Region) -> bool:
        """Tell whether a region is all in memory."""
        group = channel // self.channels_per_tile
        with self._work:
            return all(key in self._tiles for key in self._keys(level, time, group, region))

    def read(self, level: int, time: int, channel: int, region: Region) -> np.ndarray:
        """Return a region, complete; waits for what is not in memory, so not for the GUI thread.

        Returns
        -------
        ndarray
            (z, y, x), one's own copy.
        """
        group, at = divmod(channel, self.channels_per_tile)
        out = np.zeros(region_shape(region), self.dtype)

        def copy(key: Key) -> None:
            with self._work:
                tile = self._peek(key)
            if tile is None:
                tile = self._load(key)
            part, inner = self.levels[level].part(key[3:], region)
            out[part] = tile[at][inner]

        with ThreadPoolExecutor(self._threads, thread_name_prefix="volseg-read") as pool:
            list(pool.map(copy, self._keys(level, time, group, region)))
        return out

    # --- when voxels change

    def renew(self, changes: Iterable[tuple[int, int, Region]]) -> None:
        """Bring changed voxels in: into tiles on the screen at once, into others when they are asked for.

        Parameters
        ----------
        changes
            Level, time and region; called where `load` does not wait for long.
        """
        for level, time_, region in changes:
            for index in self.levels[level].index_of(region):
                self._renew(Key(level, time_, 0, *index), region)

    def _renew(self, key: Key, region: Region) -> None:
        with self._work:
            if key in self._loading:
                self._outdated.add(key)
            old = self._tiles.get(key)
            if old is None:
                return
            if not any(key in shown for shown in self._shown.values()):
                self._drop(key)
                return
        tile = np.array(old)
        box = self.levels[key.level].region(key[3:])
        part = intersection(box, region)
        if part is None:
            return
        tile[(slice(None), *slices(part, region_origin(box)))] = self.load_part(key, part)
        tile = self._packed(tile)
        with self._work:
            self._put(key, tile)

    def load_part(self, key: Key, region: Region) -> np.ndarray:
        """Return a part (channels, z, y, x) of a tile as it is now; overridden where voxels can change."""
        start = region_origin(self.levels[key.level].region(key[3:]))
        return self._load(key)[(slice(None), *slices(region, start))]

    def close(self) -> None:
        """End the threads and forget everything."""
        with self._work:
            self._closed = True
            self._tiles.clear()
            self._wanted.clear()
            self._ahead.clear()
            self._work.notify_all()

    @property
    def idle(self) -> bool:
        """Whether nothing is being fetched or waits for it."""
        with self._work:
            return not (self._loading or any(self._wanted.values()) or any(self._ahead.values()))

    # --- what to fetch

    def _keys(self, level: int, time: int, group: int, region: Region) -> list[Key]:
        return [Key(level, time, group, *i) for i in self.levels[level].index_of(region)]

    def _want(self, level: int, time: int, group: int, region: Region, keys: list[Key]) -> None:
        """Ask for what a view lacks, in place of what an older view of the level lacked (under the lock)."""
        view = (group, level)
        self._shown[view] = frozenset(keys)
        self._wanted[view] = [key for key in keys if self._lacks(key)]
        self._ahead[view] = list(self._next(level, time, group, region))
        if self._wanted[view] or self._ahead[view]:
            self._start()

    def _lacks(self, key: Key) -> bool:
        if key in self._tiles or key in self._loading:
            return False
        return time.monotonic() - self._failed.get(key, -_RETRY_S) >= _RETRY_S

    def _next(self, level: int, time_: int, group: int, region: Region) -> Iterator[Key]:
        """Yield the missing tiles that come next where a plane is moved along its axis; playback wraps around."""
        grid = self.levels[level]
        planes = [a for a in range(3) if region[a][1] - region[a][0] == 1 and grid.shape[a] > 1]
        if len(planes) != 1:
            return
        axis = planes[0]
        position, size, chunk = region[axis][0], grid.shape[axis], grid.chunk[axis]
        last, step = self._last.get((group, level, axis), (position, 1))
        if position != last:
            wrapped = {position, last} == {0, size - 1} and size > 2
            step = 1 if (position > last) != wrapped else -1
        self._last[group, level, axis] = (position, step)
        seen = {position // chunk}
        for ahead in range(1, min(_AHEAD_SLICES, size - 1) + 1):
            index = (position + step * ahead) % size // chunk
            if index in seen:
                continue
            seen.add(index)
            there = list(region)
            there[axis] = (index * chunk, index * chunk + 1)
            z, y, x = there
            for key in self._keys(level, time_, group, (z, y, x)):
                if self._lacks(key):
                    yield key

    def _start(self) -> None:
        if self._running < self._threads and not self._closed:
            for _ in range(self._threads - self._running):
                self._running += 1
                threading.Thread(target=self._run, name="volseg-tiles", daemon=True).start()
        self._work.notify_all()

    def _run(self) -> None:
        while True:
            with self._work:
                key, asked = self._take()
                while key is None and not self._closed:
                    self._work.wait()
                    key, asked = self._take()
                if key is None:
                    return
                self._loading.add(key)
                self._fetching_ahead += not asked
            try:
                self._fetch(key, asked)
            finally:
                with self._work:
                    self._fetching_ahead -= not asked

    def _take(self) -> tuple[Key | None, bool]:
        """Return what to fetch next, coarse levels first, what is on the screen before what comes next."""
        for asked, lists in ((True, self._wanted), (False, self._ahead)):
            if not asked and self._fetching_ahead >= _AHEAD_THREADS:
                break
            for view in sorted(lists, key=lambda view: -view[1]):
                while lists[view]:
                    key = lists[view].pop(0)
                    if self._lacks(key):
                        return key, asked
        return None, False

    def _fetch(self, key: Key, asked: bool) -> None:
        try:
            while True:
                tile = self._packed(self._load(key))
                with self._work:
                    self.loads += 1
                    if key not in self._outdated:
                        self._loading.discard(key)
                        self._failed.pop(key, None)
                        if not self._closed:
                            self._put(key, tile)
                        break
                    self._outdated.discard(key)  # it changed while it was read
        except Exception as error:
            with self._work:
                self._loading.discard(key)
                self._outdated.discard(key)
                self._failed[key] = time.monotonic()
                closed = self._closed
            if not closed:
                self.on_failed(error)
            return
        with self._work:
            on_screen = asked or any(key in shown for shown in self._shown.values())
        if on_screen:
            for listener in list(self.on_loaded):
                listener(key)

    # --- memory

    def _peek(self, key: Key) -> np.ndarray | None:
        tile = self._tiles.get(key)
        if tile is not None:
            self._tiles.move_to_end(key)
        return tile

    def _put(self, key: Key, tile: np.ndarray) -> None:
        self._drop(key)
        self._tiles[key] = tile
        self.nbytes += _size(tile)
        if self.nbytes <= self.max_bytes:
            return
        shown = frozenset().union(*self._shown.values())
        for old in [old for old in self._tiles if old not in shown and old != key]:
            if self.nbytes <= self.max_bytes:
                return
            self._drop(old)

    def _drop(self, key: Key) -> None:
        old = self._tiles.pop(key, None)
        if old is not None:
            self.nbytes -= _size(old)

    @staticmethod
    def _packed(tile: np.ndarray) -> np.ndarray:
        """Return a tile that takes no memory where all voxels are the same, as in most of a label image."""
        first = tile.reshape(-1)[:1]
        if tile.size > 1 and (tile == first).all():
            tile = np.broadcast_to(first.copy(), tile.shape)
        tile.flags.writeable = False
        return tile

    def _from_coarser(
        self, out: np.ndarray, part: Any, key: Key, channel: int, region: Region
    ) -> None:
        """Fill a missing part from the finest coarser level that has all of it in memory."""
        group, at = divmod(channel, self.channels_per_tile)
        z, y, x = ((p.start + a, p.stop + a) for p, (a, _) in zip(part, region, strict=True))
        for level in range(key.level + 1, len(self.levels)):
            lines = self.levels[level].lines_of(self.levels[key.level], (z, y, x))
            first, second, third = ((int(line[0]), int(line[-1]) + 1) for line in lines)
            box: Region = (first, second, third)
            keys = self._keys(level, key.time, group, box)
            with self._work:
                tiles = [self._tiles.get(k) for k in keys]
            if any(tile is None for tile in tiles):
                continue
            block = np.zeros(region_shape(box), self.dtype)
            for k, tile in zip(keys, tiles, strict=True):
                if tile is not None:
                    where, inner = self.levels[level].part(k[3:], box)
                    block[where] = tile[at][inner]
            for axis, (line, (a, _)) in enumerate(zip(lines, box, strict=True)):
                block = np.take(block, line - a, axis=axis)
            out[part] = block
            return


def _size(tile: np.ndarray) -> int:
    return tile.itemsize if 0 in tile.strides else tile.nbytes
