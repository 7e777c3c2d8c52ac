"""What an object may know of the others: their prompts and seeds, and its own stop marks.

Never their tracks: the result must not depend on who is computed when, or in which group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from volseg.geometry import Box
from volseg.propagation.geometry import interior_points
from volseg.propagation.predictor import SlicePrompt
from volseg.propagation.window import MaskWindow

_T = TypeVar("_T")


class Context:
    """Prompts, seeds and stop marks of all objects of a job.

    Every group of objects must be advanced with the same context, that of the whole job, for the
    tracks not to depend on the grouping.

    Parameters
    ----------
    prompts : {object id: {z: SlicePrompt}}
        What people marked, of every object. An object's own prompts on slices that it reaches
        steer its decoding there; the others' positive points are its negatives.
    seeds : {object id: {z: MaskWindow}}
        The masks on the prompted slices, of every object.
    ends : {object id: {z}}
        Slices before which an object stops, whichever way it comes.
    """

    def __init__(
        self,
        prompts: Mapping[int, Mapping[int, SlicePrompt]] | None = None,
        seeds: Mapping[int, Mapping[int, MaskWindow]] | None = None,
        ends: Mapping[int, set[int] | frozenset[int]] | None = None,
    ) -> None:
        self.prompts = {i: dict(of) for i, of in sorted((prompts or {}).items())}
        self.seeds = {i: dict(of) for i, of in sorted((seeds or {}).items())}
        self.ends = {i: frozenset(of) for i, of in sorted((ends or {}).items())}
        self._points = _by_slice(self._marked_points())
        self._masks = _by_slice(
            (z, (i, mask)) for i, of in self.seeds.items() for z, mask in sorted(of.items())
        )

    def _marked_points(self) -> list[tuple[int, tuple[int, float, float]]]:
        marked: list[tuple[int, tuple[int, float, float]]] = []
        for i in sorted({*self.prompts, *self.seeds}):
            prompts, seeds = self.prompts.get(i, {}), self.seeds.get(i, {})
            for z in sorted({*prompts, *seeds}):
                points = _inside_points(prompts.get(z))
                if not len(points) and z in seeds and seeds[z].area:
                    points = interior_points(seeds[z], 1, 4)
                marked.extend((z, (i, float(y), float(x))) for y, x in points)
        return marked

    def stops(self, object_id: int, z: int) -> bool:
        """Whether a person said that the object stops before slice `z`."""
        return z in self.ends.get(object_id, ())

    def own(self, object_id: int, z: int) -> SlicePrompt | None:
        """What a person marked of this object on slice `z`."""
        return self.prompts.get(object_id, {}).get(z)

    def others_points(
        self, object_id: int, z: int, box: Box, reach: int
    ) -> list[tuple[int, float, float]]:
        """Distance in slices, y, x of the others' positive marks within `reach` slices and `box`.

        In an order that depends on nothing but the context: nearest slice first, then by id.
        """
        found = []
        for distance in range(reach + 1):
            for at in sorted({z - distance, z + distance}):
                for i, y, x in self._points.get(at, ()):
                    inside = box[0] <= y < box[2] and box[1] <= x < box[3]
                    if i != object_id and inside:
                        found.append((distance, y, x))
        return found

    def others_masks(self, object_id: int, z: int) -> list[MaskWindow]:
        """The seeds of the other objects on slice `z`, by id."""
        return [mask for i, mask in self._masks.get(z, ()) if i != object_id]


def _by_slice(pairs: Iterable[tuple[int, _T]]) -> dict[int, list[_T]]:
    out: dict[int, list[_T]] = {}
    for z, item in pairs:
        out.setdefault(z, []).append(item)
    return out


def _inside_points(prompt: SlicePrompt | None) -> NDArray[np.float64]:
    """The positive points of a prompt, or its box's centre; (n, 2)."""
    if prompt is None:
        return np.zeros((0, 2))
    points = np.asarray(prompt.points, dtype=np.float64).reshape(-1, 2)
    points = points[np.asarray(prompt.point_labels).reshape(-1) == 1]
    if not len(points) and prompt.box is not None:
        y0, x0, y1, x1 = prompt.box
        points = np.array([[(y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2]])
    return points
