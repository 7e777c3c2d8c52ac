"""The plan of a measuring job: a value that holds everything that changes a feature, and its hash."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from volseg.errors import MemoryBudgetError
from volseg.geometry import Grid, Region, Triple
from volseg.measurement.block_sums import margin_of
from volseg.measurement.brightness import BrightnessScale
from volseg.measurement.definition import FeatureDefinition
from volseg.pipelines.hashed_plan import HashedPlan

PROCESS_BYTES = 400 << 20
MODEL_BYTES = 1400 << 20
"""A process with torch, a model and its cache of embeddings in memory."""
VOXEL_BYTES = 96
CHANNEL_VOXEL_BYTES = 16
"""Bytes at once for each voxel of a block with its margin; and more for each channel that is kept beside it."""
VOXELS_PER_SECOND = 2e6
OBJECT_BYTES = 16 * 1024
"""For each object that is brought together at once, and each channel."""
EMBEDDINGS_PER_SECOND = 5.0
GROUP_OBJECTS = 16384
"""Objects that are brought together at once, about."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasuredSource(_Frozen):
    """Labels and image as they were when the plan was made: digests of their metadata and of their stored objects."""

    labels: str
    image: str | None
    image_level: int | None
    state: str
    shape: Triple
    times: int
    voxel_um: tuple[float, float, float]


class ChannelScale(_Frozen):
    """A `BrightnessScale` as the plan keeps it, for one time and channel."""

    time: int
    channel: int
    dtype: str
    span: tuple[float, float]
    window: tuple[float, float]

    @property
    def scale(self) -> BrightnessScale:
        """What adds brightness up."""
        return BrightnessScale(self.dtype, self.span, self.window)


class LabelName(_Frozen):
    """The label image that is measured."""

    name: str


class MeasurePlan(HashedPlan):
    """A measuring job, decided."""

    not_hashed: ClassVar[frozenset[str]] = frozenset({"labels_at", "url"})

    format: Literal["volseg-objects-plan"] = "volseg-objects-plan"
    version: Literal[1] = 1
    source: MeasuredSource
    definition: FeatureDefinition
    scales: tuple[ChannelScale, ...]
    rendering: dict[str, Any] | None
    """How slices are shown to the model of the embedding, by `Rendering`."""
    block: Triple
    # not in the hash:
    labels: LabelName
    url: str
    labels_at: str | None

    @property
    def grid(self) -> Grid:
        """The blocks."""
        return Grid(self.source.shape, self.block)

    @property
    def voxels(self) -> int:
        """Voxels of all times."""
        z, y, x = self.source.shape
        return z * y * x * self.source.times

    def scales_of(self, time: int) -> list[BrightnessScale]:
        """Return how the channels of a time are added up, in the order of the definition."""
        return [one.scale for one in self.scales if one.time == time]

    def wide_region(self, region: Region) -> Region:
        """Return a region with its margin, cut at the volume's border."""
        z, y, x = (
            (max(0, low - m), min(n, high + m))
            for (low, high), m, n in zip(
                region, margin_of(self.definition), self.source.shape, strict=True
            )
        )
        return (z, y, x)

    @property
    def task_bytes(self) -> int:
        """Bytes that the largest block takes."""
        wide = 1
        for size, m in zip(self.block, margin_of(self.definition), strict=True):
            wide *= size + 2 * m
        channels = len(self.definition.channels)
        numbers = 0 if self.definition.embedding is None else self.definition.embedding.numbers
        measured = wide * (VOXEL_BYTES + CHANNEL_VOXEL_BYTES * channels)
        per_object = OBJECT_BYTES * max(1, channels) // 4 + 64 * numbers
        return max(measured, GROUP_OBJECTS * per_object)

    @property
    def memory_per_worker(self) -> int:
        """Bytes that a worker needs with its largest block."""
        model = 0 if self.definition.embedding is None else MODEL_BYTES
        return PROCESS_BYTES + model + self.task_bytes

    @property
    def seconds_at_most(self) -> float:
        """Seconds that it takes on one worker, at most."""
        seconds = self.voxels * (1 + len(self.definition.channels)) / VOXELS_PER_SECOND
        if self.definition.embedding is not None:
            z, y, x = self.source.shape
            tiles = z * -(-y // 192) * -(-x // 192) * self.source.times
            seconds += tiles / EMBEDDINGS_PER_SECOND
        return seconds

    def check_budget(self, worker_bytes: int) -> None:
        """Refuse workers in which a block does not fit.

        Raises
        ------
        MemoryBudgetError
            With the numbers and what to change.
        """
        if self.memory_per_worker > worker_bytes:
            raise MemoryBudgetError(
                f"measuring a block of {self.labels.name} needs {self.memory_per_worker / 1e9:.2f} GB, but a worker "
                f"may use {worker_bytes / 1e9:.2f} GB; use fewer workers or larger ones, or fewer --channels"
            )

    def describe(self) -> str:
        """The plan for people, as `--plan-only` prints it."""
        z, y, x = self.source.shape
        blocks = self.grid.counts
        count = blocks[0] * blocks[1] * blocks[2] * self.source.times
        return "\n".join(
            [
                f"measure the objects of {self.labels.name} in {self.labels_at or self.url} (plan {self.hash[:12]})",
                f"  {z} × {y} × {x} voxels, {self.source.times} time point(s), {count} blocks of up to {self.block}",
                f"  {len(self.definition.names)} features, definition {self.definition.hash}",
                f"  a worker needs {self.memory_per_worker / 1e9:.2f} GB; at most {self.seconds_at_most:.0f} s on one",
            ]
        )
