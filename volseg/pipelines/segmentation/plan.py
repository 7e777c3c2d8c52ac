"""The plan of a segment job: a value that holds everything that changes geometry or output, and its hash.

Where things lie, memory and estimates are in the plan too, but not in its hash. The `planner` beside makes plans.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from volseg.errors import MemoryBudgetError, PlanMismatchError
from volseg.geometry import Triple
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


class Plan(_Frozen):
    """A segment job, decided."""

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
    def hash(self) -> str:
        """Names the plan: 32 hex digits of SHA-256 over everything that changes geometry or output."""
        value = self._hashed()
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

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

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values, with its hash."""
        return {**self.model_dump(mode="json"), "hash": self.hash}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Plan:
        """The plan of `to_json`.

        Raises
        ------
        PlanMismatchError
            It was written by another version of volseg, or changed since.
        """
        body = {key: part for key, part in value.items() if key != "hash"}
        try:
            plan = Plan.model_validate(body)
        except ValidationError as error:
            raise PlanMismatchError(
                f"the plan {value.get('hash')} is not one of this version of volseg "
                f"({error.error_count()} fields differ, first {error.errors()[0]['loc']}); "
                "start anew with --restart"
            ) from error
        if plan.hash != value.get("hash"):
            raise PlanMismatchError(
                f"the plan says that its hash is {value.get('hash')}, but it is {plan.hash}; "
                "start anew with --restart"
            )
        return plan

    def check_budget(self, worker_bytes: int) -> None:
        """Refuse a plan whose largest block does not fit into a worker.

        Raises
        ------
        MemoryBudgetError
            With the numbers and what to change.
        """
        stage, task = max(self.estimates.task_bytes.items(), key=lambda item: item[1])
        need = self.estimates.process_bytes + task
        if need > worker_bytes:
            raise MemoryBudgetError(
                f"a block of stage {stage!r} needs {need / 1e9:.2f} GB, but a worker may use "
                f"{worker_bytes / 1e9:.2f} GB; use fewer workers or larger ones, a smaller model, or "
                "a coarser --level"
            )

    def describe(self) -> str:
        """The plan for people, as `--plan-only` prints it."""
        from volseg.pipelines.segmentation.wording import describe_plan

        return describe_plan(self)

    def differences(self, other: Plan) -> list[str]:
        """Names of the parts in which two plans differ."""
        mine, theirs = self._hashed(), other._hashed()
        return [key for key in mine | theirs if mine.get(key) != theirs.get(key)]

    def _hashed(self) -> dict[str, Any]:
        """What the hash is over; a part that came later is left out where it changes nothing."""
        absent = {"existing"} if self.existing is None else set()
        absent |= set() if self.merge_claims else {"merge_claims"}
        return self.model_dump(mode="json", exclude=_NOT_HASHED | absent)


_NOT_HASHED = {"url", "labels_at", "overwrite", "overwrite_edits", "estimates"}
