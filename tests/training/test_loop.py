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

from volseg.training.loop import Schedule, State, prefetch, train

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


def start_nano(out: Path, data: Path, steps: int) -> subprocess.Popen[bytes]:
    arguments = f"--steps {steps} --images 1 --prompts 1 --save-every 0 --rate 3e-4"
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
