"""How far people agree with each other: the ceiling of what agreement with one of them can mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from volseg.errors import InputError
from volseg.evaluation.scoring import evaluate


@dataclass(frozen=True)
class PairAgreement:
    """Two annotators: mean Dice over the objects of both, F1 at IoU 0.5, variation of
    information.
    """

    first: str
    second: str
    mean_dice: float
    f1: float
    vi: float


@dataclass(frozen=True)
class Agreement:
    """All pairs, and their mean Dice and F1."""

    pairs: tuple[PairAgreement, ...]
    mean_dice: float
    f1: float

    def to_text(self) -> str:
        """A table for people."""
        lines = [
            f"{p.first} – {p.second}: mean Dice {p.mean_dice:.4f}, F1 {p.f1:.4f}, VI {p.vi:.4f}"
            for p in self.pairs
        ]
        lines.append(f"ceiling: mean Dice {self.mean_dice:.4f}, F1 {self.f1:.4f}")
        return "\n".join(lines)


def annotator_agreement(
    annotations: Mapping[str, Any], *, match: str = "overlap", level: int = 0, time: int = 0
) -> Agreement:
    """Score every pair of annotators against each other.

    Parameters
    ----------
    annotations : mapping of name to labels
        Two or more; labels as `evaluate` takes them, on one grid.
    match : {"overlap", "id"}

    Returns
    -------
    Agreement
        Symmetric: an object that only one of the two drew counts 0, whoever it was.

    Raises
    ------
    InputError
        With fewer than two annotators, or where shapes differ.
    """
    if len(annotations) < 2:
        raise InputError(f"agreement needs two annotators or more, got {len(annotations)}")
    pairs = []
    for (first, one), (second, other) in combinations(annotations.items(), 2):
        families = ("detection", "vi")
        there = evaluate(one, other, metrics=families, match=match, level=level, time=time)
        matched = sum(row.dice for row in there.objects)
        partners = sum(row.predicted is not None for row in there.objects)
        alone = int(there.overall["predicted_objects"] or 0) - partners
        total = len(there.objects) + alone
        pairs.append(
            PairAgreement(
                first,
                second,
                matched / total if total else 1.0,
                float(there.overall["f1"] or 0.0),
                float(there.overall["vi"] or 0.0),
            )
        )
    return Agreement(
        tuple(pairs),
        float(np.mean([p.mean_dice for p in pairs])),
        float(np.mean([p.f1 for p in pairs])),
    )
