"""The GPUs of this machine, and which of them a job may see."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from volseg.errors import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""What CUDA, and so torch here and in local workers, goes by."""


def local_gpus() -> list[str]:
    """Indices of the visible NVIDIA devices, without importing torch."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return [part for part in visible.split(",") if part.strip() and part.strip() != "-1"]
    devices = sorted(Path("/dev").glob("nvidia[0-9]*"), key=lambda path: int(path.name[6:]))
    return [str(i) for i in range(len(devices))]


@contextmanager
def on_device(device: str | None, cluster: str | None = None) -> Iterator[None]:
    """Compute on a device inside a `with` block, in this process and in local workers that it starts.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` (all visible GPUs), ``cuda:1`` (the second of them); None: GPUs where there are any.
    cluster
        As in `volseg.engine.open_cluster`.

    Raises
    ------
    InputError
        Another text, no such GPU, or a cluster elsewhere, whose workers decide by themselves.
    """
    if device is None:
        yield
        return
    if cluster not in (None, "local"):
        raise InputError(
            f"--device {device}: workers of {cluster} decide for themselves; start them with {VISIBLE} set instead"
        )
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = ",".join(_chosen(device))
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def _chosen(device: str) -> list[str]:
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise InputError(f"--device {device!r}: expected cpu, cuda, or cuda:0")
    if device == "cpu":
        return []
    gpus = local_gpus()
    if not gpus:
        raise InputError(f"--device {device}: this machine has no NVIDIA GPU that is visible here")
    if match[1] is None:
        return gpus
    if int(match[1]) >= len(gpus):
        raise InputError(f"--device {device}: the GPUs here are numbered 0 to {len(gpus) - 1}")
    return [gpus[int(match[1])]]
