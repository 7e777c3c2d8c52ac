"""A predictor for prompting: embeddings from the volume's cache where somebody filled it, else made slice by slice.

What is made here stays in memory: the cache's objects hold several slices, and nobody waits for those.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, VolsegError

if TYPE_CHECKING:
    from volseg.embeddings import EmbeddingCache, TileEncoder
    from volseg.prompts import PromptedObject
    from volseg.propagation.sam_predictor import SamSlicePredictor
    from volseg.sam.rendering import Rendering
    from volseg.sam.tiling import Tile
    from volseg.volume.image import Volume
    from volseg.volume.labels import Labels

KEPT_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Choice:
    """What the model looks at, and which model.

    Parameters
    ----------
    model
        Name, path or URL; or, as for the flow, the true labels ``{"kind": "oracle", "url": …, "name": …}``.
    channel
        As in a plan: an index, several, or None.
    time
        Time point.
    zoom
        Model pixels per voxel.
    """

    model: str | dict[str, Any] = "nano"
    channel: int | tuple[int, ...] | None = None
    time: int = 0
    zoom: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values, by the names that `make_plan` has."""
        channel = list(self.channel) if isinstance(self.channel, tuple) else self.channel
        return {"model": self.model, "channel": channel, "time": self.time, "zoom": self.zoom}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Choice:
        """The choice of `to_json`; other keys are left alone."""
        channel = value.get("channel")
        return Choice(
            value.get("model", "nano"),
            tuple(channel) if isinstance(channel, list) else channel,
            int(value.get("time", 0)),
            float(value.get("zoom") or 1.0),
        )


class ReadThrough:
    """Embeddings from memory, else from the volume's cache, else made; in the place of an `EmbeddingCache`."""

    def __init__(self, memory: EmbeddingCache, stored: EmbeddingCache) -> None:
        self.memory, self.stored = memory, stored
        self._looked: set[tuple[int, int]] = set()

    def has(self, z: int, tile: Tile) -> bool:
        """Whether the embedding is in memory."""
        return self.memory.get(z, tile) is not None

    def embedding(self, z: int, tile: Tile, encoder: TileEncoder) -> NDArray[np.float16]:
        """The embedding (C, E, E) of a tile of a slice."""
        found = self.memory.get(z, tile)
        if found is not None:
            return found
        if (z, tile.index) not in self._looked:
            self._looked.add((z, tile.index))
            region = encoder.region(self.stored.range_of(z), tile)
            found = self.stored.get(z, tile, region)
            if found is not None:
                self.memory.add((z, z + 1), tile, found[None], None)
                return found
        return self.memory.embedding(z, tile, encoder)

    def flush(self) -> None:
        """Nothing is written."""


class InteractivePredictor:
    """A SAM over one volume, opened for prompting. Use it from one thread.

    Parameters
    ----------
    volume
        The image.
    choice
        What is looked at.
    threads
        CPU threads of the model; None: all.
    """

    def __init__(self, volume: Volume, choice: Choice, threads: int | None = None) -> None:
        import os

        from volseg.embeddings import TileEncoder
        from volseg.embeddings.cache import cache_of
        from volseg.propagation.sam_predictor import open_sam_predictor
        from volseg.sam.registry import load_model

        on_linux = hasattr(os, "sched_getaffinity")
        cores = threads or (len(os.sched_getaffinity(0)) if on_linux else os.cpu_count() or 1)
        if not isinstance(choice.model, str):
            raise InputError("true labels are no model: see `open_interactive`")
        model = load_model(choice.model, threads=cores)
        rendering = remembered_rendering(volume, choice)
        self.predictor: SamSlicePredictor = open_sam_predictor(
            volume, model, rendering, time=choice.time, zoom=choice.zoom, in_memory=True
        )
        tiling = self.predictor.tiling
        self.predictor.cache.memory_bytes = KEPT_BYTES
        stored = cache_of(
            volume, model.spec, rendering, tiling, time=choice.time, memory_bytes=2**24
        )
        self.cache = ReadThrough(self.predictor.cache, stored)
        self.predictor.cache = self.cache  # type: ignore[assignment]
        from volseg.embeddings import SlabReader

        reader = SlabReader(volume, 0, choice.time, rendering.channels)
        self._encoder = TileEncoder(model, tiling, rendering, reader)
        self.shape = self.predictor.shape

    def tiles(self, box: tuple[int, int, int, int] | None) -> list[Tile]:
        """The tiles that show a part y0, x0, y1, x1 of a slice (all of it for None), the middle first."""
        tiling = self.predictor.tiling
        found = tiling.tiles if box is None else tiling.touching(box)
        y0, x0, y1, x1 = box or (0, 0, *self.shape[1:])
        middle = (y0 + y1) / 2, (x0 + x1) / 2
        return sorted(
            found, key=lambda t: abs(t.centre[0] - middle[0]) + abs(t.centre[1] - middle[1])
        )

    def embed(self, z: int, tile: Tile) -> bool:
        """Make sure of one embedding; tell whether it was missing."""
        if self.cache.has(z, tile):
            return False
        self.cache.embedding(z, tile, self._encoder)
        return True

    def predict(self, z: int, prompts: Any) -> Any:
        """As a `SlicePredictor`."""
        return self.predictor.predict(z, prompts)


