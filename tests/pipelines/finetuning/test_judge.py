"""The judge: what is better, and what is not though its mean is ahead."""

from __future__ import annotations

import pytest

from volseg.pipelines.finetuning.judge import judge

OLD = dict.fromkeys(range(6), 0.5)
UP = {number: 0.6 + number / 100 for number in range(6)}
LUCKY = dict.fromkeys(range(5), 0.5) | {5: 0.9}


@pytest.mark.parametrize(
    ("new", "box", "replay", "better", "why"),
    [
        (UP, OLD, OLD, True, "ahead"),
        (OLD, OLD, OLD, False, "not ahead"),
        (LUCKY, OLD, OLD, False, "chance"),
        (UP, {0: 0.48}, OLD, False, "boxes"),
        (UP, OLD, {0: 0.48}, False, "knew before"),
        ({0: 0.9, 1: 0.9}, OLD, OLD, False, "only 2 objects"),
        ({}, {}, {}, False, "only 0 objects"),
    ],
)
def test_verdict(
    new: dict[int, float], box: dict[int, float], replay: dict[int, float], better: bool, why: str
) -> None:
    verdict = judge((OLD, new), (OLD, box), (OLD, replay))
    assert verdict.better is better and why in verdict.why
