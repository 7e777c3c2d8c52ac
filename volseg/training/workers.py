"""Several processes training one model together on one machine, each with its own images and one
thread.

On a shared machine this is far faster than more threads: threads of one process spin while they
wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import torch
from torch import distributed, multiprocessing, nn


@dataclass(frozen=True)
class Team:
    """One process's place among those that train together.

    Attributes
    ----------
    rank, size : int
        This process's number and how many there are; rank 0 writes checkpoints.
    """

    rank: int = 0
    size: int = 1

    def average(self, model: nn.Module, elapsed: float) -> float:
        """Average the gradients over the team, and return rank 0's ``elapsed``, so that all stop
        together.
        """
        if self.size == 1:
            return elapsed
        gradients = []
        for parameter in model.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:  # another member's prompts may have used it
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        clock = gradients[0].new_tensor([elapsed if self.rank == 0 else 0.0])
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients] + [clock])
        distributed.all_reduce(flat)
        at = 0
        for gradient in gradients:
            part = flat[at : at + gradient.numel()]
            gradient.copy_(part.view(gradient.shape) / self.size)
            at += gradient.numel()
        return float(flat[-1])


def _join(meeting: Path, rank: int, size: int) -> Team:
    distributed.init_process_group(
        "gloo", f"file://{meeting.resolve()}", rank=rank, world_size=size,
        timeout=timedelta(minutes=10),
    )  # fmt: skip
    return Team(rank, size)


def _member(rank: int, size: int, meeting: Path, work: Callable[[Team], None]) -> None:
    work(_join(meeting, rank, size))


@contextmanager
def team(size: int, folder: Path, work: Callable[[Team], None]) -> Iterator[Team]:
    """Start the other processes of a team, each running ``work(team)``, and yield this process's
    place, rank 0.

    Parameters
    ----------
    size : int
        Processes, this one included.
    folder : Path
        Where they find each other.
    work : callable
        Picklable; what the other processes do. They end by themselves when this process dies.
    """
    if size == 1:
        yield Team()
        return
    meeting = folder / f"meeting-{uuid4().hex}"
    context = multiprocessing.get_context("spawn")
    members = [
        context.Process(target=_member, args=(rank, size, meeting, work), daemon=True)
        for rank in range(1, size)
    ]
    for member in members:
        member.start()
    try:
        yield _join(meeting, 0, size)
        for member in members:
            member.join()
    finally:
        distributed.destroy_process_group()
        for member in members:
            member.terminate()
        meeting.unlink(missing_ok=True)
