"""One prompt's masks over the tiles of a slice: what is asked of which tile, and what the answers
make together.

A mask that reaches the edge of its tile is followed into the neighbouring tiles and merged there.
Nothing decodes here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from volseg.features.tiling import Tile, Tiling
from volseg.geometry import Box
from volseg.models.model import TilePrompt
from volseg.predict.merging import (
    Logits,
    agreement,
    intersection,
    mask_box,
    merged,
    open_edges,
    reached,
    upsampled,
)
from volseg.propagation.predictor import Candidates, SlicePrompt

MARGIN = 2  # low-resolution pixels from a tile's edge where a mask counts as cut
SAME = 0.3  # IoU in the shared strip above which a neighbour's mask continues one
HOPEFUL = 0.3  # candidates scored this much below the best are not followed into other tiles
MOST_TILES = 25  # that one mask is followed into
BACKGROUND = -8.0  # logit outside a mask prompt's array


@dataclass(eq=False)
class Request:
    """One prompt to be decoded in one tile, for some of a search's candidates (None: the first
    look).
    """

    tile: Tile
    prompt: TilePrompt
    candidate: int | None = None
    source: int | None = None  # tile from which the candidate is followed


@dataclass(eq=False)
class Found:
    """A candidate: its logits per tile, and the model's score of each."""

    pieces: dict[int, Logits] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)


