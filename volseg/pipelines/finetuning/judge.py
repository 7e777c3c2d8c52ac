"""The judge: every object scores the old decoder and the candidate before the candidate learns from it.

Dawid 1984, "Statistical theory: the prequential approach": what comes next is the test set, so none is lost to testing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FORGOTTEN = 0.01
"""The most that replayed objects, or boxes, may lose in mean IoU."""
CHANCE = 1.645
"""Standard errors that a gain must exceed: one-sided, 95 %."""
FEWEST = 3
"""Objects without which there is no judgement."""

Scores = Mapping[Any, float]


@dataclass(frozen=True)
class Pair:
    """Mean IoU of some objects under the old decoder and the new one."""

    objects: int
    old: float | None
    new: float | None

    @classmethod
    def of(cls, old: Scores, new: Scores) -> Pair:
        """Compare on the objects that both scored."""
        keys = [key for key in new if key in old]
        if not keys:
            return cls(0, None, None)
        means = [round(float(np.mean([one[key] for key in keys])), 4) for one in (old, new)]
        return cls(len(keys), means[0], means[1])

    @property
    def gain(self) -> float:
        """New less old; 0 where there is nothing to compare."""
        return 0.0 if self.old is None or self.new is None else round(self.new - self.old, 4)

    def describe(self) -> str:
        """For people."""
        return f"{self.old} -> {self.new} ({self.gain:+.4f}, {self.objects} objects)"


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate is better.

    Attributes
    ----------
    better
        It is ahead by more than chance, and forgot nothing.
    why
        In words.
    point, box
        One point, and the box, on objects that the candidate had not learned from.
    replay
        One point on generated images that never teach.
    error
        Standard error of the gain on points.
    """

    better: bool
    why: str
    point: Pair
    box: Pair
    replay: Pair
    error: float | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def describe(self) -> str:
        """For people."""
        lines = [f"{'better' if self.better else 'not better'}: {self.why}"]
        for name in ("point", "box", "replay"):
            pair: Pair = getattr(self, name)
            if pair.objects:
                lines.append(f"  mean IoU, {name}: {pair.describe()}")
        return "\n".join(lines)


def judge(
    point: tuple[Scores, Scores], box: tuple[Scores, Scores], replay: tuple[Scores, Scores]
) -> Verdict:
    """Judge by scores (old, new) of each object."""
    points, boxes, kept = Pair.of(*point), Pair.of(*box), Pair.of(*replay)
    gains = np.array([point[1][key] - point[0][key] for key in point[1] if key in point[0]])
    error = float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else None
    why, better = "ahead on objects before it learned from them, and nothing forgotten", False
    if points.objects < FEWEST:
        why = (
            f"only {points.objects} objects could be held out; at least {FEWEST} are needed to tell"
        )
    elif gains.mean() <= CHANCE * (error or 0.0):
        why = "not ahead on objects before it learned from them by more than chance"
    elif boxes.gain < -FORGOTTEN:
        why = "worse with boxes"
    elif kept.gain < -FORGOTTEN:
        why = "worse on what it knew before"
    else:
        better = True
    return Verdict(better, why, points, boxes, kept, None if error is None else round(error, 4))
