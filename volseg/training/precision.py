"""How a machine computes a training step fastest: float32 or bfloat16, compiled or not. Measured, not guessed.

A processor without bfloat16 instructions takes eight times as long in bfloat16; a GPU half as long. Both
look alike to the code.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from volseg.errors import InputError

logger = logging.getLogger(__name__)
CHOICES = ("auto", "float32", "bfloat16")
GAIN = 0.95  # of the time: less than that is the machine's own noise


@dataclass(frozen=True)
class Precision:
    """How steps are computed.

    Attributes
    ----------
    bfloat16 : bool
        Whether layers compute in bfloat16 (weights and losses stay float32).
    seconds : float
        What a step takes, without the making of its batch; nan where it was not measured.
    measured : dict
        Seconds of each candidate.
    """

    bfloat16: bool
    seconds: float
    measured: dict[str, float]

    @property
    def name(self) -> str:
        """``float32`` or ``bfloat16``."""
        return "bfloat16" if self.bfloat16 else "float32"

    def record(self) -> dict[str, Any]:
        """Return what a training's record says of it."""
        return {"precision": self.name, "seconds_a_step": self.measured}


def computing_in(device: torch.device, *, bfloat16: bool) -> AbstractContextManager[Any]:
    """Compute in bfloat16 within, where asked for."""
    return torch.autocast(device.type, torch.bfloat16) if bfloat16 else nullcontext()


def step_seconds(work: Callable[[], object], device: torch.device, *, give_up: float) -> float:
    """Measure what ``work`` takes: the shorter of two runs after a first one.

    Where already the first one takes longer than ``give_up`` seconds, it is the answer. On a CPU it is the
    time that the processor spent on it, so that other work on the machine doesn't decide.
    """
    now = time.perf_counter if device.type == "cuda" else time.process_time
    times: list[float] = []
    for _ in range(3):
        started = now()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(now() - started)
        if times[0] > give_up:
            return times[0]
    return min(times[1:])


def choose_precision(
    step: Callable[[bool], object], device: torch.device, choice: str = "auto"
) -> Precision:
    """Measure a training step in both precisions and take the faster.

    Parameters
    ----------
    step : callable
        ``step(bfloat16)`` computes forward and backward once on the model that will train.
    device : torch.device
        Where.
    choice : str
        ``auto``, or ``float32`` or ``bfloat16`` to have no choice.

    Raises
    ------
    InputError
        There is no such choice.
    """
    if choice not in CHOICES:
        raise InputError(f"precision is {choice!r}; expected one of {', '.join(CHOICES)}")
    measured: dict[str, float] = {}
    candidates = [choice] if choice != "auto" else ["float32", "bfloat16"]
    for name in candidates:
        limit = 3 * min(measured.values(), default=float("inf"))
        bfloat16 = name == "bfloat16"
        measured[name] = round(step_seconds(lambda b=bfloat16: step(b), device, give_up=limit), 4)  # type: ignore[misc]
    fastest = min(measured, key=lambda name: measured[name])
    if fastest == "bfloat16" and len(measured) > 1:
        pays = measured["bfloat16"] < GAIN * measured["float32"]
        fastest = "bfloat16" if pays else "float32"
    found = Precision(fastest == "bfloat16", measured[fastest], measured)
    told = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in measured.items())
    logger.info("a step takes %s: training in %s", told, found.name)
    return found


def compile_if_faster(
    module: nn.Module,
    work: Callable[[], object],
    device: torch.device,
    *,
    backend: str = "inductor",
) -> dict[str, float]:
    """Compile a module in place, and take it back where steps don't get faster, or where it can't be compiled.

    Parameters
    ----------
    module : nn.Module
        Part of what ``work`` computes; the names of its parameters stay.
    work : callable
        One training step.

    Returns
    -------
    dict
        ``plain`` and ``compiled`` seconds of a step, and ``compiling``, what it took; without the last two where
        it can't be compiled.
    """
    found = {"plain": step_seconds(work, device, give_up=float("inf"))}
    module.compile(backend=backend)
    started = time.perf_counter()
    try:
        work()
        found["compiling"] = time.perf_counter() - started
        found["compiled"] = step_seconds(work, device, give_up=float("inf"))
    except Exception as error:  # compilers fail in ways of their own
        logger.warning("not compiled: %s", error)
    if found.get("compiled", float("inf")) > GAIN * found["plain"]:
        module._compiled_call_impl = None
    return {name: round(seconds, 4) for name, seconds in found.items()}


def images_that_fit(peaks: dict[int, int], room: int, most: int) -> int:
    """Work out how many images a batch may hold.

    Parameters
    ----------
    peaks : dict of int to int
        Peak memory in bytes by images in a batch; two entries, more images need more.
    room : int
        Bytes of the device that may be used.
    most : int
        More are not wanted.
    """
    (few, low), (many, high) = sorted(peaks.items())
    each = max((high - low) / (many - few), 1.0)
    base = low - few * each
    return int(min(max((room - base) // each, 1), most))


def measure_images(step: Callable[[int], object], device: torch.device, most: int) -> int:
    """Find from a GPU's memory how many images a batch may hold, with ``step(images)`` of one and of three."""
    peaks = {}
    for images in (1, 3):
        torch.cuda.reset_peak_memory_stats(device)
        step(images)
        peaks[images] = torch.cuda.max_memory_allocated(device)
    free, _ = torch.cuda.mem_get_info(device)
    room = int(0.85 * (free + torch.cuda.memory_reserved(device)))
    return images_that_fit(peaks, room, most)
