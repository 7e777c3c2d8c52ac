"""The training loop: batches made ahead in a thread, moving average, cosine schedule, checkpoints
that survive kills.

It knows nothing about ``nano``: it trains any module with any loss on batches that depend on their
number alone.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volseg.training.workers import Team

logger = logging.getLogger(__name__)
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes
    ----------
    seconds : float or None
        Training time over all sittings together; None where ``steps`` limits.
    steps : int or None
        Steps over all sittings together.
    rate : float
        The highest learning rate; it rises over ``warmup`` steps and falls by a cosine to 2 %.
    weight_decay, clip : float
        AdamW's decay, and the largest norm of the gradient.
    average : float
        Decay of the moving average of the weights.
    """

    seconds: float | None = None
    steps: int | None = None
    rate: float = 1e-3
    warmup: int = 60
    weight_decay: float = 0.02
    clip: float = 1.0
    average: float = 0.998

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
    alone.
    """

    model: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    elapsed: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)

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
        }
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        path.with_name("curve.json").write_text(json.dumps(self.curve, indent=1))

    def restore(self, path: Path) -> None:
        """Read a checkpoint written by `save`."""
        content = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(content["model"])
        self.average.load_state_dict(content["average"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.step, self.elapsed = int(content["step"]), float(content["elapsed"])
        self.curve = list(content["curve"])


def prefetch(make: Callable[[int], Any], first: int, ahead: int = 3) -> Iterator[Any]:
    """Yield ``make(first)``, ``make(first + 1)``, ... made in a thread of its own; errors are
    raised here.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(ahead)
    stop = threading.Event()

    def offer(item: tuple[Any, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        number = first
        try:
            while offer((make(number), None)):
                number += 1
        except BaseException as error:  # handed over, raised below
            offer((None, error))

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            batch, error = ready.get()
            if error is not None:
                raise error
            yield batch
    finally:
        stop.set()
        thread.join()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the model's; faster in the beginning."""
    decay = min(decay, (1 + step) / (10 + step))
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - decay)
    for mine, other in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(other)


def train(
    state: State,
    make_batch: Callable[[int], Any],
    loss: Callable[[nn.Module, Any], Losses],
    schedule: Schedule,
    checkpoint: Path,
    *,
    save_every: float = 180.0,
    report_every: int = 50,
    on_save: Callable[[State], None] | None = None,
    team: Team | None = None,
) -> State:
    """Train until the schedule ends.

    Parameters
    ----------
    state : State
        Where to go on from; changed in place.
    make_batch : callable
        ``make_batch(step)`` makes the batch of a step; the same step always gives the same batch.
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

    Returns
    -------
    State
        The same object, trained.
    """
    team = team or Team()
    started, before = time.monotonic(), state.elapsed
    last_save = started
    sums: dict[str, float] = {}
    count = 0
    batches = prefetch(lambda step: make_batch(step * team.size + team.rank), state.step)
    try:
        while schedule.progress(state.step, state.elapsed) < 1:
            rate = schedule.rate_at(state.step, state.elapsed)
            for group in state.optimiser.param_groups:
                group["lr"] = rate
            values = loss(state.model, next(batches))
            state.optimiser.zero_grad(set_to_none=True)
            values["loss"].backward()
            elapsed = team.average(state.model, before + time.monotonic() - started)
            norm = nn.utils.clip_grad_norm_(state.model.parameters(), schedule.clip)
            if torch.isfinite(norm):
                state.optimiser.step()
                follow(state.average, state.model, schedule.average, state.step)
            else:
                logger.warning("step %d: gradient is not finite, skipped", state.step)
            state.step += 1
            state.elapsed = elapsed
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            count += 1
            if state.step % report_every == 0 and team.rank == 0:
                point = {name: round(total / count, 4) for name, total in sums.items()}
                point |= {"step": state.step, "seconds": round(state.elapsed), "rate": rate}
                state.curve.append(point)
                logger.info("%s", json.dumps(point))
                sums, count = {}, 0
            if team.rank == 0 and time.monotonic() - last_save > save_every:
                state.save(checkpoint)
                last_save = time.monotonic()
                if on_save is not None:
                    on_save(state)
    finally:
        batches.close()  # type: ignore[attr-defined]
    if team.rank == 0:
        state.save(checkpoint)
        if on_save is not None:
            on_save(state)
    return state
