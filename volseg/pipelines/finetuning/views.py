"""What a decoder learns from: objects as tiles show them, each with the embedding of its tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volseg.training.prompts import Mask

ObjectKey = tuple[int, int, int]
"""Place in the list of label images, time and id."""

SMALLEST = 30
"""Pixels of a tile: what shows less of an object teaches nothing about its shape."""


@dataclass(frozen=True, eq=False)
class View:
    """An object on one tile.

    Attributes
    ----------
    object
        Which it is.
    embedding
        Of the tile: a record of `ModelSpec.embedding_dtype`, shared by the views of one tile.
    bits
        The object's mask (S, S) in pixels of the tile, packed in row order.
    size
        S, the side of the model's input.
    """

    object: ObjectKey
    embedding: np.void
    bits: NDArray[np.uint8]
    size: int

    @classmethod
    def of(cls, object_: ObjectKey, embedding: np.void, mask: Mask) -> View:
        """Make one of a mask (S, S)."""
        return cls(object_, embedding, np.packbits(mask), len(mask))

    @property
    def mask(self) -> Mask:
        """The object's mask (S, S)."""
        bits = np.unpackbits(self.bits, count=self.size**2)
        return bits.reshape(self.size, self.size).astype(bool)


def target_of(mask: Mask, side: int) -> NDArray[np.float32]:
    """Return the part of each mask pixel that the object covers: (side, side) of a mask (S, S)."""
    step = len(mask) // side
    return mask.reshape(side, step, side, step).mean((1, 3), dtype=np.float32)


def by_tile(views: list[View]) -> list[list[View]]:
    """Put views of one tile together, in the order of their first ones."""
    found: dict[int, list[View]] = {}
    for view in views:
        found.setdefault(id(view.embedding), []).append(view)
    return list(found.values())
