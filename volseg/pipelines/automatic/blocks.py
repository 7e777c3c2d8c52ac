"""The kinds of stages that an automatic job has: a block per place of a grid, or one block in all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import product
from math import prod
from typing import Any

from volseg.engine.block import Block
from volseg.geometry import Grid, Region
from volseg.pipelines.automatic.plan import AutoPlan


class _Independent:
    name = ""
    uses_gpu = False
    reads_results = False

    def __init__(self, plan: AutoPlan) -> None:
        self.plan = plan

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Nothing follows."""
        return ()

    def failed(self, block: Block) -> None:
        """What it would have written is missing; the run ends incomplete."""


class EveryBlock(_Independent):
    """A stage of one block per place of a grid, none of which waits for another."""

    def __init__(self, plan: AutoPlan, grid: Grid) -> None:
        super().__init__(plan)
        self.grid = grid

    def first(self, known: Set[str]) -> Iterable[Block]:
        """Every block."""
        for index in product(*map(range, self.grid.counts)):
            z, y, x = index
            yield Block(self.name, f"z{z:05d}-y{y:05d}-x{x:05d}", {"index": list(index)})

    def total(self) -> int:
        """Number of blocks."""
        return prod(self.grid.counts)

    def region(self, block: Block) -> Region:
        """Voxels of a block."""
        return self.grid.region(block.payload["index"])


class OneBlock(_Independent):
    """A stage that looks at everything at once, in the order of the slices."""

    def first(self, known: Set[str]) -> Iterable[Block]:
        """The one block."""
        yield Block(self.name, "all")

    def total(self) -> int:
        """One."""
        return 1
