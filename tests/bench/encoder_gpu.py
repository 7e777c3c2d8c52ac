"""Benchmark `encoder-gpu`: images and prompts per second on a CUDA device, in bfloat16, batched.

`python tests/bench/encoder_gpu.py [--kind vit_b] [--batch 16] [--seconds 5]` prints one JSON line;
without a device it says so there, and that is no error. `share_of_rate` is the encoder's floating
point operations a second, as shares of what a large matrix product in bfloat16 reaches on the same
device in the same process. Weights are random: times don't depend on them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.embed import random_vit  # noqa: E402
from volseg.models.model import Model, TilePrompt  # noqa: E402


def per_second(work: Callable[[], Any], units: int, seconds: float) -> float:
    """Units of work a second; each call does `units` of them."""
    work()
    torch.cuda.synchronize()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        work()
        torch.cuda.synchronize()
        count += 1
    return count * units / (time.perf_counter() - started)


def operations(kind: str) -> int:
    """Floating point operations of one forward of the encoder, two per multiply-add."""
    from segment_anything import sam_model_registry
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        encoder = sam_model_registry[kind]().image_encoder.eval()
        pixels = torch.zeros(1, 3, 1024, 1024)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(pixels)
    return int(counter.get_total_flops())


def matrix_rate(device: torch.device, seconds: float, side: int = 8192) -> float:
    """Operations a second of a bfloat16 matrix product."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    b = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return per_second(lambda: a @ b, 1, seconds) * 2 * side**3


def encoder_rates(model: Model, batch: int, seconds: float) -> tuple[float, float]:
    """Images a second: of the forward alone, and of `Model.encode` with both transfers."""
    size = model.spec.img_size
    pixels = torch.randn(batch, 3, size, size, device=model.device)

    def forward() -> None:
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16):
            model.network.module.image_encoder(pixels)

    images = np.random.default_rng(0).integers(0, 255, (batch, 3, size, size), np.uint8)
    return (
        per_second(forward, batch, seconds),
        per_second(lambda: model.encode(images), batch, seconds),
    )


def decoder_rate(model: Model, batch: int, seconds: float) -> float:
    """Objects times slices a second: one point each, masks back on the host."""
    rng = np.random.default_rng(0)
    embedding = np.zeros(1, model.spec.embedding_dtype)
    embedding["image"] = rng.normal(0, 0.1, embedding["image"].shape)
    prompts = [
        TilePrompt(rng.uniform(0, model.spec.img_size, (1, 2)).astype(np.float32), np.ones(1, int))
        for _ in range(batch)
    ]
    return per_second(lambda: model.decode(embedding[0], prompts), batch, seconds)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="vit_b", choices=["vit_b", "vit_l", "vit_h"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--decode-batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "encoder-gpu", "target": {"share_of_rate": 0.35}}
    if not torch.cuda.is_available():
        print(json.dumps(result | {"skipped": "no CUDA device"}))
        return
    made = random_vit(options.kind)
    model = Model(
        made.spec, made.network, "cuda",
        encode_batch=options.batch, decode_batch=options.decode_batch,
    )  # fmt: skip
    rate = matrix_rate(model.device, options.seconds)
    forward, whole = encoder_rates(model, options.batch, options.seconds)
    flops = operations(options.kind)
    result |= {
        "device": torch.cuda.get_device_name(),
        "kind": options.kind,
        "batch": options.batch,
        "images_per_second": round(forward, 1),
        "images_per_second_with_transfers": round(whole, 1),
        "gflop_per_image": round(flops / 1e9, 1),
        "matrix_tflops": round(rate / 1e12, 1),
        "share_of_rate": round(forward * flops / rate, 4),
        "objects_and_slices_per_second": round(
            decoder_rate(model, options.decode_batch, options.seconds), 1
        ),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
