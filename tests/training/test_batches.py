"""Batches made ahead, in a thread or in processes of their own: in order, errors raised here, nothing left behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor

from volseg.training.batches import Elsewhere, stream

PROJECT = Path(__file__).resolve().parents[2]


def numbered(size: int) -> Callable[[int], tuple[int, Tensor, int]]:
    def make(number: int) -> tuple[int, Tensor, int]:
        if number == 6:
            raise ValueError("no such picture")
        return number, torch.full((size,), number, dtype=torch.uint8), os.getpid()

    return make


@pytest.mark.parametrize("processes", [0, 1])
def test_batches_come_in_order_and_errors_are_raised_here(processes: int) -> None:
    make = Elsewhere(partial(numbered, 5), processes) if processes else numbered(5)
    batches = stream(make, 0, 2)
    found = list(itertools.islice(batches, 3))
    assert [number for number, _, _ in found] == [0, 2, 4]
    assert all(
        torch.equal(pixels, torch.full((5,), n, dtype=torch.uint8)) for n, pixels, _ in found
    )
    workers = {worker for _, _, worker in found}
    assert (os.getpid() in workers) == (processes == 0)
    with pytest.raises(ValueError, match="no such picture"):
        next(batches)


@pytest.mark.long
def test_several_processes_take_turns_in_the_order_of_numbers() -> None:
    batches = stream(Elsewhere(partial(numbered, 3), 3), 10, 1)
    found = list(itertools.islice(batches, 9))
    assert [number for number, _, _ in found] == list(range(10, 19))
    workers = {worker for _, _, worker in found}
    assert len(workers) == 3
    batches.close()  # type: ignore[attr-defined]
    assert not any(map(psutil.pid_exists, workers))


PROGRAM = """
import time
from functools import partial
from tests.training.test_batches import numbered
from volseg.training.batches import Elsewhere, stream
if __name__ == "__main__":
    batches = stream(Elsewhere(partial(numbered, 3), 2), 10)
    print(next(batches)[2], next(batches)[2], flush=True)
    time.sleep(600)
"""


@pytest.mark.long
def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, tmp_path / "program.py"],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    ) as parent:
        assert parent.stdout is not None
        workers = [int(text) for text in parent.stdout.readline().split()]
        assert len(set(workers)) == 2
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 60
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(map(psutil.pid_exists, workers))
