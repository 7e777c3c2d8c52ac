"""Two processes that train together see all batches, and end with the gradient's mean applied."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import torch
from torch import nn

from tests.training.test_loop import batch, loss
from volseg.training.loop import Schedule, State, train
from volseg.training.workers import Team, team


def fresh() -> State:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    return State(model, copy.deepcopy(model).requires_grad_(False), optimiser)


def work(out: Path, place: Team) -> None:
    torch.set_num_threads(1)
    schedule = Schedule(steps=12, rate=0.05, warmup=1, clip=1e6)
    train(fresh(), batch, loss, schedule, out / "checkpoint.pt", team=place)


def test_a_team_of_two_equals_one_with_both_batches(tmp_path: Path) -> None:
    with team(2, tmp_path, partial(work, tmp_path)) as place:
        assert place == Team(0, 2)
        work(tmp_path, place)
    together = fresh()
    together.restore(tmp_path / "checkpoint.pt")
    assert together.step == 12

    def both(number: int) -> torch.Tensor:
        return torch.cat([batch(2 * number), batch(2 * number + 1)])

    alone = fresh()
    schedule = Schedule(steps=12, rate=0.05, warmup=1, clip=1e6)
    train(alone, both, loss, schedule, tmp_path / "alone.pt")
    for ours, theirs in zip(alone.model.parameters(), together.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert not list(tmp_path.glob("meeting-*"))


def test_alone_no_process_is_started(tmp_path: Path) -> None:
    with team(1, tmp_path, partial(work, tmp_path)) as place:
        assert place == Team(0, 1)
        assert place.average(nn.Linear(1, 1), 3.5) == 3.5
