"""The plan of an automatic job: a value with all that changes geometry or output, and its hash."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from volseg.geometry import Triple
from volseg.pipelines.hashed_plan import HashedPlan, check_memory
from volseg.pipelines.segmentation.geometry import LabelLevel
from volseg.pipelines.segmentation.plan import Predictor, Source

Method = Literal["seeds", "regions"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedMaps(_Frozen):
    """The dense model, by the digest of its weights, and the zoom at which it looks."""

    sha256: str
    img_size: int
    zoom: float


class Choice(_Frozen):
    """What decided, for people: share of foreground in the slices looked at, median diameter there in µm."""

    foreground: float | None = None
    diameter_um: float | None = None


class AutoPlan(HashedPlan):
    """An automatic job, decided."""

    not_hashed: ClassVar[frozenset[str]] = frozenset(
        {
            "choice",
            "labels_at",
            "overwrite",
            "overwrite_edits",
            "process_bytes",
            "seconds_at_most",
            "task_bytes",
            "url",
        }
    )

    format: Literal["volseg-auto-plan"] = "volseg-auto-plan"
    version: Literal[1] = 1
    """Grows whenever the code would compute other blocks or other bytes from the same plan."""
    source: Source
    predictor: Predictor
    maps: PlannedMaps
    method: Method
    threshold: float
    """Of regions: mean affinity below which fragments stay apart."""
    smallest: float
    """Least diameter in voxels of a slice; 0: none."""
    confidence: float
    labels: str
    existing: bool
    """Adds to the label image that is there: what lies on its objects is not proposed."""
    levels: tuple[LabelLevel, ...]
    run: int
    """Slices of a block that computes maps; does not change what comes out."""
    block: Triple
    # not in the hash:
    choice: Choice
    url: str
    labels_at: str | None
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
    def anisotropy(self) -> float:
        """Distance of two slices in voxels of a slice."""
        z, y, x = self.source.voxel_um
        return z / float((y * x) ** 0.5)

    def check_budget(self, worker_bytes: int) -> None:
        """Refuse a plan whose largest block does not fit into a worker.

        Raises
        ------
        MemoryBudgetError
            With the numbers and what to change.
        """
        check_memory(self.process_bytes, self.task_bytes, worker_bytes, "or a coarser --level")

    def describe(self) -> str:
        """The plan for people, as `--plan-only` prints it."""
        z, y, x = self.source.shape
        known = self.choice
        seen = [] if known.foreground is None else [f"{known.foreground:.0%} of it foreground"]
        seen += (
            [] if known.diameter_um is None else [f"objects some {known.diameter_um:.3g} µm wide"]
        )
        why = f" ({', '.join(seen)})" if seen else ""
        kind = "separate objects" if self.method == "seeds" else "tissue without gaps"
        model = self.predictor.name if self.predictor.kind == "sam" else "true labels"
        seconds = self.seconds_at_most
        lines = [
            f"run               {self.hash[:12]}",
            f"image             {self.url}, level {self.source.level}: {z} × {y} × {x} voxels",
            f"model             {model}, dense maps {self.maps.sha256[:12]}",
            f"method            {self.method}: {kind}{why}",
            f"zoom              {self.maps.zoom:g} model pixels per voxel",
            f"writes            label image {self.labels}",
            f"memory per worker {self.memory_per_worker / 2**30:.2f} GiB",
            f"time              about {seconds / 60:,.0f} min on one CPU worker"
            if seconds >= 60
            else "time              seconds",
        ]
        if self.method == "seeds":
            lines.append("then              proposals are segmented as a person's prompts")
        return "\n".join(lines)