class Search:
    """The search for one prompt's masks over the tiles of a slice."""

    def __init__(
        self, prompt: SlicePrompt, tiling: Tiling, mask_size: int, most_tiles: int = MOST_TILES
    ) -> None:
        self.prompt, self.tiling, self.mask_size = prompt, tiling, mask_size
        self.most_tiles = most_tiles
        self.points = np.asarray(prompt.points, np.float64).reshape(-1, 2)
        self.labels = np.asarray(prompt.point_labels, np.int64).reshape(-1)
        middle = _anchor(prompt, self.points, self.labels)
        self.root = tiling.nearest(*middle, self.points[self.labels == 1])
        self.found: list[Found] = []
        self._far: dict[int, tuple[Logits, float]] = {}  # parts of the object apart from the root
        first = [Request(self.root, self._on_tile(self.root))]
        first += [Request(tile, self._on_tile(tile)) for tile in self._apart()]
        self._open = [r for r in first if r.prompt.form != (0, False, False)]

    def requests(self) -> list[Request]:
        """What is to be decoded next; empty at the end."""
        now, self._open = self._open, []
        return now

    def take(self, request: Request, logits: Logits, scores: NDArray[np.float32]) -> None:
        """Take what the model said, and ask on where a mask reaches the edge of its tile."""
        tile = request.tile
        if request.candidate is None and tile is self.root:
            self.found = [
                Found({tile.index: one}, {tile.index: float(score)}, {tile.index})
                for one, score in zip(logits, scores, strict=True)
            ]
            best = float(scores.max())
            for i, score in enumerate(scores):
                if score >= best - HOPEFUL:
                    self._follow(i, tile)
        elif request.candidate is None:  # a part of the object far from the root
            chosen = int(scores.argmax())
            self._far[tile.index] = logits[chosen], float(scores[chosen])
        elif request.source is not None:
            found = self.found[request.candidate]
            source = self.tiling.tiles[request.source]
            same = agreement(found.pieces[request.source], source, logits, tile)
            chosen = int(same.argmax())
            if same[chosen] >= SAME:
                found.pieces[tile.index] = logits[chosen]
                found.scores[tile.index] = float(scores[chosen])
                self._follow(request.candidate, tile)

    def candidates(self) -> Candidates:
        """The masks that were found, in one window."""
        for found in self.found:
            for index, (logits, score) in sorted(self._far.items()):
                found.pieces.setdefault(index, logits)
                found.scores.setdefault(index, score)
        alone = [f for f in self.found if len(f.pieces) == 1]
        if alone and len(alone) == len(self.found):
            return self._of_one_tile()
        masks = []
        for found in self.found:
            whole = merged(found.pieces, self.tiling)
            if whole is not None and (whole[0] > 0).any():
                masks.append((whole[0] > 0, whole[1], _mean_score(found)))
        if not masks:
            return _nothing()
        box = _hull([b for _, b, _ in masks])
        out = np.zeros((len(masks), box[2] - box[0], box[3] - box[1]), np.bool_)
        for row, (mask, (y0, x0, y1, x1), _) in zip(out, masks, strict=True):
            row[y0 - box[0] : y1 - box[0], x0 - box[1] : x1 - box[1]] = mask
        return Candidates(out, np.array([s for *_, s in masks], np.float32), (box[0], box[1]))

    def _of_one_tile(self) -> Candidates:
        logits = np.stack([next(iter(f.pieces.values())) for f in self.found])
        scores = np.array([next(iter(f.scores.values())) for f in self.found], np.float32)
        box = mask_box(logits, self.root)
        if box is None:
            return _nothing()
        masks = upsampled(logits, self.root, box) > 0
        kept = masks.any(axis=(1, 2))
        if not kept.any():
            return _nothing()
        return Candidates(masks[kept], scores[kept], (box[0], box[1]))

    def _follow(self, candidate: int, tile: Tile) -> None:
        """Ask for a candidate in every tile that it reaches from this one."""
        found = self.found[candidate]
        mask = found.pieces[tile.index] > 0
        cut = reached(mask, open_edges(tile, self.tiling.shape_yx), MARGIN)
        if not cut.any():
            return
        pitch = tile.size / self.mask_size
        rows, columns = np.nonzero(cut)
        at_y = tile.y0 + (rows + 0.5) * pitch - 0.5
        at_x = tile.x0 + (columns + 0.5) * pitch - 0.5
        for other in self.tiling.touching(tile.box):
            if other.index in found.asked or len(found.asked) >= self.most_tiles:
                continue
            y0, x0, y1, x1 = other.box
            inside = (at_y >= y0) & (at_y < y1) & (at_x >= x0) & (at_x < x1)
            if not inside.any():
                continue
            found.asked.add(other.index)
            prompt = self._continued(found, tile, other)
            if prompt is not None:
                self._open.append(Request(other, prompt, candidate, tile.index))

    def _continued(self, found: Found, tile: Tile, other: Tile) -> TilePrompt | None:
        """The prompt in a neighbouring tile: the person's own where it lies there, else points of
        the mask so far.
        """
        prompt = self._on_tile(other, with_mask=False)
        if prompt.box is not None or bool((prompt.labels == 1).any()):
            return prompt
        box = intersection(tile.box, other.box)
        if box is None:
            return None
        inner = _interior(upsampled(found.pieces[tile.index][None], tile, box)[0] > 0)
        if inner is None:
            return None
        point = np.array([[box[0] + inner[0], box[1] + inner[1]]], np.float64)
        return TilePrompt(
            np.concatenate([_pixels(point, other, self.tiling.scale), prompt.points]),
            np.concatenate([[1], prompt.labels]).astype(np.int64),
        )

    def _on_tile(self, tile: Tile, with_mask: bool = True) -> TilePrompt:
        """The part of the prompt that lies on a tile."""
        y0, x0, y1, x1 = tile.box
        inside = (
            (self.points[:, 0] >= y0 - 0.5) & (self.points[:, 0] < y1 - 0.5)
            & (self.points[:, 1] >= x0 - 0.5) & (self.points[:, 1] < x1 - 0.5)
        )  # fmt: skip
        mask = self._mask_on(tile) if with_mask else None
        return TilePrompt(
            _pixels(self.points[inside], tile, self.tiling.scale),
            self.labels[inside],
            self._box_on(tile),
            mask,
        )

    def _box_on(self, tile: Tile) -> tuple[float, float, float, float] | None:
        if self.prompt.box is None:
            return None
        y0, x0, y1, x1 = self.prompt.box
        top, left, bottom, right = tile.box
        y0, x0, y1, x1 = max(y0, top), max(x0, left), min(y1, bottom), min(x1, right)
        if y0 >= y1 or x0 >= x1:
            return None
        scale = self.tiling.scale
        return (
            (x0 - left) * scale, (y0 - top) * scale, (x1 - left) * scale, (y1 - top) * scale,
        )  # fmt: skip

    def _mask_on(self, tile: Tile) -> Logits | None:
        given = self.prompt.mask_logits
        if given is None:
            return None
        import torch

        y0, x0 = self.prompt.mask_origin
        part = intersection((y0, x0, y0 + given.shape[0], x0 + given.shape[1]), tile.box)
        canvas = np.full((tile.size, tile.size), BACKGROUND, np.float32)
        if part is not None:
            rows = slice(part[0] - tile.y0, part[2] - tile.y0)
            columns = slice(part[1] - tile.x0, part[3] - tile.x0)
            canvas[rows, columns] = given[part[0] - y0 : part[2] - y0, part[1] - x0 : part[3] - x0]
        size = (self.mask_size, self.mask_size)
        mode = "area" if tile.size >= self.mask_size else "bilinear"
        small = torch.nn.functional.interpolate(
            torch.from_numpy(canvas)[None, None], size, mode=mode
        )
        return np.asarray(small[0, 0].numpy())

    def _apart(self) -> list[Tile]:
        """Tiles for positive points that the root does not show: components far from the others."""
        y0, x0, y1, x1 = self.root.box
        tiles: dict[int, Tile] = {}
        for (y, x), label in zip(self.points, self.labels, strict=True):
            if label == 1 and not (y0 - 0.5 <= y < y1 - 0.5 and x0 - 0.5 <= x < x1 - 0.5):
                tile = self.tiling.nearest(float(y), float(x))
                tiles.setdefault(tile.index, tile)
        return [tiles[index] for index in sorted(tiles)]


