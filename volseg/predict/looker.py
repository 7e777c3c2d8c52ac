"""A SAM as what looks at prompted places at any zoom, before there is a plan; see `fitting_zoom`.

Each prompt is decoded on the one tile that is nearest to it, of the same grid as later. Embeddings stay in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from volseg.features.tiling import Tile
from volseg.predict.fitting_zoom import Look, Place
from volseg.predict.search import MARGIN, Search
from volseg.predict.slice_predictor import SamSlicePredictor, open_sam_predictor

if TYPE_CHECKING:
    from volseg.features.rendering import Rendering
    from volseg.images.image import Volume
    from volseg.models.model import Model

MOST_PIXELS = 2**21
"""Pixels that are embedded at one zoom: 32 tiles of 256, 2 of 1024, which take a CPU a quarter of a minute each."""


class SamLooker:
    """Looks at places with a SAM; a `Looker`.

    Parameters
    ----------
    open_at : callable
        Zoom -> predictor. Called once for each zoom; `predictors` keeps them with their embeddings.
    """

    def __init__(self, open_at: Callable[[float], SamSlicePredictor]) -> None:
        self._open_at = open_at
        self.predictors: dict[float, SamSlicePredictor] = {}
        self.shape = self.at(1.0).shape

    def at(self, zoom: float) -> SamSlicePredictor:
        """The predictor at a zoom."""
        if zoom not in self.predictors:
            self.predictors[zoom] = self._open_at(zoom)
        return self.predictors[zoom]

    def scale(self, zoom: float) -> float:
        """Model pixels per voxel that a zoom comes to."""
        return self.at(zoom).tiling.scale

    def look(self, zoom: float, places: Sequence[Place]) -> list[Look | None]:
        """Offer masks for each place, in its order, as far as the tiles may be embedded."""
        predictor = self.at(zoom)
        model, tiling = predictor.model, predictor.tiling
        most = max(1, MOST_PIXELS // model.spec.img_size**2)
        by_tile: dict[tuple[int, int], list[int]] = defaultdict(list)
        tiles: list[Tile] = []
        for i, place in enumerate(places):
            tiles.append(Search(place.prompt, tiling, model.mask_size).root)
            key = (place.z, tiles[i].index)
            if key in by_tile or len(by_tile) < most:
                by_tile[key].append(i)
        found: list[Look | None] = [None] * len(places)
        for (z, _), members in sorted(by_tile.items()):
            answers = predictor.predict(z, [places[i].prompt for i in members], most_tiles=1)
            for i, answer in zip(members, answers, strict=True):
                margin = MARGIN * tiles[i].size / model.mask_size
                found[i] = Look(answer, tiles[i].box, margin)
        return found


def volume_looker(
    volume: Volume, model: Model, rendering: Rendering, level: int, time: int
) -> SamLooker:
    """A looker over a level of a volume that keeps nothing on its store."""

    def open_at(zoom: float) -> SamSlicePredictor:
        return open_sam_predictor(
            volume, model, rendering, level=level, time=time, zoom=zoom, in_memory=True
        )

    return SamLooker(open_at)
