"""A predictor for prompting: embeddings from the volume's cache where somebody filled it, else made slice by slice.

What is made here stays in memory: the cache's objects hold several slices, and nobody waits for those.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from volseg.errors import InputError

if TYPE_CHECKING:
    from volseg.features import EmbeddingCache, TileEncoder
    from volseg.features.rendering import Rendering
    from volseg.features.tiling import Tile
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.predict.slice_predictor import SamSlicePredictor
    from volseg.prompts import PromptedObject

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
        Model pixels per voxel; ``auto`` where it is not known yet: slices are then shown to the model as they are
        stored, and a plan finds it.
    """

    model: str | dict[str, Any] = "nano"
    channel: int | tuple[int, ...] | None = None
    time: int = 0
    zoom: float | Literal["auto"] = "auto"

    def to_json(self) -> dict[str, Any]:
        """As JSON values, by the names that `make_plan` has."""
        channel = list(self.channel) if isinstance(self.channel, tuple) else self.channel
        return {"model": self.model, "channel": channel, "time": self.time, "zoom": self.zoom}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Choice:
        """The choice of `to_json`; other keys are left alone."""
        channel, zoom = value.get("channel"), value.get("zoom") or "auto"
        return Choice(
            value.get("model", "nano"),
            tuple(channel) if isinstance(channel, list) else channel,
            int(value.get("time", 0)),
            "auto" if zoom == "auto" else float(zoom),
        )


class ReadThrough:
    """Embeddings from memory, else from the volume's cache, else made; in the place of an `EmbeddingCache`."""

    def __init__(self, memory: EmbeddingCache, stored: EmbeddingCache) -> None:
        self.memory, self.stored = memory, stored
        self._looked: set[tuple[int, int]] = set()

    def has(self, z: int, tile: Tile) -> bool:
        """Whether the embedding is in memory."""
        return self.memory.get(z, tile) is not None

    def embedding(self, z: int, tile: Tile, encoder: TileEncoder) -> np.void:
        """The embedding of a tile of a slice."""
        found = self.memory.get(z, tile)
        if found is not None:
            return found
        if (z, tile.index) not in self._looked:
            self._looked.add((z, tile.index))
            region = encoder.region(self.stored.range_of(z), tile)
            found = self.stored.get(z, tile, region)
            if found is not None:
                self.memory.add((z, z + 1), tile, found.reshape(1), None)
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

        from volseg.models.registry import load_model
        from volseg.propagation import Settings

        on_linux = hasattr(os, "sched_getaffinity")
        cores = threads or (len(os.sched_getaffinity(0)) if on_linux else os.cpu_count() or 1)
        if not isinstance(choice.model, str):
            raise InputError("true labels are no model: see `open_interactive`")
        self.volume, self.choice = volume, choice
        self.model = load_model(choice.model, threads=cores)
        self.rendering = remembered_rendering(volume, choice)
        self.settings = Settings(**self.model.spec.propagation)
        self._kept: dict[float, SamSlicePredictor] = {}
        self._use(1.0 if choice.zoom == "auto" else choice.zoom)
        self.shape = self.predictor.shape

    def _use(self, zoom: float) -> None:
        """Show slices at a zoom from now on; what was embedded at it stands."""
        from volseg.features import SlabReader, TileEncoder

        self.zoom, self.predictor = zoom, self._at(zoom)
        self.cache: ReadThrough = self.predictor.cache  # type: ignore[assignment]
        reader = SlabReader(self.volume, 0, self.choice.time, self.rendering.channels)
        self._encoder = TileEncoder(self.model, self.predictor.tiling, self.rendering, reader)

    def _at(self, zoom: float) -> SamSlicePredictor:
        from volseg.features.cache import cache_of
        from volseg.predict.slice_predictor import open_sam_predictor

        if zoom in self._kept:
            return self._kept[zoom]
        volume, time, rendering = self.volume, self.choice.time, self.rendering
        made = open_sam_predictor(
            volume, self.model, rendering, time=time, zoom=zoom, in_memory=True
        )
        made.cache.memory_bytes = KEPT_BYTES
        stored = cache_of(
            volume, self.model.spec, rendering, made.tiling, time=time, memory_bytes=2**24
        )
        made.cache = ReadThrough(made.cache, stored)  # type: ignore[assignment]
        self._kept[zoom] = made
        return made

    def fit(self, objects: Sequence[PromptedObject]) -> float:
        """Find the zoom that suits prompted objects, use it, and return it.

        What is embedded on the way is kept for the zoom that is chosen, so that the next prompt there is answered
        at once.
        """
        from volseg.pipelines.segmentation.zoom import prompted_zoom
        from volseg.predict.looker import SamLooker

        found = prompted_zoom(
            objects,
            self.choice.time,
            (1.0, 1.0, 1.0),
            self.shape,
            self.model.spec.object_size,
            lambda: SamLooker(self._at),
        )
        self._use(found.zoom)
        self._kept = {found.zoom: self.predictor}
        return found.zoom

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
        from volseg.images.image import open_volume
        from volseg.pipelines.segmentation.predictors import OraclePredictor
        from volseg.propagation import Settings

        if isinstance(choice.model, str):
            raise InputError(f"{choice.model!r} is a model, not true labels")
        truth = open_volume(choice.model["url"]).labels[choice.model["name"]]
        self._truth = OraclePredictor(truth, choice.time)
        self.settings = Settings()
        self.shape = self._truth.shape

    def tiles(self, box: tuple[int, int, int, int] | None) -> list[Tile]:
        """One, the whole slice."""
        from volseg.features.tiling import Tiling

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
    from volseg.features.rendering import Rendering, measure_rendering

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