def _anchor(
    prompt: SlicePrompt, points: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[float, float]:
    """The middle of what a prompt shows, y and x: of its positive points, its box, its mask, else
    its points.
    """
    if (labels == 1).any():
        y, x = points[labels == 1].mean(axis=0)
    elif prompt.box is not None:
        y, x = (prompt.box[0] + prompt.box[2] - 1) / 2, (prompt.box[1] + prompt.box[3] - 1) / 2
    elif prompt.mask_logits is not None and (prompt.mask_logits > 0).any():
        y, x = np.argwhere(prompt.mask_logits > 0).mean(axis=0) + np.array(prompt.mask_origin)
    elif len(points):
        y, x = points.mean(axis=0)
    else:
        y, x = 0.0, 0.0
    return float(y), float(x)


def _pixels(points: NDArray[np.float64], tile: Tile, scale: float) -> NDArray[np.float32]:
    """Points y, x of the slice as x, y in pixels of a tile's image."""
    shifted = (points + 0.5 - np.array([tile.y0, tile.x0])) * scale
    return np.asarray(shifted[:, ::-1], np.float32)


def _interior(mask: NDArray[np.bool_]) -> tuple[int, int] | None:
    """The voxel farthest inside a mask, None for an empty one."""
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return None
    inside = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(inside)), mask.shape)
    return int(y), int(x)


def _mean_score(found: Found) -> float:
    """The pieces' scores, each weighing as much as its area."""
    areas = {i: float((logits > 0).sum()) for i, logits in found.pieces.items()}
    total = sum(areas.values())
    if total == 0:
        return 0.0
    return sum(found.scores[i] * area for i, area in areas.items()) / total


def _hull(boxes: list[Box]) -> Box:
    return (
        min(b[0] for b in boxes), min(b[1] for b in boxes),
        max(b[2] for b in boxes), max(b[3] for b in boxes),
    )  # fmt: skip


def _nothing() -> Candidates:
    return Candidates(np.zeros((0, 1, 1), np.bool_), np.zeros(0, np.float32))
