"""The embedding cache: float16 on the store, one object per (slice range x tile), shared by all
workers.

An object is used only for the weights, rendering, tiling and source that it was made from: those
are in the key, the source objects' versions in the header. It is safe to delete at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import AlreadyWrittenError
from volseg.features.container import DamagedError, pack, unpack
from volseg.features.local_copies import LocalCopies
from volseg.features.reading import ReadBlock, SourceVersions, TileEncoder
from volseg.features.rendering import Rendering
from volseg.features.tiling import Tile, Tiling
from volseg.processes import runs

if TYPE_CHECKING:
    from volseg.geometry import Region
    from volseg.images.image import Volume
    from volseg.models.model import Model
    from volseg.models.spec import ModelSpec
    from volseg.storage.objects import Store

logger = logging.getLogger(__name__)

FORMAT = 1
FOLDER = "volseg/embeddings"
OBJECT_BYTES = 4 * 2**20  # aimed at, so that an object is neither tiny nor more than what is needed
MOST_SLICES = 8
MEMORY_BYTES = 256 * 2**20
CLAIM_SECONDS = 60.0  # after that a claim's holder is taken for dead
POLL_SECONDS = 0.1
WRITERS = 2

Range = tuple[int, int]
Encode = Callable[[Range, Tile], NDArray[np.void]]


def cache_key(
    source: str, level: int, time: int, rendering: Rendering, weights: str, tiling: Tiling
) -> str:
    """The name of a cache: a digest of everything that its embeddings depend on but the voxels.

    Parameters
    ----------
    source : str
        `Volume.identity` of the level.
    level, time : int
        What is embedded.
    rendering : Rendering
        How voxels are shown.
    weights : str
        SHA-256 of the weights, of a model with another's encoder those of the other.
    tiling : Tiling
        Tiles.
    """
    parts = {
        "format": FORMAT,
        "source": source,
        "level": level,
        "time": time,
        "rendering": rendering.model_dump(mode="json"),
        "weights": weights,
        "tiles": [*tiling.shape_yx, tiling.img_size, tiling.size, tiling.shared],
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class EmbeddingCache:
    """Embeddings of one volume, level, time, rendering, model and tiling.

    Parameters
    ----------
    store : Store or None
        Where the cache's objects lie; None keeps embeddings in memory only, slice by slice.
    key : str
        Of `cache_key`.
    depth : int
        Number of slices of the level.
    dtype : dtype
        Of one embedding, `ModelSpec.embedding_dtype`.
    versions : callable, optional
        Region -> versions of the source objects; without it sources are taken as unchanged.
    memory_bytes : int
        Embeddings that are kept in memory.
    copies : LocalCopies, optional
        Objects of the store kept on a local disk.
    """

    def __init__(
        self,
        store: Store | None,
        key: str,
        depth: int,
        dtype: np.dtype[np.void],
        *,
        versions: Callable[[Region], dict[str, Any]] | None = None,
        memory_bytes: int = MEMORY_BYTES,
        claim_seconds: float = CLAIM_SECONDS,
        copies: LocalCopies | None = None,
    ) -> None:
        self.store, self.key, self.depth = store, key, depth
        self.dtype = dtype
        fitting = min(MOST_SLICES, max(1, OBJECT_BYTES // dtype.itemsize))
        self.slices = 1 if store is None else fitting
        self.versions, self.memory_bytes, self.claim_seconds = versions, memory_bytes, claim_seconds
        self._copies = copies
        self.encoded = 0  # embeddings made by this cache, for reports
        self._memory: OrderedDict[tuple[int, int], NDArray[np.void]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()  # of the embeddings in memory
        self._writers: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []

    def range_of(self, z: int) -> Range:
        """The slices that share an object with slice z."""
        first = z // self.slices * self.slices
        return first, min(self.depth, first + self.slices)

    def ranges(self, z_range: Range) -> list[Range]:
        """The slice ranges of objects that touch z_range."""
        first = self.range_of(z_range[0])[0]
        return [self.range_of(z) for z in range(first, z_range[1], self.slices)]

    def get(self, z: int, tile: Tile, region: Region | None = None) -> np.void | None:
        """The embedding of a tile of a slice, None if there is no valid one."""
        found = self._load(self.range_of(z), tile, region)
        return None if found is None else found[z - self.range_of(z)[0]]

    def embedding(self, z: int, tile: Tile, encoder: TileEncoder) -> np.void:
        """The embedding of a tile of a slice, made, and written behind, if there is none."""
        z_range = self.range_of(z)
        return self.obtain(z_range, tile, encoder)[z - z_range[0]]

    def obtain(self, z_range: Range, tile: Tile, encoder: TileEncoder) -> NDArray[np.void]:
        """As `embedding`, for the slices of one object: (n,)."""
        region = encoder.region(z_range, tile)
        found = self._load(z_range, tile, region)
        if found is None and not self.claim(z_range, tile):
            found = self._wait(z_range, tile, region)
        if found is not None:
            return found
        try:
            sources = self.sources(region)  # before reading: a change meanwhile must show
            found = encoder.encode(z_range, tile)
        except BaseException:
            self._release(z_range, tile)
            raise
        self.add(z_range, tile, found, sources)
        return found

    def ensure(
        self,
        z_range: Range,
        tiles: Iterable[Tile],
        model: Model,
        rendering: Rendering,
        tiling: Tiling,
        read_block: ReadBlock,
    ) -> int:
        """Make sure that the embeddings of some tiles and slices exist; returns how many were made."""
        before = self.encoded
        encoder = TileEncoder(model, tiling, rendering, read_block)
        wanted = list(tiles)
        for one in self.ranges(z_range):
            for tile in wanted:
                self.obtain(one, tile, encoder)
        self.flush()
        return self.encoded - before

    def add(self, z_range: Range, tile: Tile, embeddings: NDArray[np.void], sources: Any) -> None:
        """Keep new embeddings, and write them behind where there is a store.

        `sources` are what the method of this name gave before the voxels were read.
        """
        self.encoded += len(embeddings)
        self._keep(z_range, tile, embeddings)
        if self.store is None or self.store.read_only:
            return
        if self._writers is None:
            self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="embeddings")
        while len(self._pending) > 2 * WRITERS:
            self._pending.pop(0).result()
        self._pending.append(
            self._writers.submit(self._write, self.store, z_range, tile, embeddings, sources)
        )

    def sources(self, region: Region) -> Any:
        """Versions of the source objects of a region as they stand in an object's header."""
        return None if self.versions is None else _plain(self.versions(region))

    def flush(self) -> None:
        """Wait until everything written behind is on the store; raises what went wrong there."""
        while self._pending:
            self._pending.pop(0).result()

    def close(self) -> None:
        """Flush, and end the threads that write."""
        try:
            self.flush()
        finally:
            if self._writers is not None:
                self._writers.shutdown()
                self._writers = None

    def claim(self, z_range: Range, tile: Tile) -> bool:
        """Announce that this process makes an object, so that others wait instead of making it too."""
        if self.store is None or self.store.read_only:
            return True
        note = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex}
        try:
            self.store.put_new(_claim_name(z_range, tile), json.dumps(note).encode())
        except AlreadyWrittenError:
            return False
        return True

    def _release(self, z_range: Range, tile: Tile) -> None:
        if self.store is not None and not self.store.read_only:
            self.store.delete(_claim_name(z_range, tile))

    def _load(self, z_range: Range, tile: Tile, region: Region | None) -> NDArray[np.void] | None:
        with self._lock:
            kept = self._memory.get((z_range[0], tile.index))
            if kept is not None:
                self._memory.move_to_end((z_range[0], tile.index))
                return kept
        if self.store is None:
            return None
        name = _name(z_range, tile)
        copy = None if self._copies is None else self._copies.get(self.key, name)
        found = self._checked(copy, z_range, name, region)
        if found is None:
            data = self.store.get_or_none(name)
            found = self._checked(data, z_range, name, region)
            if self._copies is not None and data is not None and found is not None:
                self._copies.put(self.key, name, data)
            elif self._copies is not None and copy is not None:
                self._copies.drop(self.key, name)
        if found is not None:
            self._keep(z_range, tile, found)
        return found

    def _checked(
        self, data: bytes | None, z_range: Range, name: str, region: Region | None
    ) -> NDArray[np.void] | None:
        """The embeddings of a stored object; None where it is damaged, or was made from something else."""
        if data is None:
            return None
        try:
            header, embeddings = unpack(data, self.dtype)
        except DamagedError as error:
            logger.warning("%s/%s: %s; made anew", self.store, name, error)
            return None
        if header.get("key") != self.key or header.get("z") != list(z_range):
            return None
        if region is not None and header["sources"] != self.sources(region):
            logger.info("the source of %s/%s has changed", self.store, name)
            return None
        return embeddings

    def _keep(self, z_range: Range, tile: Tile, embeddings: NDArray[np.void]) -> None:
        place = (z_range[0], tile.index)
        with self._lock:
            old = self._memory.pop(place, None)
            self._bytes += embeddings.nbytes - (0 if old is None else old.nbytes)
            self._memory[place] = embeddings
            while self._bytes > self.memory_bytes and len(self._memory) > 1:
                self._bytes -= self._memory.popitem(last=False)[1].nbytes

    def _write(
        self,
        store: Store,
        z_range: Range,
        tile: Tile,
        embeddings: NDArray[np.void],
        sources: Any,
    ) -> None:
        header = {"key": self.key, "z": list(z_range), "tile": tile.index, "sources": sources}
        data = pack(header, embeddings)
        try:
            store.put(_name(z_range, tile), data)
            if self._copies is not None:
                self._copies.put(self.key, _name(z_range, tile), data)
        finally:
            store.delete(_claim_name(z_range, tile))

    def _wait(self, z_range: Range, tile: Tile, region: Region) -> NDArray[np.void] | None:
        """The object that another process has announced; None where that process seems to have died."""
        if self.store is None:
            return None
        until = time.monotonic() + self.claim_seconds
        while time.monotonic() < until:
            found = self._load(z_range, tile, region)
            if found is not None:
                return found
            held = self.store.get_or_none(_claim_name(z_range, tile))
            stat = self.store.head(_claim_name(z_range, tile))
            if held is None or stat is None or _is_gone(held):
                break
            if (datetime.now(UTC) - stat.modified).total_seconds() > self.claim_seconds:
                break
            time.sleep(POLL_SECONDS)
        return self._load(z_range, tile, region)


