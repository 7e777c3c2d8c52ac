"""Filling the embedding cache ahead of interactive work: read, render, encode and write at the
same time.

What is done on demand lives in `cache`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.features.cache import EmbeddingCache, Range, cache_of
from volseg.features.reading import SlabReader, TileEncoder
from volseg.features.rendering import measure_rendering
from volseg.features.tiling import Tile, Tiling
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.models.model import Model

AHEAD = 3  # objects that are read and rendered before they are needed


@dataclass(frozen=True)
class _Work:
    z_range: Range
    tile: Tile
    sources: Any
    images: NDArray[np.uint8] | None  # None: is there already


def embed_volume(
    volume: Volume,
    model: Model | str,
    z: Range | None = None,
    progress: Progress | None = None,
    *,
    channel: int | Sequence[int] | None = None,
    level: int = 0,
    time: int = 0,
    zoom: float | str | None = "auto",
    preprocess: Sequence[str] = (),
    should_stop: Callable[[], bool] | None = None,
) -> str:
    """Embed slices of a volume into its cache; what is there already is left alone.

    Parameters
    ----------
    volume : Volume
        The image; the cache lies where its labels do.
    model : Model or str
        A loaded model, or its name, path or URL.
    z : (int, int), optional
        Slices, half-open; all by default.
    progress : Progress, optional
        Told embeddings done and in total, stage ``embed``.
    channel, level, time
        What is embedded.
    zoom : float or ``auto``
        Model pixels per voxel. Nobody knows how large objects are before one is prompted: ``auto`` is 1, the data as
        stored. ``volseg segment --plan-only`` tells the zoom of a job.
    preprocess : sequence of str
        Filters, see `volseg.features.preprocessing`.
    should_stop : callable, optional
        Asked before each object; True ends the work with everything so far in the cache.

    Returns
    -------
    str
        The cache's key: it lies in ``volseg/embeddings/<key>``.

    Raises
    ------
    InputError
        No such channel, level, time or slice.
    """
    if isinstance(model, str):
        from volseg.models.registry import load_model

        model = load_model(model, progress=progress)
    if not 0 <= time < volume.n_times:
        raise InputError(f"time {time} is out of range; the image has {volume.n_times}, from 0")
    depth, height, width = volume.level(level).grid.shape
    first, last = (0, depth) if z is None else z
    if not 0 <= first < last <= depth:
        raise InputError(f"slices {first}:{last} are not among the {depth} slices of the image")
    rendering = measure_rendering(volume, level, time, channel, preprocess)
    factor = float(zoom) if zoom not in (None, "auto") else 1.0
    tiling = Tiling((height, width), model.spec.img_size, factor)
    cache = cache_of(volume, model.spec, rendering, tiling, level=level, time=time)
    reader = SlabReader(volume, level, time, rendering.channels)
    encoder = TileEncoder(model, tiling, rendering, reader)
    try:
        fill(cache, encoder, (first, last), progress or silent, should_stop or (lambda: False))
    finally:
        cache.close()
    return cache.key


def fill(
    cache: EmbeddingCache,
    encoder: TileEncoder,
    z_range: Range,
    progress: Progress,
    should_stop: Callable[[], bool],
) -> None:
    """Make every embedding of some slices that is missing in a cache.

    A thread reads and renders ahead, this one encodes, the cache's threads write behind.
    """
    ranges = cache.ranges(z_range)
    total = sum(b - a for a, b in ranges) * len(encoder.tiling.tiles)
    done = 0
    waiting: list[_Work] = []
    for work in _ahead(cache, encoder, ranges):
        if should_stop():
            break
        if work.images is None:
            done += work.z_range[1] - work.z_range[0]
            progress("embed", done, total)
            continue
        waiting.append(work)
        count = sum(len(w.images) for w in waiting if w.images is not None)
        if count >= encoder.model.encode_batch:
            done += _encode(cache, encoder, waiting)
            progress("embed", done, total)
    if waiting:
        done += _encode(cache, encoder, waiting)
        progress("embed", done, total)
    cache.flush()


def _encode(cache: EmbeddingCache, encoder: TileEncoder, waiting: list[_Work]) -> int:
    """Encode what waits, together, and empty the list."""
    images = [w.images for w in waiting if w.images is not None]
    together = images[0] if len(images) == 1 else np.concatenate(images)
    embeddings = encoder.model.encode(together)
    first = 0
    for work, part in zip(waiting, images, strict=True):
        cache.add(work.z_range, work.tile, embeddings[first : first + len(part)], work.sources)
        first += len(part)
    waiting.clear()
    return first


def _ahead(cache: EmbeddingCache, encoder: TileEncoder, ranges: list[Range]) -> Iterator[_Work]:
    """Work in an order that reads every slab of chunks once per tile, prepared by a thread of its
    own.
    """

    def prepare(z_range: Range, tile: Tile) -> _Work:
        region = encoder.region(z_range, tile)
        if cache.get(z_range[0], tile, region) is not None:
            return _Work(z_range, tile, None, None)
        sources = cache.sources(region)
        return _Work(z_range, tile, sources, encoder.images(z_range, tile))

    order = _order(encoder, ranges)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        queue: list[Any] = [pool.submit(prepare, *item) for item in order[:AHEAD]]
        for item in order[AHEAD:]:
            yield queue.pop(0).result()
            queue.append(pool.submit(prepare, *item))
        while queue:
            yield queue.pop(0).result()


def _order(encoder: TileEncoder, ranges: list[Range]) -> list[tuple[Range, Tile]]:
    reader = encoder.read_block
    depth = 1
    if isinstance(reader, SlabReader):
        depth = max(1, reader.volume.levels[reader.level].chunks[-3])
    slabs: dict[int, list[Range]] = {}
    for one in ranges:
        slabs.setdefault(one[0] // depth, []).append(one)
    return [
        (one, tile) for _, members in sorted(slabs.items())
        for tile in encoder.tiling.tiles for one in members
    ]  # fmt: skip
