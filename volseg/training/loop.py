"""The training loop: batches made ahead, gradients accumulated, moving average, cosine schedule,
checkpoints that survive kills.

It knows nothing about ``nano``: it trains any module with any loss on batches that depend on their
number alone.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volseg.errors import InputError
from volseg.training.batches import Elsewhere, stream
from volseg.training.clock import Clock
from volseg.training.workers import Team

logger = logging.getLogger(__name__)
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes
    ----------
    seconds : float or None
        Training time over all sittings together, pauses not counted; None where ``steps`` limits.
    steps : int or None
        Steps over all sittings together.
    rate : float
        The highest learning rate; it rises over ``warmup`` steps and falls by a cosine to 2 %.
    weight_decay, clip : float
        AdamW's decay, and the largest norm of the gradient.
    average : float
        Decay of the moving average of the weights.
    accumulate : int
        Batches whose gradients make one step.
    """

    seconds: float | None = None
    steps: int | None = None
    rate: float = 1e-3
    warmup: int = 60
    weight_decay: float = 0.02
    clip: float = 1.0
    average: float = 0.998
    accumulate: int = 1

    def progress(self, step: int, elapsed: float) -> float:
        """Return how much of the training is done, 0..1: the larger of both limits."""
        parts = [0.0]
        if self.seconds is not None:
            parts.append(elapsed / max(self.seconds, 1e-6))
        if self.steps is not None:
            parts.append(step / max(self.steps, 1))
        return min(max(parts), 1.0)

    def rate_at(self, step: int, elapsed: float) -> float:
        """Return the learning rate at a step."""
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress(step, elapsed)))
        return self.rate * min(1.0, (step + 1) / self.warmup) * (0.02 + 0.98 * cosine)


@dataclass
class State:
    """Everything that a resumed training needs, beside the batches, which depend on their number
    alone. Groups of the optimiser may have a ``rate_factor`` on the schedule's rate; ``about`` says what
    the model is.
    """

    model: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    elapsed: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write a checkpoint in place of the last one; a kill at any moment leaves one of both."""
        partial = path.with_suffix(".partial")
        content = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            "curve": self.curve,
            "about": self.about,
        }
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        path.with_name("curve.json").write_text(json.dumps(self.curve, indent=1))

    def restore(self, path: Path) -> None:
        """Read a checkpoint written by `save`.

        Raises
        ------
        InputError
            It is of another model.
        """
        content = torch.load(path, map_location="cpu", weights_only=True)
        about = content.get("about", self.about)
        if about != self.about:
            raise InputError(
                f"{path} is of {about}, not of {self.about}; train into another folder"
            )
        self.model.load_state_dict(content["model"])
        self.average.load_state_dict(content["average"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.step, self.elapsed = int(content["step"]), float(content["elapsed"])
        self.curve = list(content["curve"])


def decaying_matrices(
    parameters: Iterable[nn.Parameter], decay: float, **options: Any
) -> list[dict[str, Any]]:
    """Return an optimiser's groups in which matrices decay, and biases and scales don't; none is empty."""
    groups: list[dict[str, Any]] = [
        {"params": [], "weight_decay": decay, **options},
        {"params": [], "weight_decay": 0.0, **options},
    ]
    for parameter in parameters:
        groups[parameter.ndim < 2]["params"].append(parameter)
    return [group for group in groups if group["params"]]


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the model's; faster in the beginning."""
    decay = min(decay, (1 + step) / (10 + step))
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - decay)
    for mine, other in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(other)


class Feed:
    """Batches in their order, and how long the training waited for them."""

    def __init__(self, make: Callable[[int], Any] | Elsewhere, first: int, step: int) -> None:
        self._batches = stream(make, first, step)
        self._peeked: list[Any] = []
        self._waited = 0.0
        self.open = False

    def peek(self) -> None:
        """Wait for the first batch."""
        self._peeked.append(next(self._batches))
        self.open = True

    def take(self) -> Any:
        """Return the next batch."""
        if self._peeked:
            return self._peeked.pop()
        started = time.monotonic()
        batch = next(self._batches)
        self._waited += time.monotonic() - started
        return batch

    def waited(self) -> float:
        """Return the seconds waited since this was last asked."""
        seconds, self._waited = self._waited, 0.0
        return seconds

    def close(self) -> None:
        """End whoever makes batches."""
        self._batches.close()  # type: ignore[attr-defined]


