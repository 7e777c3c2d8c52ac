"""micro-sam's side of the comparison; runs in micro-sam's own environment.

`python microsam.py TASK.npz RESULT.npz --weights FOLDER --projection points` reads embeddings and
seeds, follows every object with `segment_mask_in_volume`, and writes the masks' bits and figures.
It needs micro-sam, PyTorch and segment-anything, and volseg's source for `nano` alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))


def follow_all(task: Any, predictor: Any, projection: str, threshold: float) -> dict[str, Any]:
    """Every object of a task: packed masks, and what they cost."""
    from micro_sam.multi_dimensional_segmentation import segment_mask_in_volume

    embeddings = {
        "features": task["features"],
        "input_size": tuple(int(n) for n in task["input_size"]),
        "original_size": tuple(int(n) for n in task["original_size"]),
    }
    shape = tuple(int(n) for n in task["shape"])
    masks, failed, slices = [], 0, 0
    started = time.process_time()
    for z, seed in zip(task["seed_z"], task["seeds"], strict=True):
        volume = np.zeros(shape, np.uint8)
        volume[z] = seed
        try:
            answer = segment_mask_in_volume(
                volume, predictor, embeddings, np.array([int(z)]), stop_lower=False,
                stop_upper=False, iou_threshold=threshold, projection=projection,
            )  # fmt: skip
            volume = answer[0] if isinstance(answer, tuple) else answer
        except (ValueError, AssertionError, IndexError, RuntimeError) as error:
            print(f"object of slice {z}: {error!r}", file=sys.stderr)
            failed += 1
        masks.append(np.packbits(volume > 0))
        slices += int((volume > 0).any(axis=(1, 2)).sum()) - 1
    return {
        "masks": np.stack(masks),
        "cpu_seconds": time.process_time() - started,
        "slices": max(1, slices),
        "failed": failed,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--projection", default="points")
    parser.add_argument("--threshold", type=float, default=0.5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    import micro_sam
    from segment_anything import SamPredictor

    from tests.bench.peak import peak_mib
    from volseg.models.nano import load

    predictor = SamPredictor(load(folder=options.weights))
    found = follow_all(np.load(options.task), predictor, options.projection, options.threshold)
    masks = found.pop("masks")
    found |= {
        "peak_mib": peak_mib(),
        "version": str(getattr(micro_sam, "__version__", "unknown")),
    }
    np.savez(options.result, masks=masks, figures=json.dumps(found))


if __name__ == "__main__":
    main()
