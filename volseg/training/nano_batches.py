"""Batches for ``nano``: tiles with their prompts. A batch depends on the recipe's seed and its number alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator, default_rng
from scipy import ndimage
from torch import Tensor

from volseg.training import prompts
from volseg.training.augment import SIZE, Tile, sample
from volseg.training.data import Source, all_sources
from volseg.training.nano_recipes import Recipe


@dataclass(frozen=True)
class Batch:
    """Images (b, 3, 256, 256) uint8, as the model is shown them; labels and depths (b, 128, 128); for each image its
    groups of prompts; and whether foreground and background weigh the same as wholes.
    """

    images: Tensor
    labels: Tensor
    depth: Tensor
    groups: list[list[prompts.PromptGroup]]
    number: int
    balanced: bool = False


def depth_map(tile: Tile) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the distance (128, 128) of each object's pixels to its edge, on a scale that saturates
    at about 3.
    """
    labels = tile.labels[::2, ::2]
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    depth = ndimage.distance_transform_edt(~edge & (labels > 0))
    return np.log1p(depth).astype(np.float32) * 0.7


def batch_maker(sources: Sequence[Source], recipe: Recipe) -> Callable[[int], Batch]:
    """Return a function from a number to its batch: the same number, the same batch."""
    shares = np.array([source.weight for source in sources])
    shares = shares / shares.sum()

    def draw(rng: Generator) -> Tile:
        return sample(rng, sources[int(rng.choice(len(sources), p=shares))])

    return lambda number: _collect(draw, recipe, number)


def open_batches(root: Path, without: str | None, recipe: Recipe) -> Callable[[int], Batch]:
    """Open the data and return the function from a number to its batch; for a process of its own."""
    torch.set_num_threads(1)
    return batch_maker(all_sources(root, without, recipe.shares), recipe)


def _collect(draw: Callable[[Generator], Tile], recipe: Recipe, number: int) -> Batch:
    rng = default_rng([recipe.seed, number])
    tiles: list[Tile] = []
    groups: list[list[prompts.PromptGroup]] = []
    while len(tiles) < recipe.images:
        tile = draw(rng)
        found = [prompts.simulate(rng, tile, recipe.prompts) for _ in range(recipe.groups)]
        kept = [group for group in found if group is not None]
        if kept:
            tiles.append(tile)
            groups.append(kept)
    shown = np.stack([np.rint(tile.image).clip(0, 255).astype(np.uint8) for tile in tiles])
    return Batch(
        torch.from_numpy(shown),
        torch.from_numpy(np.stack([tile.labels[::2, ::2] for tile in tiles])),
        torch.from_numpy(np.stack([depth_map(tile) for tile in tiles])),
        groups,
        number,
        number < recipe.balanced,
    )


def example_batch(recipe: Recipe, images: int | None = None) -> Batch:
    """Make a batch of squares on noise, of the recipe's size or of ``images``, to measure steps with."""

    def draw(rng: Generator) -> Tile:
        labels = np.zeros((SIZE, SIZE), np.int32)
        for number, (y, x) in enumerate(np.ndindex(4, 4), start=1):
            labels[64 * y + 8 : 64 * y + 40, 64 * x + 8 : 64 * x + 40] = number
        image = rng.uniform(0, 80, (3, SIZE, SIZE)).astype(np.float32) + 100 * (labels > 0)
        return Tile(image, labels, True, "example")

    return _collect(draw, replace(recipe, images=images or recipe.images), 0)
