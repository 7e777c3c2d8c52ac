"""Benchmark `encoder`: volseg's ViT forward against `segment_anything`'s, CPU time and growth of
peak memory.

`python tests/bench/encoder.py [--kind vit_b] [--pairs 7] [--threads N]` prints one JSON line.
Times are of alternating pairs in one process; each memory figure is of a process of its own.
Weights are random: neither depends on them. Where the machine is lent for minutes only, `--kept
FILE` gathers the pairs of several short runs (`--pairs 3 --without memory`, then `--pairs 0`).
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from segment_anything import sam_model_registry
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.peak import peak_mib  # noqa: E402
from volseg.models.sam.attention import fuse  # noqa: E402


def encoder(kind: str) -> nn.Module:
    """The image encoder with random weights, position terms included."""
    torch.manual_seed(0)
    made = sam_model_registry[kind]().image_encoder.eval().requires_grad_(False)
    for name, parameter in made.named_parameters():
        if "rel_pos" in name:
            nn.init.normal_(parameter, std=0.1)
    return made


def forward_seconds(model: nn.Module, pixels: torch.Tensor) -> float:
    """CPU seconds of one forward, all threads."""
    started = time.process_time()
    with torch.inference_mode():
        model(pixels)
    return time.process_time() - started


def memory_growth(kind: str, which: str) -> int:
    """Bytes by which one forward raises this process's peak memory."""
    model = encoder(kind)
    if which == "volseg":
        fuse(model)
    pixels = torch.zeros(1, 3, 1024, 1024)
    before = peak_mib()
    forward_seconds(model, pixels)
    return int((peak_mib() - before) * 2**20)


def measured_growth(kind: str, which: str, threads: int) -> int:
    """`memory_growth` in a process of its own."""
    command = [sys.executable, __file__, "--kind", kind, "--memory-of", which]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def times(kind: str, count: int, kept: Path | None) -> dict[str, Any]:
    """Alternating pairs of forwards, with those that earlier runs kept."""
    record: dict[str, Any] = {"pairs": [], "relative_error": 0.0}
    if kept is not None and kept.is_file():
        record = json.loads(kept.read_text())
    if count:
        stock = encoder(kind)
        ours = copy.deepcopy(stock)
        fuse(ours)
        pixels = torch.randn(1, 3, 1024, 1024)
        with torch.inference_mode():
            expected, found = stock(pixels), ours(pixels)  # also warms both up
        error = float((expected - found).abs().max() / expected.abs().max())
        record["relative_error"] = max(error, record["relative_error"])
        for _ in range(count):
            pair = forward_seconds(ours, pixels), forward_seconds(stock, pixels)
            record["pairs"].append(pair)
            if kept is not None:
                kept.write_text(json.dumps(record))
    pairs = record["pairs"]
    return {
        "time_ratio": round(statistics.median(a / b for a, b in pairs), 4),
        "time_ratios": sorted(round(a / b, 3) for a, b in pairs),
        "cpu_seconds": round(statistics.median(a for a, _ in pairs), 3),
        "cpu_seconds_segment_anything": round(statistics.median(b for _, b in pairs), 3),
        "relative_error": record["relative_error"],
    }


def memory(kind: str, threads: int) -> dict[str, Any]:
    """Growth of peak memory by one forward of either."""
    growth = {
        which: measured_growth(kind, which, threads) for which in ("volseg", "segment_anything")
    }
    return {
        "memory_ratio": round(growth["volseg"] / growth["segment_anything"], 4),
        "growth_mib": round(growth["volseg"] / 2**20, 1),
        "growth_mib_segment_anything": round(growth["segment_anything"] / 2**20, 1),
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="vit_b", choices=["vit_b", "vit_l", "vit_h"])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--kept", type=Path, help="file in which pairs of several runs gather")
    parser.add_argument("--without", choices=["memory"], help="time only")
    parser.add_argument("--memory-of", choices=["volseg", "segment_anything"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(memory_growth(options.kind, options.memory_of))
        return
    result = {"benchmark": "encoder", "kind": options.kind, "threads": options.threads}
    result |= times(options.kind, options.pairs, options.kept)
    if options.without != "memory":
        result |= memory(options.kind, options.threads)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
