"""Benchmark `edit`: strokes, undo and flushes on remote labels, S3 server with 20 ms added latency.

`python tests/bench/edit.py [--shape Z Y X] [--larger N] [--latency MS]` prints a JSON line for each shape. Requests are
counted by the proxy. The same is measured on a volume `--larger` times as large (along y), which must cost the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SHAPES = ((64, 2048, 2048), (61, 1388, 1340))
"""The second is as most volumes are: no power of two, no multiple of a chunk."""
MOVES = 40
RADIUS = 10
STROKES = 5


def disk() -> np.ndarray:
    """Return a brush."""
    span = np.arange(-RADIUS, RADIUS + 1)
    mask: np.ndarray = span[:, None] ** 2 + span[None] ** 2 <= RADIUS**2
    return mask


def make(url: str, shape: tuple[int, int, int]) -> Any:
    """Make empty labels of three levels; a few chunks are filled, as editing starts from something."""
    import volseg
    from volseg.images.create import create_volume
    from volseg.images.pyramid import update_pyramid

    create_volume(url, axes="zyx", shape=shape, dtype="uint8", scale_um=(1, 1, 1), levels=3)
    labels = volseg.open(url).create_labels("cells")
    region = labels.grid.whole(((24, 40), (600, 1100), (600, 1100)))
    block = np.zeros([b - a for a, b in region], labels.dtype)
    rng = np.random.default_rng(0)
    for label in range(1, 40):
        z, y, x = (rng.integers(0, n - 1) for n in block.shape)
        block[max(0, z - 4) : z + 4, max(0, y - 30) : y + 30, max(0, x - 30) : x + 30] = label
    labels.write_objects(region, block)
    update_pyramid(labels, region)
    return labels


def stroke(editor: Any, number: int, label: int) -> list[float]:
    """Paint one stroke of forty moves and return what each took, ms."""
    mask, times = disk(), []
    with editor.stroke():
        for move in range(MOVES):
            start = time.perf_counter()
            editor.paint(30, mask, label, origin=(700 + 30 * number, 640 + 8 * move))
            times.append((time.perf_counter() - start) * 1e3)
    return times


def measure(labels: Any, proxy: Any) -> dict[str, Any]:
    """Measure an editing session."""
    proxy.count()
    start = time.perf_counter()
    editor = labels.edit("bench", flush_after=None)
    opening_s, opening = time.perf_counter() - start, proxy.count()
    box = (slice(24, 40), slice(640, 960), slice(600, 1000))
    editor.read(tuple((s.start, s.stop) for s in box))
    loading = proxy.count()
    moves: list[float] = []
    strokes: list[float] = []
    undos: list[float] = []
    for number in range(STROKES):
        start = time.perf_counter()
        moves += stroke(editor, number, 100 + number)
        strokes.append((time.perf_counter() - start) * 1e3)
    for _ in range(STROKES):
        start = time.perf_counter()
        editor.undo()
        undos.append((time.perf_counter() - start) * 1e3)
    in_memory = proxy.count()
    editor.discard()
    flushes = []
    for number in range(STROKES):
        stroke(editor, number, 200 + number)
        touched = {d.place(labels.grid.chunk) for o in editor.pending.operations for d in o.deltas}
        start = time.perf_counter()
        editor.flush()
        flushes.append((time.perf_counter() - start, proxy.count(), len(touched)))
    editor.undo()
    editor.flush()
    undo_flush = proxy.count()
    start = time.perf_counter()
    editor.close()
    closing_s, closing = time.perf_counter() - start, proxy.count()
    seconds, counted, touched = flushes[-1]
    return {
        "open": {"s": round(opening_s, 3), "requests": dict(opening)},
        "load_requests": dict(loading),
        "stroke_requests": sum(in_memory.values()),
        "move_ms": {"median": _r(statistics.median(moves)), "worst": _r(max(moves))},
        "stroke_ms_per_move": _r(statistics.median(strokes) / MOVES),
        "undo_ms": {"median": _r(statistics.median(undos)), "worst": _r(max(undos))},
        "flush": {"s": round(seconds, 3), "requests": dict(counted), "chunks": touched},
        "first_flush_requests": dict(flushes[0][1]),
        "undo_flush_requests": dict(undo_flush),
        "close": {"s": round(closing_s, 3), "requests": dict(closing)},
    }


def _r(value: float) -> float:
    return round(value, 3)


def run(shape: tuple[int, int, int], larger: int, latency: float) -> None:
    """Measure on labels of one shape, and on `larger` times as many voxels, and print."""
    from tests.bench.slow_s3 import SlowS3
    from tests.s3_server import S3Server

    server = S3Server.start()
    try:
        at = urlsplit(server.endpoint)
        proxy = SlowS3(str(at.hostname), int(at.port or 80), latency / 1e3)
        os.environ.update(server.environment)
        bucket = server.make_bucket("bench-edit")
        small = shape
        large = (small[0], small[1] * larger, small[2])
        make(f"s3://{bucket}/small.zarr", small)
        make(f"s3://{bucket}/large.zarr", large)
        os.environ["AWS_ENDPOINT_URL"] = proxy.start()
        import volseg

        results = {
            name: measure(volseg.open(f"s3://{bucket}/{name}.zarr").labels["cells"], proxy)
            for name in ("small", "large")
        }
    finally:
        server.stop()
    ratio = sum(results["large"]["flush"]["requests"].values()) / max(
        1, sum(results["small"]["flush"]["requests"].values())
    )
    print(
        json.dumps(
            {
                "bench": "edit",
                "shape": small,
                "larger_by": larger,
                "latency_ms": latency,
                **results["small"],
                "larger": results["large"],
                "larger_flush_requests_ratio": round(ratio, 3),
            }
        )
    )


def main() -> None:
    """Run and print, a line for each shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, action="append", help="default: two shapes")
    parser.add_argument("--larger", type=int, default=16)
    parser.add_argument("--latency", type=float, default=20.0)
    arguments = parser.parse_args()
    for z, y, x in arguments.shape or SHAPES:
        run((z, y, x), arguments.larger, arguments.latency)


if __name__ == "__main__":
    main()