def cache_of(
    volume: Volume,
    spec: ModelSpec,
    rendering: Rendering,
    tiling: Tiling,
    *,
    level: int = 0,
    time: int = 0,
    in_memory: bool = False,
    memory_bytes: int = MEMORY_BYTES,
) -> EmbeddingCache:
    """The cache of a volume for a model, where its labels lie too.

    In front of a store that is not on this machine, the environment may ask for local copies (`LocalCopies`).

    Parameters
    ----------
    volume : Volume
        The image.
    spec : ModelSpec
        With the digest of its weights (`Model.spec` has it).
    rendering, tiling : Rendering, Tiling
        As they are used.
    level, time : int
        What is embedded.
    in_memory : bool
        Keep nothing on the store.
    memory_bytes : int
        Embeddings kept in memory.
    """
    identity = volume.identity(level)
    key = cache_key(identity, level, time, rendering, spec.encoder_sha256 or "unknown", tiling)
    store = None if in_memory else volume.output_store.sub(f"{FOLDER}/{key}")
    versions = SourceVersions(volume, level, time, rendering.channels)
    is_far = store is not None and store.location.local_path is None
    return EmbeddingCache(
        store,
        key,
        volume.levels[level].grid.shape[0],
        spec.embedding_dtype,
        versions=None if in_memory else versions,
        memory_bytes=memory_bytes,
        copies=LocalCopies.from_environment() if is_far else None,
    )


def _name(z_range: Range, tile: Tile) -> str:
    return f"{z_range[0]:06d}-{z_range[1]:06d}/{tile.index:05d}"


def _claim_name(z_range: Range, tile: Tile) -> str:
    return f"{_name(z_range, tile)}.claim"


def _is_gone(note: bytes) -> bool:
    """Whether the process of a claim ran on this machine and is no more."""
    try:
        held = json.loads(note)
        if held["host"] != socket.gethostname():
            return False
        return not runs(int(held["pid"]))
    except (ValueError, KeyError, OSError):
        return False


def _plain(value: Any) -> Any:
    """As it looks after a round trip through JSON."""
    return json.loads(json.dumps(value))