class TruePredictor:
    """The true labels in the model's place, as flows take them too: for tests and demonstrations without a model."""

    def __init__(self, choice: Choice) -> None:
        from volseg.jobs.predictors import OraclePredictor
        from volseg.volume.image import open_volume

        if isinstance(choice.model, str):
            raise InputError(f"{choice.model!r} is a model, not true labels")
        truth = open_volume(choice.model["url"]).labels[choice.model["name"]]
        self._truth = OraclePredictor(truth, choice.time)
        self.shape = self._truth.shape

    def tiles(self, box: tuple[int, int, int, int] | None) -> list[Tile]:
        """One, the whole slice."""
        from volseg.sam.tiling import Tiling

        return Tiling(self.shape[1:], max(self.shape[1:])).tiles[:1]

    def embed(self, z: int, tile: Tile) -> bool:
        """Nothing is to be embedded."""
        return False

    def predict(self, z: int, prompts: Any) -> Any:
        """As a `SlicePredictor`."""
        return self._truth.predict(z, prompts)


def open_interactive(volume: Volume, choice: Choice) -> InteractivePredictor | TruePredictor:
    """What answers prompts for a choice."""
    if isinstance(choice.model, str):
        return InteractivePredictor(volume, choice)
    return TruePredictor(choice)


def remembered_rendering(volume: Volume, choice: Choice) -> Rendering:
    """The contrast of a volume, measured once per machine: it reads a good part of the volume."""
    from volseg.sam.rendering import Rendering, measure_rendering

    names = {"url": volume.location.url, "identity": volume.identity(0), "time": choice.time}
    names["channel"] = list(choice.channel) if isinstance(choice.channel, tuple) else choice.channel
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder() / "renderings" / f"{digest}.json"
    try:
        return Rendering.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValueError):
        pass
    rendering = measure_rendering(volume, 0, choice.time, choice.channel)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendering.model_dump_json(), "utf-8")
    except OSError:
        pass  # then it is measured again next time
    return rendering


def cache_folder() -> Path:
    """Where the plugin keeps what it can make again."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("volseg")) / "napari"


def check_grid(volume: Volume, labels: Labels) -> None:
    """Raise InputError where prompts can't be placed in a label image: it lies on a coarser grid."""
    if labels.shape != volume.shape:
        raise InputError(
            f"{labels.location} has {labels.shape} voxels (z, y, x), but its image has {volume.shape}: prompts "
            "are placed on the image's own grid; make a label image without a level to prompt in"
        )


def fitting_zoom(objects: Iterable[PromptedObject], model: str) -> float:
    """The zoom that brings the objects that were boxed or painted to the size that the model likes; else 1."""
    from volseg.sam.registry import find_model
    from volseg.sam.tiling import choose_zoom

    sizes = []
    for one in objects:
        areas = []
        for prompt in one.prompts:
            if prompt.mask is not None:
                areas.append(4 / np.pi * sum(prompt.mask.counts[1::2]))
            elif prompt.box is not None:
                y0, x0, y1, x1 = prompt.box
                areas.append((y1 - y0) * (x1 - x0))
        if areas:
            sizes.append(float(max(areas)) ** 0.5)
    try:
        return float(choose_zoom(sizes, find_model(model).object_size)) if sizes else 1.0
    except VolsegError:
        return 1.0
