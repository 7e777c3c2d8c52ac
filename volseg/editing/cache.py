"""Decoded chunks in memory: bounded, least recently used first out, chunks with unwritten edits last of all.

An entry keeps apart what is stored (at a tag) and what a person sees (with edits that are not in the chunk yet).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from volseg.editing.chunks import StoredLevel
from volseg.editing.deltas import Place

Key = tuple[int, Place]
"""(level, place)."""


@dataclass
class Chunk:
    """One storage object in memory.

    Parameters
    ----------
    stored
        Its voxels (z, y, x) as in the store; never written to.
    etag
        The tag of that version, None if it is not stored.
    applied
        All records up to this number are surely in `stored`.
    read
        Monotonic clock (s) when that version was surely in the store.
    working
        The voxels with edits that `stored` lacks; None where there are none.
    """

    stored: np.ndarray
    etag: str | None
    applied: int
    read: float
    working: np.ndarray | None = None

    @property
    def view(self) -> np.ndarray:
        """What a person sees; not to be written to."""
        return self.stored if self.working is None else self.working

    def writable(self) -> np.ndarray:
        """Return the working voxels, made from the stored ones at the first edit."""
        if self.working is None:
            self.working = self.stored.copy()
        return self.working

    @property
    def nbytes(self) -> int:
        """Memory that the entry takes."""
        return self.stored.nbytes + (0 if self.working is None else self.working.nbytes)


class ChunkCache:
    """Chunks of all levels of one label image.

    Parameters
    ----------
    levels
        Finest first.
    max_bytes
        Bound of the memory for chunks.
    prepare
        Called under the lock with key and chunk when one was read: adds the edits that the store lacks.
    applied
        Number of the last record that the store surely holds for a key; asked before each read.
    pinned
        Tells whether a chunk must stay (an open stroke has changed it).
    """

    def __init__(
        self,
        levels: list[StoredLevel],
        max_bytes: int,
        prepare: Callable[[Key, Chunk], None],
        applied: Callable[[Key], int],
        pinned: Callable[[Key], bool],
    ) -> None:
        self.lock = threading.RLock()
        self.max_bytes = max_bytes
        self.reads = 0
        self._levels = levels
        self._prepare = prepare
        self._applied = applied
        self._pinned = pinned
        self._chunks: OrderedDict[Key, Chunk] = OrderedDict()
        self._loading: dict[Key, Future[None]] = {}
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="volseg-chunks")

    def peek(self, key: Key) -> Chunk | None:
        """Return a chunk if it is in memory."""
        with self.lock:
            chunk = self._chunks.get(key)
            if chunk is not None:
                self._chunks.move_to_end(key)
            return chunk

    def holds(self, keys: Iterable[Key]) -> bool:
        """Tell whether all these chunks are in memory."""
        with self.lock:
            return all(key in self._chunks for key in keys)

    def items(self) -> list[tuple[Key, Chunk]]:
        """Return all chunks in memory."""
        with self.lock:
            return list(self._chunks.items())

    def load(self, keys: Iterable[Key]) -> None:
        """Read what is missing, in parallel; several callers share one read of a chunk."""
        waits: list[Future[None]] = []
        with self.lock:
            for key in keys:
                if key in self._chunks:
                    self._chunks.move_to_end(key)
                    continue
                future = self._loading.get(key)
                if future is None:
                    future = self._loading[key] = self._pool.submit(self._read, key)
                waits.append(future)
        for future in waits:
            future.result()

    def prefetch(self, keys: Iterable[Key]) -> None:
        """Start reading what is missing and return at once."""
        with self.lock:
            for key in keys:
                if key not in self._chunks and key not in self._loading:
                    self._loading[key] = self._pool.submit(self._read, key)

    def read(self, key: Key) -> Chunk:
        """Read a chunk from the store without keeping it."""
        applied = self._applied(key)
        block, etag = self._levels[key[0]].read(key[1])
        block.flags.writeable = False
        with self.lock:
            self.reads += 1
        return Chunk(block, etag, applied, time.monotonic())

    def replace(self, key: Key, block: np.ndarray, etag: str | None, applied: int) -> None:
        """Take over a version that was written or read elsewhere, if the chunk is in memory; edits stay on top."""
        block.flags.writeable = False
        with self.lock:
            chunk = self._chunks.get(key)
            if chunk is not None:
                chunk.stored, chunk.etag = block, etag
                chunk.applied, chunk.read = applied, time.monotonic()

    def keep(self, key: Key, chunk: Chunk) -> None:
        """Take in a chunk that was read elsewhere, unless there is one."""
        with self.lock:
            if key not in self._chunks:
                self._chunks[key] = chunk
                self.shrink()

    def settle(self, key: Key) -> None:
        """Forget a chunk's working voxels: nothing is on top of what is stored any more."""
        with self.lock:
            chunk = self._chunks.get(key)
            if chunk is not None:
                chunk.working = None

    def drop(self, key: Key) -> None:
        """Forget a chunk."""
        with self.lock:
            self._chunks.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self._chunks.clear()

    def shrink(self) -> None:
        """Let chunks go until the bound is kept: clean ones first, then edited ones whose edits are kept as deltas."""
        with self.lock:
            total = sum(chunk.nbytes for chunk in self._chunks.values())
            newest = next(reversed(self._chunks), None)
            for edited in (False, True):
                for key in list(self._chunks):
                    if total <= self.max_bytes:
                        return
                    chunk = self._chunks[key]
                    if key == newest or self._pinned(key):
                        continue
                    if (chunk.working is not None) is edited:
                        total -= chunk.nbytes
                        del self._chunks[key]

    @property
    def nbytes(self) -> int:
        """Memory that the chunks take."""
        with self.lock:
            return sum(chunk.nbytes for chunk in self._chunks.values())

    def close(self) -> None:
        """Stop the reading threads and forget everything."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.clear()

    def _read(self, key: Key) -> None:
        try:
            chunk = self.read(key)
            with self.lock:
                self._prepare(key, chunk)
                self._chunks[key] = chunk
                self._loading.pop(key, None)
                self.shrink()
        finally:
            with self.lock:
                self._loading.pop(key, None)
