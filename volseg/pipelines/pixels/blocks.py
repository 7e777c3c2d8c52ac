"""Blocks of whole storage objects, at every time point: what the stages have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Block, Output
from volseg.geometry import Grid, Region, Triple
from volseg.pipelines.pixels.plan import PixelPlan
from volseg.pipelines.pixels.planner import PYRAMID_BYTES

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.images.writing import Written


class EveryBlock:
    """A stage of one block per time point and place of a grid, none of which waits for another."""

    name = ""
    uses_gpu = False
    reads_results = False

    def __init__(self, plan: PixelPlan, grid: Grid) -> None:
        self.plan = plan
        self.grid = grid

    def first(self, known: Set[str]) -> Iterable[Block]:
        """Every block."""
        for time, index in self.places():
            yield Block(self.name, name_of(time, index), {"time": time, "index": list(index)})

    def places(self) -> Iterator[tuple[int, Triple]]:
        """Yield every time point and index of the grid."""
        for time in self.plan.source.times:
            for z, y, x in product(*map(range, self.grid.counts)):
                yield time, (z, y, x)

    def total(self) -> int:
        """Number of blocks."""
        return len(self.plan.source.times) * prod(self.grid.counts)

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Nothing follows."""
        return ()

    def failed(self, block: Block) -> None:
        """The block stays as it was; the run ends incomplete."""

    def region(self, block: Block) -> Region:
        """Voxels of a block, of the stage's level."""
        return self.grid.region(block.payload["index"])


def name_of(time: int, index: Sequence[int]) -> str:
    """Return a block's name."""
    z, y, x = index
    return f"t{time:04d}-z{z:05d}-y{y:05d}-x{x:05d}"


def finest_grid(plan: PixelPlan) -> Grid:
    """Return the blocks of level 0."""
    return Grid(plan.levels[0].shape, plan.block)


def coarse_grid(plan: PixelPlan, level: int) -> Grid:
    """Return the blocks of a level from 1: as many storage objects as the finer level may have bytes."""
    here = plan.levels[level]
    block = [min(c, n) for c, n in zip(here.chunk, here.shape, strict=True)]
    while True:
        axes = [i for i in range(3) if block[i] < here.shape[i]]
        if not axes or 8 * prod(block) * prod(here.factors) > PYRAMID_BYTES:
            return Grid(here.shape, (block[0], block[1], block[2]))
        axis = min(axes, key=lambda i: block[i])
        block[axis] = min(2 * block[axis], here.shape[axis])


def note(context: BlockContext, folder: str, written: Iterable[Written]) -> None:
    """Note for a block's marker what was written below a folder of the volume's store."""
    context.outputs += [Output(f"{folder}/{w.key}", 0, w.etag, w.digest) for w in written]
