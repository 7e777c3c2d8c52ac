"""What an evaluation found: a table of objects, scores per class and overall, as a value, JSON and
text."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from volseg.geometry import Region


@dataclass(frozen=True)
class ObjectScore:
    """One truth object and the predicted object that belongs to it.

    Attributes
    ----------
    id
        Id in truth.
    predicted
        Id in the labels, or None where nothing belongs to it (Dice 0).
    bbox
        ((z0, z1), (y0, y1), (x0, x1)) of both together, half-open, in voxels.
    hausdorff95_um, assd_um
        None where they were not asked for or there is no partner.
    """

    id: int
    predicted: int | None
    class_: str | None
    truth_voxels: int
    predicted_voxels: int
    dice: float
    iou: float
    bbox: Region
    hausdorff95_um: float | None = None
    assd_um: float | None = None


@dataclass(frozen=True)
class BoxScore:
    """One true box (y0, x0, y1, x1) on slice z, the object whose box belongs to it, and their
    IoU.
    """

    z: int
    box: tuple[float, float, float, float]
    predicted: int | None
    iou: float


@dataclass(frozen=True)
class Report:
    """Scores of one label image against truth.

    Attributes
    ----------
    mean_dice, mean_iou
        Mean over the truth objects, a missed one counting 0; None where truth holds no object, or
        boxes only.
    overall
        Scores of all objects together; see `volseg.evaluation.metric_names`.
    classes
        Class → the same scores over the truth objects of that class that need no count of false
        positives.
    objects
        One row per truth object, by id.
    left_out
        Truth objects that were not asked for; they count as background in every score.
    beside_truth
        Prompted objects of the labels whose prompts lie on the truth's background.
    truth_kind
        "masks", or "boxes" where truth has boxes only (then no score compares voxels).
    """

    labels: str
    truth: str
    match: str
    truth_kind: str
    mean_dice: float | None
    mean_iou: float | None
    overall: dict[str, float | int | None]
    classes: dict[str, dict[str, float | int | None]] = field(default_factory=dict)
    objects: tuple[ObjectScore, ...] = ()
    spacing_um: tuple[float, float, float] | None = None
    boxes: tuple[BoxScore, ...] = ()
    left_out: int = 0
    beside_truth: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values that JSON can hold (no NaN)."""
        values = asdict(self)
        for row in values["objects"]:
            row["class"] = row.pop("class_")
        cleaned: dict[str, Any] = _clean(values)
        return cleaned

    def to_json(self, indent: int | None = None) -> str:
        """The report as one JSON object."""
        return json.dumps(self.to_dict(), indent=indent)

    def to_text(self) -> str:
        """A table for people: overall scores, classes, and the five worst objects."""
        lines = [
            f"labels {self.labels} against {self.truth} ({self.truth_kind}, match by {self.match})"
        ]
        if self.mean_dice is not None:
            lines.append(f"{'mean Dice':<24}{self.mean_dice:.4f}  over {len(self.objects)} objects")
        if self.left_out:
            lines.append(
                f"{'left out':<24}{self.left_out} truth objects without a prompt (--all scores them too)"
            )
        if self.beside_truth:
            listed = ", ".join(map(str, self.beside_truth[:20]))
            more = f" and {len(self.beside_truth) - 20} more" if len(self.beside_truth) > 20 else ""
            lines.append(
                f"{'prompts beside truth':<24}objects {listed}{more}: not scored, as truth has none there"
            )
        lines += [f"{name:<24}{_show(value)}" for name, value in self.overall.items()]
        for name, scores in self.classes.items():
            lines.append(
                f"class {name}: " + ", ".join(f"{k} {_show(v)}" for k, v in scores.items())
            )
        worst = sorted(self.objects, key=lambda row: (row.dice, row.id))[:5]
        if worst:
            lines.append(
                "worst objects: " + ", ".join(f"{row.id} ({row.dice:.3f})" for row in worst)
            )
        return "\n".join(lines)


def _show(value: float | int | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
