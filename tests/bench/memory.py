"""Benchmark `memory`: peak memory for four times the slices, against that for the slices once.

`python tests/bench/memory.py [--what propagate] [--slices 288] [--side 512 389]` prints a JSON line for each size.
`propagate` follows four objects with `nano` through a volume on disk, embeddings made and stored on
the way; `embed` fills the cache ahead. Each figure is the peak resident memory of a process of its
own. What is kept in memory has bounds, 256 MiB of embeddings and 128 MiB of voxels. `propagate` takes
1 MiB of the one and 0.5 of the other a slice, so that 288 slices fill both: the ratio tells whether
anything grows beside them. With fewer slices it tells how full they are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.peak import peak_mib  # noqa: E402
from volseg.images.create import create_volume  # noqa: E402
from volseg.images.image import open_volume  # noqa: E402

SIDES = (512, 389)
"""The second is as most slices are: no power of two, no multiple of a chunk."""
RADIUS = 30


def centres(side: int) -> list[tuple[float, float]]:
    """Where the four tubes of the volume stand: each in a tile of its own."""
    return [(side * y, side * x) for y in (0.24, 0.76) for x in (0.25, 0.74)]


def make_volume(path: Path, slices: int, side: int) -> None:
    """Four bright tubes through all slices, in noise; uint16."""
    made = create_volume(
        path, axes="zyx", shape=(slices, side, side), dtype="uint16", scale_um=(1, 1, 1),
        chunks=(8, 512, 512), levels=1,
    )  # fmt: skip
    y, x = np.ogrid[:side, :side]
    random = np.random.default_rng(0)
    slab = np.empty((8, side, side), np.uint16)
    noise = random.integers(2000, 5000, (side, side), np.uint16)
    for first in range(0, slices, 8):
        for k in range(8):
            slab[k] = np.roll(noise, (first + k) * 37, axis=1)
            for cy, cx in centres(side):
                drift = 3 * np.sin((first + k) / 9)
                slab[k][np.hypot(y - cy - drift, x - cx) < RADIUS] += 15000
        count = min(8, slices - first)
        made.write(((first, first + count), (0, side), (0, side)), slab[:count])


def propagate_all(path: Path, side: int) -> int:
    """Slices found, of all tubes."""
    from volseg.features.rendering import measure_rendering
    from volseg.models.registry import load_model
    from volseg.models.spec import IOU_SCORES
    from volseg.predict.slice_predictor import open_sam_predictor
    from volseg.propagation import Settings, propagate

    volume = open_volume(path, writable=True)
    depth = volume.levels[0].grid.shape[0]
    y, x = np.ogrid[:side, :side]
    seeds = {
        k + 1: {depth // 2: np.hypot(y - cy - 3 * np.sin(depth // 2 / 9), x - cx) < RADIUS}
        for k, (cy, cx) in enumerate(centres(side))
    }
    predictor = open_sam_predictor(volume, load_model("nano"), measure_rendering(volume))
    tracks = propagate(predictor, seeds, Settings(**IOU_SCORES))
    predictor.flush()
    return sum(len(track) for track in tracks.values())


def embed_all(path: Path, side: int) -> int:
    """Slices embedded."""
    from volseg.features import embed_volume

    volume = open_volume(path, writable=True)
    embed_volume(volume, "nano")
    return int(volume.levels[0].grid.shape[0])


WORK = {"propagate": propagate_all, "embed": embed_all}


def measure(what: str, path: Path, side: int) -> dict[str, Any]:
    """Peak MiB of a process that does it."""
    command = [sys.executable, __file__, "--what", what, "--side", str(side), "--in", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run(what: str, slices: int, side: int) -> None:
    """Measure slices of side × side voxels, and four times as many, and print."""
    results = []
    for count in (slices, 4 * slices):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "v.zarr"
            make_volume(path, count, side)
            results.append(measure(what, path, side))
    result = {
        "benchmark": "memory",
        "target": {"ratio": 1.05},
        "what": what,
        "side": side,
        "slices": [slices, 4 * slices],
        "ratio": round(results[1]["peak_mib"] / results[0]["peak_mib"], 4),
        "peak_mib": [round(r["peak_mib"], 1) for r in results],
        "slices_found": [r["found"] for r in results],
    }
    print(json.dumps(result))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=sorted(WORK), default="propagate")
    parser.add_argument("--slices", type=int, default=288)
    parser.add_argument("--side", type=int, nargs="+", default=SIDES)
    parser.add_argument("--in", dest="path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.path is not None:
        import torch

        torch.set_num_threads(1)
        found = WORK[options.what](options.path, options.side[0])
        print(json.dumps({"peak_mib": peak_mib(), "found": found}))
        return
    for side in options.side:
        run(options.what, options.slices, side)


if __name__ == "__main__":
    main()
