"""Label images of class numbers against truth, voxel by voxel: IoU per class and confusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from volseg.errors import InputError
from volseg.evaluation.contingency import Contingency
from volseg.evaluation.sources import blocks, open_source
from volseg.progress import Progress, silent

MOST_CLASSES = 255


@dataclass(frozen=True)
class ClassScore:
    """One class.

    Parameters
    ----------
    number, name
        Which; the name is None where none is known.
    iou, dice
        Of its voxels, 0 to 1.
    truth_voxels, voxels
        How many there are in truth and in the labels.
    """

    number: int
    name: str | None
    iou: float
    dice: float
    truth_voxels: int
    voxels: int


@dataclass(frozen=True)
class SemanticReport:
    """How well voxels were classified.

    Parameters
    ----------
    labels, truth
        What was compared.
    mean_iou
        Over all classes but 0 that either side has; NaN without one.
    accuracy
        Share of voxels whose class is right.
    classes
        One for each class that either side has, 0 last left out.
    confusion
        Voxels by true class (row) and class (column), both in the order of `numbers`.
    numbers
        Class numbers, 0 among them where a voxel has it.
    ignored
        Voxels that were left out, as they are not labelled in truth.
    """

    labels: str
    truth: str
    mean_iou: float
    accuracy: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    numbers: tuple[int, ...]
    ignored: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        content = {name: getattr(self, name) for name in ("labels", "truth", "accuracy", "ignored")}
        return content | {
            "mean_iou": None if np.isnan(self.mean_iou) else self.mean_iou,
            "classes": [vars(one).copy() for one in self.classes],
            "confusion": [list(row) for row in self.confusion],
            "numbers": list(self.numbers),
        }

    def to_text(self) -> str:
        """Return it for people: a line a class, then the confusion."""
        lines = [f"{'mean IoU':<24}{self.mean_iou:.4f}  over {len(self.classes)} classes"]
        lines.append(f"{'accuracy':<24}{self.accuracy:.4f}")
        for one in self.classes:
            called = f"{one.number} {one.name}" if one.name else str(one.number)
            lines.append(
                f"{'class ' + called:<24}{one.iou:.4f}  {one.truth_voxels} voxels in truth"
            )
        width = max(8, *(len(str(n)) for row in self.confusion for n in row)) + 1
        lines.append("truth \\ labels" + "".join(f"{n:>{width}}" for n in self.numbers))
        for number, row in zip(self.numbers, self.confusion, strict=True):
            lines.append(f"{number:>14}" + "".join(f"{n:>{width}}" for n in row))
        return "\n".join(lines)


def evaluate_semantic(
    labels: Any,
    truth: Any,
    *,
    partial: bool = False,
    level: int = 0,
    time: int = 0,
    block_voxels: int = 2**24,
    progress: Progress = silent,
) -> SemanticReport:
    """Score class numbers against true ones.

    Parameters
    ----------
    labels, truth
        As for `volseg.evaluate`, but ids are class numbers, which must be the same on both sides.
    partial
        Where truth is 0 nobody said what is there: such voxels are left out. Else 0 is a class like any other, though
        not among those whose IoU is averaged.
    level, time, block_voxels, progress
        As for `volseg.evaluate`.

    Raises
    ------
    InputError
        If shapes differ, or there are more numbers than classes: ids of objects.
    """
    ours = open_source(labels, level=level, time=time)
    theirs = open_source(truth, level=level, time=time)
    if ours.shape != theirs.shape:
        raise InputError(
            f"{ours.name} has shape {ours.shape} and truth {theirs.name} {theirs.shape} (z, y, x): both must lie on "
            "one grid (choose --level, or give truth of the same extent)"
        )
    parts = []
    todo = list(blocks(ours, theirs, block_voxels))
    for done, region in enumerate(todo, 1):
        parts.append(Contingency.of(theirs.read(region), ours.read(region)))
        progress("evaluate", done, len(todo))
    counts = Contingency.sum(parts)
    ignored = 0
    if partial:
        kept = counts.without_truth_background()
        ignored, counts = counts.voxels - kept.voxels, kept
    numbers = np.union1d(counts.truth, counts.predicted).astype(np.int64)
    if len(numbers) > MOST_CLASSES:
        raise InputError(
            f"there are {len(numbers)} different numbers: --semantic compares class numbers, at most {MOST_CLASSES}; "
            "these look like ids of objects"
        )
    table = np.zeros((len(numbers), len(numbers)), np.int64)
    at = np.searchsorted(numbers, counts.truth.astype(np.int64))
    found = np.searchsorted(numbers, counts.predicted.astype(np.int64))
    table[at, found] = counts.counts
    scores = _scores(table, numbers, theirs.classes() | ours.classes())
    return SemanticReport(
        labels=ours.name,
        truth=theirs.name,
        mean_iou=float(np.mean([one.iou for one in scores])) if scores else float("nan"),
        accuracy=float(np.trace(table) / max(1, table.sum())),
        classes=tuple(scores),
        confusion=tuple(tuple(int(n) for n in row) for row in table),
        numbers=tuple(int(n) for n in numbers),
        ignored=ignored,
    )


def _scores(table: Any, numbers: Any, names: dict[int, str]) -> list[ClassScore]:
    found = []
    for i, number in enumerate(numbers.tolist()):
        if number == 0:
            continue
        both, true, ours = int(table[i, i]), int(table[i].sum()), int(table[:, i].sum())
        iou, dice = both / (true + ours - both), 2 * both / (true + ours)
        found.append(ClassScore(number, names.get(number), iou, dice, true, ours))
    return found
