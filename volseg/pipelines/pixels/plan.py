"""The plan of a job that classifies voxels: a value with all that changes geometry or output, and its hash."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from volseg.geometry import Triple
from volseg.pipelines.hashed_plan import HashedPlan, check_memory
from volseg.pipelines.segmentation.geometry import LabelLevel


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PixelSource(_Frozen):
    """What is classified: digest of the array's metadata, level, times, channels and their dark and bright values."""

    identity: str
    level: int
    times: tuple[int, ...]
    channels: tuple[int, ...]
    limits: tuple[tuple[tuple[float, float], ...], ...]
    """Of each channel (low, high), by time."""
    shape: Triple
    dtype: str


class PlannedClassifier(_Frozen):
    """The classifier: digest of its folder, classes, number of features."""

    sha256: str
    classes: dict[int, str | None]
    features: int
    halo: tuple[int, int]
    embedding: str | None


class PixelOutputs(_Frozen):
    """Names of what is written."""

    labels: str
    instances: str | None
    maps: str | None


class PixelPlan(HashedPlan):
    """A job that classifies voxels, decided."""

    not_hashed: ClassVar[frozenset[str]] = frozenset(
        {
            "labels_at",
            "model",
            "overwrite",
            "overwrite_edits",
            "process_bytes",
            "seconds_at_most",
            "task_bytes",
            "url",
        }
    )

    format: str = "volseg-pixels-plan"
    version: int = 1
    """Grows whenever the code would compute other blocks or other bytes from the same plan."""
    source: PixelSource
    classifier: PlannedClassifier
    outputs: PixelOutputs
    levels: tuple[LabelLevel, ...]
    block: Triple
    rows: int
    """Rows of a slice whose features are in memory at once."""
    # not in the hash:
    url: str
    labels_at: str | None
    model: str
    overwrite: bool = False
    overwrite_edits: bool = False
    process_bytes: int
    task_bytes: dict[str, int]
    seconds_at_most: float

    @property
    def memory_per_worker(self) -> int:
        """Bytes that a worker needs with its largest block."""
        return self.process_bytes + max(self.task_bytes.values())

    @property
    def background(self) -> int:
        """Number of the class that is no object: the one that is called so, else the lowest."""
        named = [n for n, name in self.classifier.classes.items() if _is_background(name)]
        return min(named or self.classifier.classes)

    def check_budget(self, worker_bytes: int) -> None:
        """Refuse a plan whose largest block does not fit into a worker.

        Raises
        ------
        MemoryBudgetError
            With the numbers and what to change.
        """
        check_memory(self.process_bytes, self.task_bytes, worker_bytes, "or fewer channels")

    def describe(self) -> str:
        """The plan for people, as `--plan-only` prints it."""
        z, y, x = self.source.shape
        blocks = prod(-(-n // b) for n, b in zip(self.source.shape, self.block, strict=True))
        seconds = self.seconds_at_most
        lines = [
            f"run               {self.hash[:12]}",
            f"image             {self.url}, level {self.source.level}: {z} × {y} × {x} voxels, "
            f"{len(self.source.times)} time points, {len(self.source.channels)} channels",
            f"classes           {', '.join(_called(n, c) for n, c in self.classifier.classes.items())}",
            f"features          {self.classifier.features}, embedding {self.classifier.embedding or 'none'}",
            f"writes            {', '.join(self.written)}",
            f"blocks            {blocks * len(self.source.times)} of {' × '.join(map(str, self.block))} voxels",
            f"memory per worker {self.memory_per_worker / 2**30:.2f} GiB",
            f"time              about {seconds / 60:,.0f} min on one CPU worker"
            if seconds >= 60
            else "time              seconds",
        ]
        return "\n".join(lines)

    @property
    def written(self) -> list[str]:
        """What is written, for people."""
        outputs = self.outputs
        found = [f"label image {outputs.labels}"]
        found += [f"objects {outputs.instances}"] if outputs.instances else []
        found += [f"maps {outputs.maps}"] if outputs.maps else []
        return found


def _called(number: int, name: str | None) -> str:
    return f"{number} {name}" if name else str(number)


def _is_background(name: str | None) -> bool:
    return name is not None and name.strip().lower() == "background"
