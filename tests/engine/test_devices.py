"""Which GPUs a job sees."""

from __future__ import annotations

import os

import pytest

from volseg.engine.devices import VISIBLE, local_gpus, on_device
from volseg.errors import InputError


@pytest.fixture(autouse=True)
def _four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "4,5,6,7")


@pytest.mark.parametrize(
    ("device", "seen"),
    [(None, "4,5,6,7"), ("cpu", ""), ("cuda", "4,5,6,7"), ("cuda:0", "4"), ("cuda:3", "7")],
)
def test_a_device_is_seen_alone_and_only_inside(device: str | None, seen: str) -> None:
    with on_device(device):
        assert os.environ[VISIBLE] == seen
        assert local_gpus() == [part for part in seen.split(",") if part]
    assert os.environ[VISIBLE] == "4,5,6,7"


@pytest.mark.parametrize(
    ("device", "cluster", "told"),
    [
        ("cuda:4", None, "numbered 0 to 3"),
        ("gpu", None, "expected cpu, cuda, or cuda:0"),
        ("cpu", "tcp://host:1", "decide for themselves"),
    ],
)
def test_what_can_t_be_is_told(device: str, cluster: str | None, told: str) -> None:
    with pytest.raises(InputError, match=told), on_device(device, cluster):
        raise AssertionError


def test_no_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "")
    with pytest.raises(InputError, match="no NVIDIA GPU"), on_device("cuda"):
        raise AssertionError
