"""Batches of the dense model's training: tiles and pairs of neighbouring slices with their exact maps.

The frozen encoder costs as much as the network's own step, so each draw is visited several times, far enough apart,
and its embeddings are kept in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray
from torch import Tensor

from volseg.models.dense_truth_maps import truth_maps
from volseg.training.augment import Tile, sample
from volseg.training.data import Source, all_sources
from volseg.training.dense_pairs import PairSource, all_pair_sources, sample_pair

OFTEN = {"nuclei_dsb2018": 2.0, "nuclei_ovule_1135": 1.5, "synthetic_nuclei": 1.5}
"""What is drawn more often than ``nano`` draws it: many small objects that fill tiles are what maps are for, and of
most other sets only single objects are labelled, which say little about background."""
BEFORE_THE_FIRST = 2**31
"""The first steps visit draws that no step drew; their numbers begin here."""


@dataclass(frozen=True)
class Recipe:
    """What a batch holds and where its randomness starts.

    Attributes
    ----------
    tiles : int
        Tiles that each step draws anew, at least 2.
    pair_every : int
        Two of the tiles of each so manieth step are neighbouring slices; 0 for never.
    visits : int
        Steps in which a draw is used, the drawing one included.
    apart : int
        Steps between two visits.
    seed : int
        With the step's number it decides the batch.
    """

    tiles: int = 3
    pair_every: int = 2
    visits: int = 3
    apart: int = 9
    seed: int = 20271


@dataclass(frozen=True)
class Draw:
    """Tiles: the pairs' first ones first, then their second ones, then the others.

    Attributes
    ----------
    pixels : Tensor
        (b, 3, 256, 256) uint8.
    truth, weights : Tensor
        (b, m, 128, 128) float32.
    pairs : int
        How many pairs.
    number : int
        The step that draws it.
    """

    pixels: Tensor
    truth: Tensor
    weights: Tensor
    pairs: int
    number: int = 0


Batch = tuple[Draw, ...]


def batch_maker(
    sources: Sequence[Source], pair_sources: Sequence[PairSource], recipe: Recipe
) -> Callable[[int], Batch]:
    """Return a function from a step's number to its batch: the same number, the same batch.

    Steps that follow each other are cheap, for most of their draws are at hand.
    """
    shares = _shares({s.name: s.weight * OFTEN.get(s.name, 1.0) for s in sources})
    pair_shares = _shares({s.name: s.weight for s in pair_sources})
    kept: dict[int, Draw] = {}

    def draw(number: int) -> Draw:
        rng = default_rng([recipe.seed, number])
        count = 1 if recipe.pair_every and number % recipe.pair_every == 0 else 0
        pairs = [
            sample_pair(rng, pair_sources[int(rng.choice(len(pair_sources), p=pair_shares))])
            for _ in range(count)
        ]
        singles = [
            sample(rng, sources[int(rng.choice(len(sources), p=shares))])
            for _ in range(recipe.tiles - 2 * count)
        ]
        return collate(pairs, singles, number)

    def make(number: int) -> Batch:
        wanted = visited(number, recipe)
        oldest = number - recipe.visits * recipe.apart
        for old in [n for n in kept if oldest > n or n > number]:
            del kept[old]
        for one in wanted:
            if one not in kept:
                kept[one] = draw(one)
        return tuple(kept[one] for one in wanted)

    return make


def open_batches(root: Path, recipe: Recipe) -> Callable[[int], Batch]:
    """Open the data and return the function from a number to its batch; for a process of its own."""
    torch.set_num_threads(1)
    return batch_maker(all_sources(root), all_pair_sources(root), recipe)


def visited(number: int, recipe: Recipe) -> list[int]:
    """List the numbers of the draws that a step uses, its own first."""
    numbers = [number - recipe.apart * visit for visit in range(recipe.visits)]
    return [n if n >= 0 else BEFORE_THE_FIRST + n for n in numbers]


def _shares(weights: dict[str, float]) -> NDArray[np.float64]:
    every = np.array(list(weights.values()))
    return every / every.sum()


def collate(pairs: Sequence[tuple[Tile, Tile]], singles: Sequence[Tile], number: int = 0) -> Draw:
    """Put tiles and their exact maps together."""
    tiles = [here for here, _ in pairs] + [there for _, there in pairs] + list(singles)
    following: list[Tile | None] = [there for _, there in pairs]
    following += [None] * (len(tiles) - len(pairs))
    exact = [
        truth_maps(
            tile.labels,
            known(tile),
            None if after is None else after.labels,
            None if after is None else known(after),
        )
        for tile, after in zip(tiles, following, strict=True)
    ]
    shown = np.stack([np.rint(tile.image).clip(0, 255).astype(np.uint8) for tile in tiles])
    return Draw(
        torch.from_numpy(shown),
        torch.from_numpy(np.stack([e.maps for e in exact])),
        torch.from_numpy(np.stack([e.weights for e in exact])),
        len(pairs),
        number,
    )


def known(tile: Tile) -> NDArray[np.bool_]:
    """Mark what somebody labelled (y, x): everything, or the objects alone where background is not told."""
    return np.asarray((tile.labels > 0) | tile.background)


def joined(parts: Sequence[Tensor], batch: Batch) -> Tensor:
    """Concatenate one tensor (b, ...) of each draw, again with all pairs' first tiles first and second ones next."""
    ends = [draw.pairs for draw in batch]
    first = [part[:k] for part, k in zip(parts, ends, strict=True)]
    second = [part[k : 2 * k] for part, k in zip(parts, ends, strict=True)]
    others = [part[2 * k :] for part, k in zip(parts, ends, strict=True)]
    return torch.cat([*first, *second, *others])
