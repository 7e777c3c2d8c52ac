"""What a model is bad at, found from the figures of its validation: nobody picks what is told.

Bounds are those that a user feels: under half overlap a click mostly fails, and a box that loses a tenth was no box.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from volseg.training.scores import MEAN, RANKED, Row

FEW = 0.60
"""IoU from one click under which a kind is named."""
LOOSE_BOX, WORSE, GAP = 0.70, 0.05, 0.05
CERTAIN = 0.30
"""A score for a click on background from which on it says little."""
RANK = 0.50


def weaknesses(figures: Mapping[str, Any]) -> list[str]:
    """Return sentences, the worst of each kind of trouble first.

    Parameters
    ----------
    figures
        As `volseg.training.figures.read_figures` returns them.
    """
    return [
        *_kinds(figures["kinds"]),
        *_sizes(figures["sizes"]),
        *_conditions(figures["conditions"]),
        *_clicks(figures["clicks"]),
        *_folds(figures["folds"]),
        *_scores(figures),
    ]


def _kinds(rows: Mapping[str, Row]) -> Iterator[str]:
    kinds = {name: row for name, row in rows.items() if name != MEAN}
    bad = {name: row for name, row in kinds.items() if row["pick"] < FEW}
    if bad:
        yield f"One click on: {_listed(bad, 'pick')} (under {FEW:.2f})."
    boxes = {name: row for name, row in kinds.items() if row["box"] < LOOSE_BOX}
    if boxes:
        yield f"Even the exact box of: {_listed(boxes, 'box')} (under {LOOSE_BOX:.2f})."
    plain = {name: row for name, row in kinds.items() if row["otsu"] > row["pick"]}
    if plain:
        yield (
            f"Otsu's threshold does better than one click on: {_listed(plain, 'otsu')}; "
            f"the click gets {', '.join(_number(row['pick']) for row in _sorted(plain, 'otsu').values())}."
        )
    nested = {
        n: {"gap": r["best"] - r["pick"]} for n, r in kinds.items() if r["best"] - r["pick"] > GAP
    }
    if nested:
        yield f"Choosing among its own candidates, by so much IoU: {_listed(nested, 'gap', -1)}."


def _sizes(rows: Mapping[str, Row]) -> Iterator[str]:
    if not rows:
        return
    best_name, best = max(rows.items(), key=lambda item: item[1]["pick"])
    bad = {name: row for name, row in rows.items() if row["pick"] < best["pick"] - 2 * WORSE}
    if bad:
        yield (
            f"Objects that the model sees at a diameter of {_listed(bad, 'pick')}, where {best_name} get "
            f"{_number(best['pick'])}: choose another zoom."
        )


def _conditions(rows: Mapping[str, Row]) -> Iterator[str]:
    usual = rows.get("unchanged")
    if usual is None:
        return
    bad = {
        name: row for name, row in rows.items()
        if row["pick"] < usual["pick"] - WORSE / 2 or row["otsu"] > row["pick"]
    }  # fmt: skip
    if bad:
        yield f"Changed pictures: {_listed(bad, 'pick')}, where unchanged ones get {_number(usual['pick'])}."


def _clicks(rows: Mapping[str, Row]) -> Iterator[str]:
    mean = rows.get(MEAN)
    if mean is None:
        return
    lost = mean["loose_0"] - mean["loose_20"]
    if lost > WORSE:
        yield (
            f"Loose boxes: 20 % too far out on every side costs {_number(lost)} "
            f"({_number(mean['loose_0'])} to {_number(mean['loose_20'])})."
        )
    stuck = {
        name: row for name, row in rows.items()
        if name != MEAN and row["clicks_9"] < mean["clicks_9"] - WORSE
    }  # fmt: skip
    if stuck:
        yield f"Being corrected: after nine clicks still {_listed(stuck, 'clicks_9')}."


def _folds(rows: Mapping[str, Row]) -> Iterator[str]:
    families = {
        name.removesuffix(", mean"): row for name, row in rows.items() if name.endswith(", mean")
    }
    bad = {name: row for name, row in families.items() if row["pick"] < FEW}
    if bad:
        yield f"Families of kinds that never trained: {_listed(bad, 'pick')} from one click."


def _scores(figures: Mapping[str, Any]) -> Iterator[str]:
    kinds = {name: row for name, row in figures["kinds"].items() if name != MEAN}
    ranked = {n: r for n, r in kinds.items() if r["objects"] >= RANKED and r["spearman"] < RANK}
    if ranked:
        yield (
            f"Telling good masks from bad: the rank correlation of its score with the true IoU is "
            f"{_listed(ranked, 'spearman')}, over all objects {_number(figures['spearman'])}."
        )
    sure = {name: row for name, row in kinds.items() if row["background"] > CERTAIN}
    if sure:
        yield f"Clicks on background, which it scores {_listed(sure, 'background', -1)}."


def _sorted(rows: Mapping[str, Row], key: str, sign: int = 1) -> dict[str, Row]:
    known = {name: row for name, row in rows.items() if not math.isnan(row[key])}
    return dict(sorted(known.items(), key=lambda item: (sign * item[1][key], item[0])))


def _listed(rows: Mapping[str, Row], key: str, sign: int = 1) -> str:
    return ", ".join(
        f"{name} {_number(row[key])}" for name, row in _sorted(rows, key, sign).items()
    )


def _number(value: float) -> str:
    return f"{value:.2f}"
