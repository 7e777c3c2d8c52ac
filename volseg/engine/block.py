"""What a job is made of: blocks, the stages that they belong to, and what a finished block leaves.

Only the values and the two protocols that the driver, the workers and the ledger agree on live here; what the stages of
a segment job compute is in the stage modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext


@dataclass(frozen=True)
class Block:
    """One unit of work: tens to hundreds of MB, seconds of computing, one Dask task.

    Parameters
    ----------
    stage
        Name of the stage.
    id
        Name within the stage; letters, digits, ``-`` and ``_`` only, as it becomes part of a key.
    payload
        What the stage needs to know beyond its plan; JSON values only.
    inputs
        Digest of the results that the block reads, where another run of an earlier block can
        change them. It is part of the marker's key, so a marker made from other inputs is void.
    """

    stage: str
    id: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    inputs: str = ""

    @property
    def key(self) -> str:
        """Name of the block's marker within its stage."""
        return f"{self.id}@{self.inputs}" if self.inputs else self.id


@dataclass(frozen=True)
class Output:
    """One stored object that a block wrote: key in the volume's output store, size in bytes, ETag, content digest.

    `etag` and `digest` are empty where the object was left out or deleted because it holds background only.
    """

    key: str
    size: int
    etag: str
    digest: str


@dataclass(frozen=True)
class Marker:
    """The record that a block is done; created conditionally after everything it names was written.

    Parameters
    ----------
    plan
        Hash of the plan.
    stage, block, inputs
        Which block, and from which inputs.
    result
        What later blocks and the driver need to know (JSON values).
    outputs
        What was written.
    sources
        Key, size and ETag of the source objects that were read.
    started, ended
        Seconds since the epoch, worker's clock.
    worker, attempt, epoch, session
        Who did it, in which attempt, under which lease, for which driver.
    """

    plan: str
    stage: str
    block: str
    inputs: str
    result: dict[str, Any]
    outputs: tuple[Output, ...]
    sources: tuple[dict[str, Any], ...]
    started: float
    ended: float
    worker: str
    attempt: int
    epoch: int
    session: str


class Stage(Protocol):
    """One stage of a job. The driver calls `first` and `ended`, workers call `compute`.

    A stage object is pickled to the workers before the run starts; what `ended` collects stays in the driver.
    """

    name: str
    uses_gpu: bool
    reads_results: bool
    """Whether `ended` needs the results of blocks that an earlier session finished."""

    def first(self, known: Set[str]) -> Iterable[Block]:
        """The blocks that wait for no other block of this stage; lazily, as there may be millions.

        `known` holds the keys of the markers that earlier sessions left, void ones included.
        """
        ...

    def total(self) -> int:
        """Number of blocks known or expected, for progress only."""
        ...

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Take note of a finished block (fresh or of an earlier session); the blocks that it makes possible."""
        ...

    def failed(self, block: Block) -> None:
        """Take note of a quarantined block."""
        ...

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Compute a block on a worker; writes go through `context`. The result is stored in the marker."""
        ...


class Job(Protocol):
    """A plan made executable: its stages over a store. Pickled to the workers as a whole."""

    hash: str

    @property
    def stages(self) -> Sequence[Stage]:
        """In the order in which they run; each starts when the one before has ended."""
        ...


@dataclass(frozen=True)
class Failure:
    """A quarantined block: what was tried and what came of it."""

    stage: str
    block: str
    attempts: int
    error: str
    kind: str
    worker: str
    trace: str = ""
