"""An operation in the making: what its moves replaced, until it closes and is coded.

A stroke of forty moves costs copies of the touched voxels only; coding happens once, at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from volseg.editing.deltas import Box, Delta, Index, Place, make_delta


@dataclass
class Stroke:
    """An open operation.

    Parameters
    ----------
    kind
        What kind of operation it will be.
    base
        Newest record known when it began.
    details
        Goes into the operation.
    """

    kind: str
    base: int
    details: dict[str, Any] = field(default_factory=dict)
    _replaced: dict[Place, list[tuple[Box, np.ndarray]]] = field(default_factory=dict)

    @property
    def places(self) -> set[Place]:
        """The chunks that it has changed so far."""
        return set(self._replaced)

    def note(self, place: Place, box: Box, old: np.ndarray) -> None:
        """Remember what a move replaces.

        Parameters
        ----------
        place
            The chunk.
        box
            Where in the chunk (slices from the chunk's own origin).
        old
            A copy of the voxels there.
        """
        self._replaced.setdefault(place, []).append((box, old))

    def boxes(self, place: Place) -> list[Box]:
        """Return the boxes of a chunk that the stroke has written to."""
        return [box for box, _ in self._replaced.get(place, [])]

    def before(self, place: Place, block: np.ndarray) -> tuple[Box, np.ndarray]:
        """Return the box that the stroke wrote to in a chunk, and its voxels as they were before."""
        moves = self._replaced[place]
        bounds = [
            (min(b[axis].start for b, _ in moves), max(b[axis].stop for b, _ in moves))
            for axis in range(3)
        ]
        box = (slice(*bounds[0]), slice(*bounds[1]), slice(*bounds[2]))
        old = block[box].copy()
        for inner, values in reversed(moves):
            z, y, x = (
                slice(s.start - o.start, s.stop - o.start) for s, o in zip(inner, box, strict=True)
            )
            old[z, y, x] = values
        return box, old

    def deltas(
        self, block: Callable[[Place], np.ndarray], origin: Callable[[Index], Index]
    ) -> Iterator[Delta]:
        """Yield the coded changes, chunk by chunk.

        Parameters
        ----------
        block
            Returns the voxels of a chunk as they are now.
        origin
            Returns the first voxel of a chunk.
        """
        for place in sorted(self._replaced):
            now = block(place)
            box, old = self.before(place, now)
            start = origin(place.zyx)
            corner = tuple(a + s.start for a, s in zip(start, box, strict=True))
            delta = make_delta(place.time, (corner[0], corner[1], corner[2]), old, now[box])
            if delta is not None:
                yield delta