class Report:
    """Means of the losses between two points of the curve, and how fast it went.

    ``steps_per_s`` stands against ``ideal_steps_per_s``, what it would be if no step had to wait for its
    batch: where they differ, the making of batches holds the training up.
    """

    def __init__(self, elapsed: float) -> None:
        self.elapsed = elapsed
        self.sums: dict[str, float] = {}
        self.batches = self.steps = 0

    def add(self, values: Losses) -> None:
        """Add the losses of a batch."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        self.batches += 1

    def point(self, state: State, rate: float, waited: float) -> dict[str, float]:
        """Return the point of the curve where ``state`` is, ``waited`` seconds of it without a batch."""
        seconds = max(state.elapsed - self.elapsed, 1e-6)
        point = {name: round(total / self.batches, 4) for name, total in self.sums.items()}
        return point | {
            "step": state.step,
            "seconds": round(state.elapsed),
            "rate": rate,
            "steps_per_s": round(self.steps / seconds, 3),
            "ideal_steps_per_s": round(self.steps / max(seconds - waited, 1e-6), 3),
        }


def train(
    state: State,
    make_batch: Callable[[int], Any] | Elsewhere,
    loss: Callable[[nn.Module, Any], Losses],
    schedule: Schedule,
    checkpoint: Path,
    *,
    save_every: float = 180.0,
    report_every: int = 50,
    on_save: Callable[[State], None] | None = None,
    team: Team | None = None,
    stop: Callable[[], bool] = bool,
) -> State:
    """Train until the schedule ends.

    Parameters
    ----------
    state : State
        Where to go on from; changed in place.
    make_batch : callable or Elsewhere
        ``make_batch(number)`` makes a batch; the same number always gives the same batch. Numbers follow from
        the step: ``accumulate`` of them a step, for each member of the team.
    loss : callable
        ``loss(model, batch)`` gives named scalars; ``"loss"`` is minimised, all are averaged into
        the curve.
    schedule : Schedule
        May be longer than it was when the checkpoint was written.
    checkpoint : Path
        Written every ``save_every`` seconds and at the end.
    report_every : int
        Steps for each point of the curve.
    on_save : callable, optional
        Called after each checkpoint.
    team : Team
        Where several processes train together; each makes its own batches, and rank 0 writes.
    stop : callable
        Asked after each step whether to end early; never by default.

    Returns
    -------
    State
        The same object, trained.
    """
    team = team or Team()
    feed = Feed(make_batch, state.step * schedule.accumulate * team.size + team.rank, team.size)
    report, clock = Report(state.elapsed), Clock(state.elapsed)
    last_save = time.monotonic()

    def save() -> None:
        state.save(checkpoint)
        if on_save is not None:
            on_save(state)

    try:
        while schedule.progress(state.step, state.elapsed) < 1:
            if not feed.open:
                feed.peek()
                clock = Clock(state.elapsed)  # opening the data is no training
            rate = schedule.rate_at(state.step, state.elapsed)
            _gradients(state, loss, feed, schedule.accumulate, report)
            clock.lap()
            elapsed = team.average(state.model, math.inf if stop() else clock.elapsed)
            _step(state, schedule, rate)
            state.elapsed = clock.elapsed if math.isinf(elapsed) else elapsed
            report.steps += 1
            if state.step % report_every == 0 and team.rank == 0:
                state.curve.append(report.point(state, rate, feed.waited()))
                logger.info("%s", json.dumps(state.curve[-1]))
                report = Report(state.elapsed)
            if math.isinf(elapsed):
                break
            if team.rank == 0 and time.monotonic() - last_save > save_every:
                save()
                last_save = time.monotonic()
    finally:
        feed.close()
    if team.rank == 0:
        save()
    return state


def _gradients(
    state: State,
    loss: Callable[[nn.Module, Any], Losses],
    feed: Feed,
    count: int,
    report: Report,
) -> None:
    """Leave the mean gradient of ``count`` batches in the model."""
    state.optimiser.zero_grad(set_to_none=True)
    for _ in range(count):
        values = loss(state.model, feed.take())
        (values["loss"] / count).backward()
        report.add(values)


def _step(state: State, schedule: Schedule, rate: float) -> None:
    """Move the weights by their gradients, unless those are not finite."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), schedule.clip)
    if torch.isfinite(norm):
        state.optimiser.step()
        follow(state.average, state.model, schedule.average, state.step)
    else:
        logger.warning("step %d: gradient is not finite, skipped", state.step)
    state.step += 1
