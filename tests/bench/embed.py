"""Benchmark `embed`: `embed_volume` on 2048 x 2048 slices from a Zarr store against the encoder
alone on the same tiles.

`python tests/bench/embed.py [--slices 16] [--side 2048 1388] [--model nano] [--rounds 3]` prints a
JSON line for each size: CPU time and wall time of both, in one process, alternating. The raw side holds the
rendered tiles in memory and computes as the model does: one image per thread.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from volseg.features import SlabReader, TileEncoder, embed_volume  # noqa: E402
from volseg.features.rendering import measure_rendering  # noqa: E402
from volseg.features.tiling import Tiling  # noqa: E402
from volseg.images.create import create_volume  # noqa: E402
from volseg.images.image import Volume, open_volume  # noqa: E402
from volseg.models.model import Model  # noqa: E402
from volseg.models.registry import load_model  # noqa: E402

SIDES = (2048, 1388)
"""The second is as most slices are: no power of two, no multiple of a chunk."""


def random_vit(kind: str) -> Model:
    """A ViT with random weights, where no checkpoint lies here."""
    from dataclasses import replace

    from segment_anything import sam_model_registry

    from volseg.models.registry import find_model
    from volseg.models.sam.network import SamNetwork

    network = SamNetwork(sam_model_registry[kind](), offers_single=True)
    return Model(replace(find_model(kind), sha256="0" * 64), network)


def make_volume(folder: Path, slices: int, side: int) -> Volume:
    """A volume of noise over waves, uint8."""
    shape = (slices, side, side)
    y, x = np.mgrid[:side, :side]
    waves = 100 + 50 * np.sin(y / 17) * np.cos(x / 23)
    random = np.random.default_rng(0)
    voxels = np.stack([waves + random.normal(0, 20, (side, side)) for _ in range(slices)])
    made = create_volume(
        folder / "v.zarr", axes="zyx", shape=shape, dtype="uint8", scale_um=(1, 1, 1),
        chunks=(16, 512, 512), levels=1,
    )  # fmt: skip
    made.write(((0, slices), (0, side), (0, side)), voxels.clip(0, 255).astype(np.uint8))
    return open_volume(folder / "v.zarr", writable=True)


def measured(work: Callable[[], Any]) -> tuple[float, float]:
    """CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def run(model: Model, name: str, slices: int, side: int, rounds: int) -> None:
    """Measure on a volume of some slices of side × side voxels, and print."""
    with tempfile.TemporaryDirectory() as folder:
        volume = make_volume(Path(folder), slices, side)
        rendering = measure_rendering(volume)
        tiling = Tiling((side, side), model.spec.img_size)
        encoder = TileEncoder(model, tiling, rendering, SlabReader(volume, 0, 0, (0,)))
        images = [encoder.images((0, slices), tile) for tile in tiling.tiles]
        cache = Path(folder) / "v.zarr" / "volseg"

        def raw() -> None:
            for one in images:
                model.encode(one)

        raw()  # warm
        pairs = []
        for _ in range(rounds):
            shutil.rmtree(cache, ignore_errors=True)
            pairs.append((measured(lambda: embed_volume(volume, model)), measured(raw)))
        size = sum(p.stat().st_size for p in cache.rglob("*") if p.is_file())
    result = {
        "benchmark": "embed",
        "model": name,
        "side": side,
        "embeddings": slices * len(tiling.tiles),
        "cpu_ratio": round(statistics.median(a[0] / b[0] for a, b in pairs), 4),
        "wall_ratio": round(statistics.median(a[1] / b[1] for a, b in pairs), 4),
        "wall_seconds": round(statistics.median(a[1] for a, _ in pairs), 2),
        "cache_mib": round(size / 2**20, 1),
    }
    print(json.dumps(result))


def main() -> None:
    """Run it, a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--side", type=int, nargs="+", default=SIDES)
    parser.add_argument("--model", default="nano", help="nano, or vit_b with random weights")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = load_model("nano") if options.model == "nano" else random_vit(options.model)
    for side in options.side:
        run(model, options.model, options.slices, side, options.rounds)


if __name__ == "__main__":
    main()
