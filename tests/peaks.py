"""How much memory blocks really take: resident bytes at a block's peak beyond those before it (Linux)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from volseg.pipelines.segmentation.label_stages import ComposeStage, PyramidStage
from volseg.pipelines.segmentation.mask_stages import PropagateStage, SeedStage, SettleStage
from volseg.pipelines.segmentation.table_stage import ObjectsStage

STAGES = (SeedStage, PropagateStage, SettleStage, ComposeStage, PyramidStage, ObjectsStage)
_KIB = 1024


@contextmanager
def block_peaks(peaks: dict[str, int]) -> Iterator[None]:
    """Note the largest peak of each stage's blocks, bytes, of what runs inside in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for stage in STAGES:
            patch.setattr(stage, "compute", _measured(stage.compute, peaks))
        yield


def _measured(compute: Any, peaks: dict[str, int]) -> Any:
    def measured(self: Any, block: Any, context: Any) -> Any:
        before = _settle()
        result = compute(self, block, context)
        taken = _status("VmHWM") - before
        peaks[self.name] = max(peaks.get(self.name, 0), taken)
        return result

    return measured


def _settle() -> int:
    """Give back what is free, start the peak anew (proc(5), clear_refs), and return what is left, bytes."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * _KIB
    raise RuntimeError(f"the system does not tell {name}")
