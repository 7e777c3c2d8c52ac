"""Training time: what a step takes counts, a pause does not."""

from __future__ import annotations

import itertools

from volseg.training.clock import Clock


def test_laps_add_up_on_what_went_before() -> None:
    ticks = itertools.count(100.0, 0.5)
    clock = Clock(7.0, lambda: next(ticks))
    assert [clock.lap() for _ in range(4)] == [7.5, 8.0, 8.5, 9.0]


def test_a_pause_of_a_night_counts_as_a_few_steps() -> None:
    now = 0.0
    clock = Clock(0.0, lambda: now)
    for _ in range(40):
        now += 1.0
        clock.lap()
    before = clock.elapsed
    now += 8 * 3600.0
    assert clock.lap() - before < 20
    now += 1.0
    assert clock.lap() - before < 21  # and the clock goes on as ever


def test_steps_that_grow_slower_count_in_full() -> None:
    now, clock = 0.0, None
    clock = Clock(0.0, lambda: now)
    for step in range(60):
        now += 1.0 + 0.1 * step
        clock.lap()
    assert abs(clock.elapsed - now) < 1e-6


def test_a_pause_in_the_very_first_step_is_cut_too() -> None:
    now = 0.0
    clock = Clock(0.0, lambda: now)
    now += 3600.0
    assert clock.lap() == 120.0
