"""The plan of a segment job: a value that holds everything that changes geometry or output, and its hash.

Where things lie, memory and estimates are in the plan too, but not in its hash. The `planner` beside makes plans.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from volseg.geometry import Triple
from volseg.pipelines.hashed_plan import HashedPlan, check_memory
from volseg.pipelines.segmentation.estimates import Estimates
from volseg.pipelines.segmentation.geometry import Geometry
from volseg.prompts import PromptedObject
from volseg.propagation.settings import Settings


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Frozen):
    """What is segmented: digest of the array's metadata, level, time point, channels, shape and voxel size in µm."""

    identity: str
    level: int
    time: int
    channels: tuple[int, ...]
    shape: Triple
    factors: tuple[float, float, float]
    voxel_um: tuple[float, float, float]
    dtype: str


class PlannedModel(_Frozen):
    """A SAM: which weights, how slices are shown to it, and in which batches."""

    kind: Literal["sam"] = "sam"
    name: str
    variant: str
    sha256: str
    img_size: int
    embedding: Triple
    zoom: float
    overlap: int | None
    encode_batch: int
    decode_batch: int
    rendering: dict[str, Any]


class PlannedOracle(_Frozen):
    """Instead of a model, the true label image `name` of the volume at `url`: what a perfect 2D model would do."""

    kind: Literal["oracle"] = "oracle"
    url: str
    name: str


Predictor = Annotated[PlannedModel | PlannedOracle, Field(discriminator="kind")]
"""What answers prompts."""


class LabelImage(_Frozen):
    """The label image that is made."""

    name: str
    dtype: str
    category: str | None


class IntoExisting(_Frozen):
    """The label image is there already and is added to; what people edited stays, unless `overwrite_edits`."""

    overwrite_edits: bool = False


class Plan(HashedPlan):
    """A segment job, decided."""

    not_hashed: ClassVar[frozenset[str]] = frozenset(
        {"estimates", "labels_at", "overwrite", "overwrite_edits", "url"}
    )

    format: Literal["volseg-plan"] = "volseg-plan"
    version: Literal[1] = 1
    """Grows whenever the code would compute other blocks or other bytes from the same plan."""
    source: Source
    predictor: Predictor
    settings: Settings
    geometry: Geometry
    labels: LabelImage
    objects: tuple[PromptedObject, ...]
    existing: IntoExisting | None = None
    merge_claims: bool = False
    """Of objects whose tracks lie on each other one stays: for prompts that a machine made."""
    # not in the hash:
    url: str
    labels_at: str | None
    overwrite: bool = False
    overwrite_edits: bool = False
    """With `overwrite`: also labels that people edited."""
    estimates: Estimates

    @property
    def model_name(self) -> str:
        """Name of the model for people."""
        return self.predictor.name if self.predictor.kind == "sam" else "oracle"

    @property
    def memory_per_worker(self) -> int:
        """Bytes that a worker needs with its largest block."""
        return self.estimates.worker_bytes

    @property
    def seconds_at_most(self) -> float:
        """Seconds that it takes on one worker of this kind, at most."""
        return self.estimates.seconds_at_most

    def check_budget(self, worker_bytes: int) -> None:
        """Refuse a plan whose largest block does not fit into a worker.

        Raises
        ------
        MemoryBudgetError
            With the numbers and what to change.
        """
        check_memory(
            self.estimates.process_bytes,
            self.estimates.task_bytes,
            worker_bytes,
            "a smaller model, or a coarser --level",
        )

    def describe(self) -> str:
        """The plan for people, as `--plan-only` prints it."""
        from volseg.pipelines.segmentation.wording import describe_plan

        return describe_plan(self)

    def differences(self, other: Plan) -> list[str]:
        """Names of the parts in which two plans differ."""
        mine, theirs = self.hashed(), other.hashed()
        return [key for key in mine | theirs if mine.get(key) != theirs.get(key)]

    def hashed(self) -> dict[str, Any]:
        """Return what the hash is over; a part that came later is left out where it changes nothing."""
        absent = {"existing"} if self.existing is None else set()
        absent |= set() if self.merge_claims else {"merge_claims"}
        return {key: part for key, part in super().hashed().items() if key not in absent}
