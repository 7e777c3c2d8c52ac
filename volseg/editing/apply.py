"""From the journal into the chunks: each touched object of level 0, then those above it, by compare-and-swap.

Order of requests is what makes this safe: an object's tag is read before the journal is looked at, and the journal
before the object is put; so no put ever takes a chunk back behind a record that it held.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from volseg.editing.cache import Chunk, ChunkCache, Key
from volseg.editing.chunks import StoredLevel
from volseg.editing.deltas import Place
from volseg.editing.journal import Journal
from volseg.editing.record import Record
from volseg.editing.state import EditState
from volseg.errors import ChangedError, StorageError
from volseg.geometry import (
    Region,
    Triple,
    coarsened,
    enclosing,
    intersection,
    refined,
    region_origin,
    region_shape,
    slices,
    whole_region,
)

Downsample = Callable[[np.ndarray, Triple], np.ndarray]
Dirty = dict[int, list[Region]]
"""Regions of changed voxels by time."""

ATTEMPTS = 60
_THREADS = 8
_BATCH = 64
_MANY_PARTS = 16


class Applier:
    """Brings records into chunks.

    Parameters
    ----------
    levels
        Finest first.
    factors
        Whole factors (z, y, x) from each level to the next coarser one.
    downsample
        The pyramid's rule: block (z, y, x) and factors to the coarser block.
    journal, state, cache
        Of one editor; `state` is only touched under `cache.lock`.
    on_records
        Called under the lock with records of others that come to light.
    step
        Called with the name of each step, for tests that stop there.
    """

    def __init__(
        self,
        levels: Sequence[StoredLevel],
        factors: Sequence[Triple],
        downsample: Downsample,
        journal: Journal,
        state: EditState,
        cache: ChunkCache,
        on_records: Callable[[list[Record]], None],
        step: Callable[[str], None],
    ) -> None:
        self._levels = levels
        self._factors = factors
        self.downsample = downsample
        self._journal = journal
        self._state = state
        self._cache = cache
        self._on_records = on_records
        self._step = step
        self._keep = True
        self._looking = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="volseg-apply")

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True)

    def sync(self) -> list[Record]:
        """Take in what others wrote to the journal since; one request where there is nothing."""
        listed = time.monotonic()
        with self._cache.lock:
            base = self._state.base
        records = self._journal.after(base)
        with self._cache.lock:
            news = [record for record in records if record.number > self._state.base]
            for record in news:
                self._state.add_record(record)
            self._state.listed = max(self._state.listed, listed)
            if news:
                self._on_records(news)
        return news

    def apply(self, places: Iterable[Place], dirty: Dirty) -> None:
        """Bring all known records into the given chunks, then renew the coarser voxels above the dirty regions.

        Raises
        ------
        StorageError
            If the store fails past its retries; calling again goes on.
        """
        todo = sorted(places)
        self._keep = (
            len(todo) <= _BATCH
        )  # jobs over whole objects don't push out what a person looks at
        for start in range(0, len(todo), _BATCH):
            list(self._pool.map(self._apply_finest, todo[start : start + _BATCH]))
            self._step("chunks-put")
        self.renew(dirty)

    def renew(self, dirty: Dirty) -> None:
        """Renew the voxels of all coarser levels above dirty regions of level 0."""
        for level in range(1, len(self._levels)):
            dirty = self.renew_level(level, dirty)
            self._step(f"level-{level}-put")

    # --- level 0

    def _apply_finest(self, place: Place) -> None:
        key = (0, place)
        level = self._levels[0]
        with self._cache.lock:
            cached = self._cache.peek(key)
        chunk: Chunk | None = cached
        for attempt in range(ATTEMPTS):
            fresh = chunk is None
            if chunk is None:
                chunk = self._cache.read(key)
            with self._cache.lock:
                stored, etag, applied, read = chunk.stored, chunk.etag, chunk.applied, chunk.read
            with self._looking:  # one look at the journal serves all who waited for it
                if read > self._state.listed:
                    self.sync()
            with self._cache.lock:
                number = self._state.base
                deltas = self._state.outstanding(place, applied)
            block = stored.copy()
            for delta in deltas:
                delta.apply(block, level.origin(place))
            same = np.array_equal(block, stored)
            if same and (fresh or level.etag(place) == etag):
                self._took(key, stored, etag, number)
                return
            if not same:
                try:
                    self._step("chunk-put")
                    etag = level.put(place, block, etag)
                    self._took(key, block, etag, number)
                    return
                except ChangedError:
                    pass
            chunk = None  # another version is there: read it
            _pause(attempt)
        raise _too_busy(level, place)

    def _took(self, key: Key, block: np.ndarray, etag: str | None, number: int) -> None:
        with self._cache.lock:
            self._state.set_applied(key[1], number)
            self._cache.replace(key, block, etag, number)

    # --- coarser levels

    def renew_level(self, index: int, dirty: Dirty) -> Dirty:
        """Renew one level above dirty regions of the finer one; return the regions that are dirty in it."""
        level, factors = self._levels[index], self._factors[index - 1]
        whole = whole_region(level.shape)
        above = {
            time: [
                seen
                for region in regions
                if (seen := intersection(coarsened(region, factors), whole)) is not None
            ]
            for time, regions in dirty.items()
        }  # a level that was rounded down has nothing above the last voxels of the finer one
        parts: dict[Place, list[Region]] = defaultdict(list)
        for moment, found in above.items():
            for region in found:
                for place in level.places(moment, region):
                    part = intersection(region, level.region(place))
                    if part is not None:
                        parts[place].append(part)
        todo = sorted(parts)
        for start in range(0, len(todo), _BATCH):
            batch = todo[start : start + _BATCH]
            self._renew(index, {place: few(parts[place], _MANY_PARTS) for place in batch})
        return above

    def _renew(self, index: int, parts: dict[Place, list[Region]]) -> None:
        finer = self._levels[index - 1]
        fresh: set[Key] = set()
        for attempt in range(ATTEMPTS):
            used = list(self._pool.map(partial(self._renew_one, index, fresh), parts.items()))
            sources = {key: etag for tags in used for key, etag in tags.items()}
            now = self._pool.map(lambda key: finer.etag(key[1]), sources)
            fresh = {
                key
                for (key, etag), there in zip(sources.items(), now, strict=True)
                if etag != there
            }
            # one object may also have been seen in two versions by two chunks of this batch
            fresh |= {key for tags in used for key, etag in tags.items() if sources[key] != etag}
            if not fresh:
                return
            parts = {
                place: found
                for (place, found), tags in zip(parts.items(), used, strict=True)
                if fresh & tags.keys()
            }
            _pause(attempt)
        raise _too_busy(self._levels[index], next(iter(parts)))

    def _renew_one(
        self, index: int, fresh: set[Key], item: tuple[Place, list[Region]]
    ) -> dict[Key, str | None]:
        """Renew parts of one coarser chunk; return the tags of the finer ones that it was made from."""
        place, parts = item
        level, key = self._levels[index], (index, place)
        chunk = self._cache.peek(key)
        for attempt in range(ATTEMPTS):
            reread = chunk is None
            if chunk is None:
                chunk = self._read(key)
            with self._cache.lock:
                stored, etag = chunk.stored, chunk.etag
            sources = _Sources(self, index - 1, place.time, fresh)
            block = stored.copy()
            origin = level.origin(place)
            for part in parts:
                block[slices(part, origin)] = self._downsampled(index, part, sources)
            same = np.array_equal(block, stored)
            if same and (reread or level.etag(place) == etag):
                self._cache.replace(key, stored, etag, 0)
                return sources.tags
            if not same:
                try:
                    self._step("coarser-put")
                    etag = level.put(place, block, etag)
                    self._cache.replace(key, block, etag, 0)
                    return sources.tags
                except ChangedError:
                    pass
            fresh = fresh | sources.tags.keys()
            chunk = None
            _pause(attempt)
        raise _too_busy(level, place)

    def _downsampled(self, index: int, region: Region, sources: _Sources) -> np.ndarray:
        factors, finer = self._factors[index - 1], self._levels[index - 1]
        return self.downsample(sources.read(refined(region, factors, finer.shape)), factors)

    def stored_chunk(self, key: Key, *, fresh: bool) -> tuple[np.ndarray, str | None]:
        """Return the stored voxels and tag of a chunk, from memory unless `fresh`."""
        chunk = None if fresh else self._cache.peek(key)
        if chunk is None:
            chunk = self._read(key)
        with self._cache.lock:
            return chunk.stored, chunk.etag

    def _read(self, key: Key) -> Chunk:
        """Read a chunk; coarser ones stay in memory for the next flush."""
        chunk = self._cache.read(key)
        with self._cache.lock:
            self._cache.replace(key, chunk.stored, chunk.etag, chunk.applied)
            if key[0] and self._keep:
                self._cache.keep(key, chunk)
        return chunk


class _Sources:
    """The finer chunks that one coarser chunk is made from, each read once, with the tags of what was read."""

    def __init__(self, applier: Applier, level: int, time: int, fresh: set[Key]) -> None:
        self._applier = applier
        self._level = level
        self._time = time
        self._fresh = fresh
        self._blocks: dict[Key, np.ndarray] = {}
        self.tags: dict[Key, str | None] = {}

    def read(self, region: Region) -> np.ndarray:
        level = self._applier._levels[self._level]
        out = np.zeros(region_shape(region), level.dtype)
        origin = region_origin(region)
        for place in level.places(self._time, region):
            key = (self._level, place)
            if key not in self._blocks:
                block, etag = self._applier.stored_chunk(key, fresh=key in self._fresh)
                self._blocks[key], self.tags[key] = block, etag
            part = intersection(region, level.region(place))
            if part is not None:
                inner = slices(part, level.origin(place))
                out[slices(part, origin)] = self._blocks[key][inner]
        return out


def dirty_regions(records: Iterable[Record]) -> Dirty:
    """Return the regions that records change, by time."""
    dirty: Dirty = defaultdict(list)
    for record in records:
        for delta in record.deltas:
            dirty[delta.time].append(delta.region)
    return {time: list(dict.fromkeys(regions)) for time, regions in dirty.items()}


def few(regions: list[Region], most: int) -> list[Region]:
    """Return the regions, or where there are more than `most` the one around them."""
    return regions if len(regions) <= most else [enclosing(regions)]


def _pause(attempt: int) -> None:
    time.sleep(random.random() * min(0.5, 0.005 * 2 ** min(attempt, 8)))


def _too_busy(level: StoredLevel, place: Place) -> StorageError:
    return StorageError(
        f"{level.store.location}/{level.key(place)} changes too fast: {ATTEMPTS} attempts to put a "
        "version failed; others write the same chunk all the time. Flush again; nothing is lost"
    )
