"""The objects of label images that teach: which ones, on which slices, and what tiles show of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volseg.errors import InputError
from volseg.features.cache import cache_of
from volseg.features.reading import SlabReader, TileEncoder
from volseg.features.rendering import measure_rendering
from volseg.features.tiling import Tile, Tiling, checked_zoom, choose_zoom
from volseg.geometry import evenly
from volseg.pipelines.finetuning.options import FinetuneOptions
from volseg.pipelines.finetuning.views import SMALLEST, ObjectKey, View
from volseg.pipelines.objects.sources import ObjectSource
from volseg.progress import Progress
from volseg.training.prompts import Mask, bounds

if TYPE_CHECKING:
    from volseg.images.labels import Labels
    from volseg.models.model import Model

EMBEDDING_BYTES = 2**30
"""Embeddings that are kept in memory; objects beyond that are left out."""

Areas = dict[ObjectKey, dict[int, int]]
"""Voxels of each object by slice."""


@dataclass(frozen=True)
class Chosen:
    """The objects that teach.

    Attributes
    ----------
    slices
        The slices of each that are looked at, by object, in the order in which they were drawn.
    areas
        Voxels by slice.
    offered
        How many there were to choose from.
    """

    slices: Mapping[ObjectKey, tuple[int, ...]]
    areas: Areas
    offered: int


def choose_objects(
    sources: Sequence[ObjectSource], options: FinetuneOptions, progress: Progress
) -> Chosen:
    """Choose objects and their slices; what people rejected teaches nothing.

    Raises
    ------
    InputError
        No object is left.
    """
    areas: Areas = {}
    for number, source in enumerate(sources):
        allowed = _allowed(source, corrected_only=options.corrected_only)
        for time in range(source.labels.n_times):
            areas |= _areas(source.labels, number, time, allowed, progress)
    if not areas:
        which = "that a person touched or accepted " if options.corrected_only else ""
        raise InputError(
            f"no object {which}is in {', '.join(map(str, sources))}; correct or label some first"
        )
    keys = sorted(areas)
    drawn = np.random.default_rng([options.seed, 1]).permutation(len(keys))[: options.objects]
    slices = {
        keys[at]: tuple(evenly(_large(areas[keys[at]]), options.slices)) for at in drawn.tolist()
    }
    return Chosen(slices, {key: areas[key] for key in slices}, len(keys))


def _large(by_z: Mapping[int, int]) -> list[int]:
    """Slices on which an object has at least a quarter of its largest area."""
    largest = max(by_z.values())
    return [z for z, area in sorted(by_z.items()) if 4 * area >= largest]


class _Allowed:
    """Which objects may teach."""

    def __init__(
        self, rejected: set[tuple[int, int]], touched: set[tuple[int, int]] | None
    ) -> None:
        self.rejected, self.touched = rejected, touched

    def __call__(self, time: int, id_: int) -> bool:
        key = time, id_
        return key not in self.rejected and (self.touched is None or key in self.touched)


def _allowed(source: ObjectSource, *, corrected_only: bool) -> _Allowed:
    rows = source.labels.objects.rows()
    rejected = {(row.time, row.id) for row in rows if row.status == "rejected"}
    people = {(r.time, r.id) for r in rows if r.annotator is not None or r.status == "accepted"}
    return _Allowed(rejected, people if corrected_only else None)


def _areas(labels: Labels, number: int, time: int, allowed: _Allowed, progress: Progress) -> Areas:
    found: Areas = defaultdict(dict)
    depth = labels.shape[0]
    for z, plane in _planes(labels, time, range(depth)):
        ids, counts = np.unique(plane[plane != 0], return_counts=True)
        for one, area in zip(ids.tolist(), counts.tolist(), strict=True):
            if allowed(time, one):
                found[number, time, one][z] = area
        progress("objects", z + 1, depth)
    return dict(found)


def _planes(
    labels: Labels, time: int, wanted: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.integer]]]:
    """Yield slices (y, x) of a label image, one at a time."""
    _, height, width = labels.shape
    for z in wanted:
        region = ((z, z + 1), (0, height), (0, width))
        yield z, np.asarray(labels.read(region, level=0, time=time))[0]


def collect_views(
    sources: Sequence[ObjectSource],
    chosen: Chosen,
    model: Model,
    options: FinetuneOptions,
    progress: Progress,
) -> list[View]:
    """Return what tiles show of the chosen objects, embeddings taken from the images' caches where they are.

    Raises
    ------
    InputError
        Labels are not on the image's grid, or nothing of any object is large enough to be seen.
    """
    found: list[View] = []
    total, done, room = sum(map(len, chosen.slices.values())), 0, EMBEDDING_BYTES
    for number, time in sorted({key[:2] for key in chosen.slices}):
        shower = _Shower(sources[number], time, chosen, number, model, options)
        wanted: dict[int, list[int]] = defaultdict(list)
        for key, slices in chosen.slices.items():
            for z in slices if key[:2] == (number, time) else ():
                wanted[z].append(key[2])
        for z, plane in _planes(sources[number].labels, time, sorted(wanted)):
            for id_ in sorted(wanted[z]):
                if (seen := shower.show(z, plane, id_)) is not None and room > 0:
                    tile, mask = seen
                    fresh, embedding = shower.embedding(z, tile)
                    room -= fresh * model.spec.embedding_bytes
                    found.append(View.of((number, time, id_), embedding, mask))
                done += 1
                progress("embed", done, total)
    if not found:
        raise InputError(
            f"no object is large enough to learn from: on its tile each has less than {SMALLEST} pixels; "
            "give a larger --zoom"
        )
    return found


class _Shower:
    """Shows objects of one label image at one time as the model sees them."""

    def __init__(
        self,
        source: ObjectSource,
        time: int,
        chosen: Chosen,
        number: int,
        model: Model,
        options: FinetuneOptions,
    ) -> None:
        volume, labels = source.volume, source.labels
        if labels.shape != volume.shape:
            raise InputError(
                f"{source} has {labels.shape} voxels, but the image has {volume.shape}; labels of a coarser level "
                "can't teach"
            )
        channel = labels.channel if options.channel is None else options.channel
        rendering = measure_rendering(volume, 0, time, channel, options.preprocess)
        zoom = checked_zoom(options.zoom)
        if zoom is None:
            areas = [max(a.values()) for key, a in chosen.areas.items() if key[0] == number]
            zoom = choose_zoom([2 * (a / np.pi) ** 0.5 for a in areas], model.spec.object_size)
        self.tiling = Tiling(volume.shape[1:], model.spec.img_size, zoom)
        self._cache = cache_of(volume, model.spec, rendering, self.tiling, time=time)
        reader = SlabReader(volume, 0, time, rendering.channels)
        self._encoder = TileEncoder(model, self.tiling, rendering, reader)
        self._known: dict[tuple[int, int], np.void] = {}

    def show(self, z: int, plane: NDArray[np.integer], id_: int) -> tuple[Tile, Mask] | None:
        """Return the tile nearest to the largest part of an object, and its mask there; None where it is too small."""
        whole = _largest_part(plane == id_)
        y0, x0, y1, x1 = bounds(whole)
        tile = self.tiling.nearest((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2)
        part = np.zeros((tile.size, tile.size), bool)
        part[: tile.height, : tile.width] = whole[
            tile.y0 : tile.y0 + tile.height, tile.x0 : tile.x0 + tile.width
        ]
        size = self.tiling.img_size
        at = ((np.arange(size) + 0.5) * tile.size / size).astype(int)
        mask = part[at[:, None], at]
        return (tile, mask) if np.count_nonzero(mask) >= SMALLEST else None

    def embedding(self, z: int, tile: Tile) -> tuple[bool, np.void]:
        """Return whether it was not asked for before, and the embedding of a tile of a slice."""
        key = z, tile.index
        if key in self._known:
            return False, self._known[key]
        region = self._encoder.region(self._cache.range_of(z), tile)
        found = self._cache.get(z, tile, region)
        if found is None:
            found = self._encoder.encode((z, z + 1), tile)[0]
        self._known[key] = found.copy()
        return True, self._known[key]


def _largest_part(mask: Mask) -> Mask:
    y0, x0, y1, x1 = bounds(mask)
    parts, count = ndimage.label(mask[y0:y1, x0:x1], np.ones((3, 3)))
    if count > 1:
        found = np.zeros_like(mask)
        found[y0:y1, x0:x1] = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
        return found
    return mask
