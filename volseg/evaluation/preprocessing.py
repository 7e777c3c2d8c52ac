"""What preprocessing gains: the same prompts under several renderings, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from volseg.errors import InputError
from volseg.evaluation.scoring import evaluate


@dataclass(frozen=True)
class PreprocessingRow:
    """One rendering: mean Dice, its gain over the first, how many objects got better and worse."""

    name: str
    mean_dice: float
    gain: float
    better: int
    worse: int
    f1: float


@dataclass(frozen=True)
class PreprocessingTable:
    """Renderings in the order asked for; the first is what gains are counted from."""

    rows: tuple[PreprocessingRow, ...]

    @property
    def best(self) -> str:
        """Name of the rendering with the greatest mean Dice (the first of equals)."""
        return max(self.rows, key=lambda row: row.mean_dice).name

    def to_text(self) -> str:
        """A table for people."""
        lines = [f"{'rendering':<16}{'mean Dice':>10}{'gain':>9}{'better':>8}{'worse':>7}{'F1':>8}"]
        lines += [
            f"{r.name:<16}{r.mean_dice:>10.4f}{r.gain:>+9.4f}{r.better:>8}{r.worse:>7}{r.f1:>8.4f}"
            for r in self.rows
        ]
        return "\n".join(lines)


def compare_preprocessing(
    segment: Callable[[str], Any],
    truth: Any,
    names: Sequence[str],
    *,
    match: str = "id",
    tolerance: float = 0.01,
) -> PreprocessingTable:
    """Segment the same prompts under each rendering and score each result.

    Parameters
    ----------
    segment : callable
        Takes the name of a rendering ("none", "clahe", …) and returns the labels that the same
        prompts give under it, as `evaluate` takes them.
    truth : labels
        As `evaluate` takes them.
    names : sequence of str
        The first is what the others are compared with.
    match : {"id", "overlap"}
        Prompted objects keep their ids, so "id" compares each with what it was meant to be.
    tolerance : float
        Change of an object's Dice that counts as better or worse.

    Raises
    ------
    InputError
        If no name, or one twice, is given, or truth holds no object.
    """
    if not names or len(set(names)) != len(names):
        raise InputError(f"renderings {list(names)}: expected one or more different names")
    rows: list[PreprocessingRow] = []
    first: dict[int, float] = {}
    for name in names:
        report = evaluate(segment(name), truth, metrics=("detection",), match=match)
        if report.mean_dice is None:
            raise InputError("truth holds no object to compare renderings by")
        dice = {row.id: row.dice for row in report.objects}
        first = first or dice
        changes = [dice[one] - first[one] for one in dice]
        rows.append(
            PreprocessingRow(
                name,
                report.mean_dice,
                report.mean_dice - (rows[0].mean_dice if rows else report.mean_dice),
                sum(change > tolerance for change in changes),
                sum(change < -tolerance for change in changes),
                float(report.overall["f1"] or 0.0),
            )
        )
    return PreprocessingTable(tuple(rows))
