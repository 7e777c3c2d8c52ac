"""Progress that only grows, and the time that is left."""

from __future__ import annotations

import pytest

from napari_plugin.run_progress import RunProgress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_only_grows_and_is_full_only_at_the_end() -> None:
    progress = RunProgress(Clock())
    progress.begin("a")
    told = []
    for share in (0.1, 0.5, 0.3, 1.2, 0.2):  # a run may find that it has more to do than it thought
        progress.at("a", share)
        told.append(progress.share)
    assert told == [0.1, 0.5, 0.5, 0.99, 0.99]
    progress.begin("b")  # one more while the first is at work
    assert progress.share == 0.99
    progress.end("a")
    progress.end("b")
    assert progress.share == 1 and progress.left_s is None and str(progress) == "100%"
    progress.begin("c")
    assert progress.share == 0  # a new beginning


def test_the_time_left_follows_from_what_is_done() -> None:
    clock = Clock()
    progress = RunProgress(clock)
    progress.begin("a")
    assert progress.left_s is None and str(progress) == "0%"
    clock.now += 30
    progress.at("a", 0.25)
    assert progress.left_s == pytest.approx(90)
    assert str(progress) == "25%, 1:30 left"
    clock.now += 3970
    assert str(progress) == "25%, 3:20:00 left"


def test_a_run_that_nobody_began_counts_for_nothing() -> None:
    progress = RunProgress()
    progress.at("x", 0.5)
    progress.end("x")
    assert progress.share == 0
