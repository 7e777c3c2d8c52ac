"""Training survives being killed: it goes on where the checkpoint was, with the same batches."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from volseg.errors import InputError
from volseg.training.batches import prefetch
from volseg.training.loop import Feed, Report, Schedule, State, train

PROJECT = Path(__file__).resolve().parents[2]


def fresh() -> State:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return State(model, copy.deepcopy(model).requires_grad_(False), optimiser)


def batch(number: int) -> Tensor:
    return torch.randn(32, 4, generator=torch.Generator().manual_seed(number))


def loss(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    wanted = inputs.prod(1, keepdim=True).tanh() + inputs[:, :1]
    return {"loss": (model(inputs) - wanted).square().mean()}


def test_a_training_in_two_sittings_equals_one(tmp_path: Path) -> None:
    schedule = Schedule(steps=60, rate=1e-2, warmup=5)
    whole = train(fresh(), batch, loss, schedule, tmp_path / "whole.pt", report_every=10)

    def stop_at_25(number: int) -> Tensor:
        if number == 25:
            raise KeyboardInterrupt
        return batch(number)

    broken = fresh()
    with pytest.raises(KeyboardInterrupt):
        train(broken, stop_at_25, loss, schedule, tmp_path / "parts.pt", save_every=0.0)
    assert 0 < broken.step <= 25
    resumed = fresh()
    resumed.restore(tmp_path / "parts.pt")
    assert resumed.step > 0
    train(resumed, batch, loss, schedule, tmp_path / "parts.pt", report_every=10)
    assert resumed.step == whole.step == 60
    for ours, theirs in zip(resumed.average.parameters(), whole.average.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert whole.curve[-1]["loss"] < 0.7 * whole.curve[0]["loss"]


def test_the_cosine_falls_and_can_be_extended() -> None:
    short, long = Schedule(steps=100, warmup=1), Schedule(steps=200, warmup=1)
    rates = [short.rate_at(step, 0.0) for step in range(1, 100)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.03 * short.rate
    assert long.rate_at(99, 0.0) > 0.4 * long.rate
    assert Schedule(seconds=10.0).progress(0, 11.0) == 1


def test_errors_of_the_batch_thread_reach_the_loop() -> None:
    def broken(number: int) -> Tensor:
        if number == 2:
            raise ValueError("no such picture")
        return batch(number)

    batches = prefetch(broken, 0)
    next(batches)
    next(batches)
    with pytest.raises(ValueError, match="no such picture"):
        next(batches)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    def explosive(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
        return {"loss": loss(model, inputs)["loss"] * float("inf")}

    state = fresh()
    before = copy.deepcopy(state.model.state_dict())
    train(state, batch, explosive, Schedule(steps=2), tmp_path / "c.pt")
    for name, value in state.model.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_accumulated_batches_make_the_step_of_a_large_one(tmp_path: Path) -> None:
    def both(number: int) -> Tensor:
        return torch.cat([batch(2 * number), batch(2 * number + 1)])

    small = Schedule(steps=8, rate=1e-2, accumulate=2)
    parts = train(fresh(), batch, loss, small, tmp_path / "parts.pt")
    whole = train(fresh(), both, loss, Schedule(steps=8, rate=1e-2), tmp_path / "whole.pt")
    assert parts.step == whole.step == 8
    for ours, theirs in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_an_accumulated_training_goes_on_with_the_next_batch(tmp_path: Path) -> None:
    seen: list[int] = []

    def watched(number: int) -> Tensor:
        seen.append(number)
        return batch(number)

    state = train(fresh(), batch, loss, Schedule(steps=3, accumulate=4), tmp_path / "c.pt")
    train(state, watched, loss, Schedule(steps=5, accumulate=4), tmp_path / "c.pt")
    assert seen[:8] == list(range(12, 20))


def test_asked_to_stop_it_ends_after_the_step_with_a_checkpoint(tmp_path: Path) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 7

    schedule = Schedule(steps=20, rate=1e-2, warmup=5)
    state = train(fresh(), batch, loss, schedule, tmp_path / "c.pt", stop=stop)
    assert state.step == 7
    again = fresh()
    again.restore(tmp_path / "c.pt")
    assert again.step == 7
    assert 0 < again.elapsed < 60
    train(again, batch, loss, schedule, tmp_path / "c.pt")
    whole = train(fresh(), batch, loss, schedule, tmp_path / "whole.pt")
    for ours, theirs in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_groups_of_the_optimiser_have_rates_of_their_own(tmp_path: Path) -> None:
    state = fresh()
    first, second = state.model[0], state.model[2]  # type: ignore[index]
    state.optimiser = torch.optim.SGD(
        [{"params": first.parameters(), "rate_factor": 0.0}, {"params": second.parameters()}], lr=1
    )
    before = copy.deepcopy(state.model)
    train(state, batch, loss, Schedule(steps=3, rate=0.1), tmp_path / "c.pt")
    assert torch.equal(first.weight, before[0].weight)  # type: ignore[index]
    assert not torch.equal(second.weight, before[2].weight)  # type: ignore[index]


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    state = fresh()
    state.about = {"encoder": "pyramid"}
    state.save(tmp_path / "c.pt")
    other = fresh()
    other.about = {"encoder": "lite0"}
    with pytest.raises(InputError, match="another folder"):
        other.restore(tmp_path / "c.pt")


def test_the_curve_tells_the_speed_and_what_it_would_be_without_waiting() -> None:
    state = fresh()
    state.elapsed, state.step = 100.0, 60
    report = Report(state.elapsed)
    report.add({"loss": torch.tensor(3.0)})
    report.add({"loss": torch.tensor(1.0)})
    report.steps, state.elapsed = 2, 110.0
    point = report.point(state, 1e-3, waited=6.0)
    assert point == {
        "loss": 2.0, "step": 60, "seconds": 110, "rate": 1e-3,
        "steps_per_s": 0.2, "ideal_steps_per_s": 0.5,
    }  # fmt: skip


def test_waiting_is_counted_but_for_the_first_batch() -> None:
    def slow(number: int) -> int:
        time.sleep(0.3 if number == 0 else 0.1)
        return number

    feed = Feed(slow, 0, 1)
    feed.peek()
    assert feed.take() == 0
    assert feed.waited() == 0
    assert [feed.take() for _ in range(4)] == [1, 2, 3, 4]
    assert 0.2 < feed.waited() < 60
    assert feed.waited() == 0
    feed.close()


def start_nano(out: Path, data: Path, steps: int) -> subprocess.Popen[bytes]:
    arguments = f"--steps {steps} --images 1 --prompts 1 --save-every 0 --rate 3e-4 --no-validate"
    command = [sys.executable, "-m", "volseg.training.nano", *arguments.split()]
    return subprocess.Popen(
        [*command, "--out", str(out), "--data", str(data)],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.long
def test_nano_killed_at_any_moment_goes_on(shared_data: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    process = start_nano(tmp_path, shared_data, 50)
    deadline = time.monotonic() + 240
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = torch.load(checkpoint, weights_only=True)["step"]
    assert 0 < reached < 50
    process = start_nano(tmp_path, shared_data, 50)
    assert process.wait(timeout=300) == 0
    content = torch.load(checkpoint, weights_only=True)
    assert content["step"] == 50
    curve = json.loads((tmp_path / "curve.json").read_text())
    assert [point["step"] for point in curve] == [50]
    assert json.loads((tmp_path / "training.json").read_text())["data_sha256"]
