"""Steps of painting as the editor takes them: stamps of brushes and polygons, and fills that look before they change.

Several steps make one operation. Arrays and editors only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from volseg.editing.editor import Editor
from volseg.editing.tools import flood
from volseg.errors import InputError, MemoryBudgetError
from volseg.geometry import Region, Triple, coarsened, intersection, region_origin, slices

_MOST_VOXELS = 2**28


@dataclass(frozen=True, eq=False)
class Stamp:
    """Voxels of level 0 that get an id.

    Parameters
    ----------
    time, region
        Where.
    mask
        bool (z, y, x) over the region.
    value
        The id.
    only
        Change only voxels of this id, None: any. This is how other objects are protected.
    """

    time: int
    region: Region
    mask: np.ndarray
    value: int
    only: int | None = None

    def run(self, editor: Editor) -> None:
        """Set the id in the editor."""
        editor.time = self.time
        box = slices(self.region)
        block = editor[box]
        chosen = self.mask if self.only is None else self.mask & (block == self.only)
        block[chosen] = self.value
        editor[box] = block

    def apply(
        self, block: np.ndarray, region: Region, factors: Triple = (1, 1, 1)
    ) -> Region | None:
        """Set the id in a block of a level; coarse voxels that are covered by half count as covered.

        Parameters
        ----------
        block
            (z, y, x), changed in place.
        region
            Where it lies in its level.
        factors
            From level 0 to that level.

        Returns
        -------
        region
            The voxels of the level that were looked at, None where there are none.
        """
        above = coarsened(self.region, factors)
        common = intersection(above, region)
        if common is None:
            return None
        mask = self._coarse(factors, above)
        mask = mask[slices(common, region_origin(above))]
        part = block[slices(common, region_origin(region))]
        if self.only is not None:
            mask = mask & (part == self.only)
        part[mask] = self.value
        return common

    def _coarse(self, factors: Triple, above: Region) -> np.ndarray:
        if factors == (1, 1, 1):
            return self.mask
        pads = [
            (a - c * f, d * f - b)
            for (a, b), (c, d), f in zip(self.region, above, factors, strict=True)
        ]
        covered = np.pad(self.mask, pads)
        sizes = [n for (c, d), f in zip(above, factors, strict=True) for n in (d - c, f)]
        # a stamp is often one slice thick: along z it counts where it is
        share: np.ndarray = covered.reshape(sizes).any(axis=1).mean(axis=(2, 4)) >= 0.5
        return share


@dataclass(frozen=True)
class Fill:
    """A region of one id around a voxel that gets another.

    Parameters
    ----------
    time, point
        Where; z, y, x.
    value
        The new id.
    axes
        Along which the fill spreads: of 0, 1, 2.
    contiguous
        Only voxels connected (by faces) with the point; else all of its id.
    only
        Do it only where the point has this id.
    """

    time: int
    point: Triple
    value: int
    axes: tuple[int, ...]
    contiguous: bool = True
    only: int | None = None

    def run(self, editor: Editor) -> None:
        """Fill in the editor.

        Raises
        ------
        MemoryBudgetError
            If the region is too large.
        """
        editor.time = self.time
        old = int(editor[self.point])
        if old == self.value or self.only not in (None, old):
            return
        if self.contiguous:
            self._set(editor, *self._flooded(editor))
            return
        for region in self._regions(editor.shape, editor.labels.grid.chunk):
            self._set(editor, region, editor[slices(region)] == old)

    def _set(self, editor: Editor, region: Region, mask: np.ndarray) -> None:
        if mask.any():
            box = slices(region)
            block = editor[box]
            block[mask] = self.value
            editor[box] = block

    def _regions(self, shape: Triple, chunk: Triple) -> Iterator[Region]:
        """Yield the chunks along the axes of the fill."""
        if int(np.prod([shape[a] for a in self.axes])) > _MOST_VOXELS:
            raise MemoryBudgetError(
                f"replacing an id along {len(self.axes)} axes would look at more than {_MOST_VOXELS} voxels; "
                "merge or delete the object instead"
            )
        ranges = [
            range(0, n, c) if axis in self.axes else range(p, p + 1)
            for axis, (n, c, p) in enumerate(zip(shape, chunk, self.point, strict=True))
        ]
        for start in product(*ranges):
            z, y, x = (
                (s, min(s + chunk[a], shape[a])) if a in self.axes else (s, s + 1)
                for a, s in enumerate(start)
            )
            yield z, y, x

    def _flooded(self, editor: Editor) -> tuple[Region, np.ndarray]:
        """Return the connected region, which may spread in any plane: the axis that is fixed comes first."""
        fixed = [a for a in range(3) if a not in self.axes]
        order = [*fixed, *self.axes]
        back = [order.index(a) for a in range(3)]
        shape, point = editor.shape, self.point

        def in_volume(region: Region) -> Region:
            return region[back[0]], region[back[1]], region[back[2]]

        def read(region: Region) -> np.ndarray:
            block: np.ndarray = editor[slices(in_volume(region))]
            return block.transpose(order)

        region, mask = flood(
            read,
            (shape[order[0]], shape[order[1]], shape[order[2]]),
            (point[order[0]], point[order[1]], point[order[2]]),
            in_slice=bool(fixed),
            max_voxels=_MOST_VOXELS,
        )
        return in_volume(region), mask.transpose(back)


Step = Stamp | Fill


def run_steps(editor: Editor, steps: Sequence[Step], kind: str) -> None:
    """Run steps in their order, as one operation of an editor."""
    if not steps:
        raise InputError("there is nothing to paint")
    ids = sorted({step.value for step in steps} - {0})
    with editor.stroke(kind, ids=ids):
        for step in steps:
            step.run(editor)
