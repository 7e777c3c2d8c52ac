"""An operation in the making: what its moves replaced, until it closes and is coded.

A stroke of forty moves costs copies of the touched voxels only; coding happens once, at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from volseg.editing.deltas import Delta, Place, make_delta
from volseg.geometry import Region, Triple, enclosing, region_origin, shifted, slices


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
    _replaced: dict[Place, list[tuple[Region, np.ndarray]]] = field(default_factory=dict)

    @property
    def places(self) -> set[Place]:
        """The chunks that it has changed so far."""
        return set(self._replaced)

    def note(self, place: Place, region: Region, old: np.ndarray) -> None:
        """Remember what a move replaces.

        Parameters
        ----------
        place
            The chunk.
        region
            Where in the chunk, from the chunk's own origin.
        old
            A copy of the voxels there.
        """
        self._replaced.setdefault(place, []).append((region, old))

    def regions(self, place: Place) -> list[Region]:
        """Return the regions of a chunk, from its own origin, that the stroke has written to."""
        return [region for region, _ in self._replaced.get(place, [])]

    def before(self, place: Place, block: np.ndarray) -> tuple[Region, np.ndarray]:
        """Return the region that the stroke wrote to in a chunk, and its voxels as they were before."""
        moves = self._replaced[place]
        whole = enclosing(region for region, _ in moves)
        old = block[slices(whole)].copy()
        for region, values in reversed(moves):
            old[slices(region, region_origin(whole))] = values
        return whole, old

    def deltas(
        self, block: Callable[[Place], np.ndarray], origin: Callable[[Place], Triple]
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
            region, old = self.before(place, now)
            corner = region_origin(shifted(region, origin(place)))
            delta = make_delta(place.time, corner, old, now[slices(region)])
            if delta is not None:
                yield delta
