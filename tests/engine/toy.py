"""Small jobs for the tests of the engine: chains of blocks that write their sums, and misbehave on request."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volseg.engine.block import Block, Stage
from volseg.engine.worker import BlockContext


@dataclass
class ChainStage:
    """`chains` chains of `length` blocks; block k of a chain adds k to the sum that block k - 1 handed on.

    `trouble` maps a block id to what it does: ``raise``, ``memory``, ``kill`` (its worker), each always,
    or ``kill once`` / ``raise once`` with a file in `scratch` as memory.
    """

    chains: int
    length: int
    name: str = "chain"
    uses_gpu: bool = False
    reads_results: bool = True
    trouble: Mapping[str, str] = field(default_factory=dict)
    scratch: str = ""
    seconds: float = 0.0
    sums: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def first(self, known: Set[str]) -> Iterable[Block]:
        return (self._block(chain, 0) for chain in range(self.chains))

    def total(self) -> int:
        return self.chains * self.length

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        chain, k = block.payload["chain"], block.payload["k"]
        if k + 1 == self.length:
            self.sums[str(chain)] = result["sum"]
            return []
        return [self._block(chain, k + 1)]

    def failed(self, block: Block) -> None:
        self.broken.append(block.id)

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        self._misbehave(block)
        chain, k = block.payload["chain"], block.payload["k"]
        before = json.loads(context.get(f"{chain}/{k - 1}")) if k else 0
        time.sleep(self.seconds)
        context.put(f"{chain}/{k}", json.dumps(before + k + 1).encode())
        return {"sum": before + k + 1}

    def _block(self, chain: int, k: int) -> Block:
        return Block(self.name, f"c{chain:04}-{k:04}", {"chain": chain, "k": k})

    def _misbehave(self, block: Block) -> None:
        what = self.trouble.get(block.id, "")
        if what.endswith("once"):
            memory = Path(self.scratch) / block.id
            if memory.exists():
                return
            memory.touch()
        if what.startswith("raise"):
            raise ZeroDivisionError(f"poisoned {block.id}")
        if what.startswith("memory"):
            raise MemoryError("no more")
        if what.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class ToyJob:
    """A job of the given stages."""

    stages: Sequence[Stage]
    hash: str = "0" * 16
