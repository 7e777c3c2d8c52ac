"""The faster of two precisions is taken, compiling is taken back where it doesn't pay, batches fit into memory."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from volseg.errors import InputError
from volseg.training.precision import (
    choose_precision,
    compile_if_faster,
    computing_in,
    images_that_fit,
)

CPU = torch.device("cpu")


def busy(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@pytest.mark.parametrize("faster", [False, True])
def test_the_faster_precision_is_taken_and_told(faster: bool) -> None:
    found = choose_precision(lambda bfloat16: busy(0.01 if bfloat16 == faster else 0.02), CPU)
    assert found.bfloat16 == faster
    assert set(found.measured) == {"float32", "bfloat16"}
    assert found.seconds == min(found.measured.values())
    assert found.record()["precision"] == found.name == ("bfloat16" if faster else "float32")


def test_equal_times_mean_float32_and_a_hopeless_one_runs_once() -> None:
    calls: list[bool] = []

    def step(bfloat16: bool) -> None:
        calls.append(bfloat16)
        busy(0.1 if bfloat16 else 0.01)

    assert not choose_precision(step, CPU).bfloat16
    assert calls == [False, False, False, True]
    assert not choose_precision(lambda _: busy(0.01), CPU).bfloat16


def test_a_given_precision_is_not_put_to_the_test() -> None:
    calls: list[bool] = []
    assert choose_precision(calls.append, CPU, "bfloat16").bfloat16
    assert set(calls) == {True}
    with pytest.raises(InputError, match="float16"):
        choose_precision(calls.append, CPU, "float16")


def test_layers_compute_in_it() -> None:
    layer, x = nn.Linear(4, 4), torch.ones(1, 4)
    for bfloat16, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with computing_in(CPU, bfloat16=bfloat16):
            assert layer(x).dtype == dtype


@pytest.mark.long
def test_compiling_that_does_not_pay_or_fails_is_taken_back() -> None:
    layer, x = nn.Linear(4, 4), torch.ones(1, 4)
    names = list(layer.state_dict())

    def slower_once_compiled() -> None:
        layer(x)
        busy(0.02 if layer._compiled_call_impl else 0.01)

    found = compile_if_faster(layer, slower_once_compiled, CPU, backend="eager")
    assert found["compiled"] > found["plain"]
    assert layer._compiled_call_impl is None

    def fails_once_compiled() -> None:
        if layer._compiled_call_impl:
            raise RuntimeError("no compiler here")
        busy(0.01)

    assert set(compile_if_faster(layer, fails_once_compiled, CPU, backend="eager")) == {"plain"}
    assert layer._compiled_call_impl is None

    def faster_once_compiled() -> None:
        layer(x)
        busy(0.01 if layer._compiled_call_impl else 0.03)

    compile_if_faster(layer, faster_once_compiled, CPU, backend="eager")
    assert layer._compiled_call_impl is not None
    assert list(layer.state_dict()) == names


@pytest.mark.parametrize(
    ("peaks", "room", "most", "images"),
    [
        ({1: 300, 3: 500}, 2200, 32, 20),
        ({1: 300, 3: 500}, 2200, 8, 8),
        ({3: 500, 1: 300}, 250, 32, 1),  # not even one: try it nonetheless
        ({1: 300, 3: 300}, 1000, 16, 16),
    ],
)
def test_images_follow_from_two_peaks(
    peaks: dict[int, int], room: int, most: int, images: int
) -> None:
    assert images_that_fit(peaks, room, most) == images
