"""Benchmark `real`: 3D Dice of prompted objects in real volumes, with `nano` behind propagation.

`python tests/bench/real.py [VOLUME ...]` prints one JSON line: mean 3D Dice over the bodies of at
least 200 voxels, with one point per object (on its middle slice), with two points there, and with
one point on each of two slices.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from volseg.propagation import (
    Candidates,
    Context,
    Settings,
    SlicePrompt,
    Track,
    propagate,
    seed_masks,
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LEAST = 200


class PlainSamPredictor:
    """`segment_anything.SamPredictor` over the slices of a volume, one whole slice at a time.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
    volume : (z, y, x) array
        Rendered to 8 bits between its 1st and 99.8th percentile.
    """

    def __init__(self, sam: Any, volume: np.ndarray) -> None:
        from segment_anything import SamPredictor

        low, high = np.percentile(volume, (1, 99.8))
        scaled = np.clip((volume.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
        self.pixels = (scaled * 255).astype(np.uint8)
        self.shape = volume.shape
        self.sam = SamPredictor(sam)
        self.decodes = 0
        self._features: dict[int, Any] = {}

    def _look_at(self, z: int) -> None:
        if z not in self._features:
            self.sam.set_image(np.repeat(self.pixels[z][..., None], 3, axis=2))
            self._features[z] = self.sam.features
        self.sam.features = self._features[z]

    def predict(self, z: int, prompts: Sequence[SlicePrompt]) -> list[Candidates]:
        self._look_at(z)
        out = []
        for prompt in prompts:
            self.decodes += 1
            given: dict[str, Any] = {}
            if len(prompt.points):
                given["point_coords"] = np.asarray(prompt.points)[:, ::-1] + 0.5
                given["point_labels"] = np.asarray(prompt.point_labels)
            if prompt.box is not None:
                y0, x0, y1, x1 = prompt.box
                given["box"] = np.array([x0, y0, x1, y1])
            masks, scores, _ = self.sam.predict(multimask_output=True, **given)
            out.append(Candidates(masks, np.clip(scores, 0, 1)))
        return out


def points_of(body: np.ndarray, how: str) -> dict[int, SlicePrompt]:
    """Prompts for one body (z, y, x) bool: its deepest points on one slice or on two."""
    zs = np.flatnonzero(body.any((1, 2)))
    if how == "slices":
        chosen = [int(zs[len(zs) // 3]), int(zs[(2 * len(zs)) // 3])]
    else:
        chosen = [int(zs[len(zs) // 2])]
    prompts = {}
    for z in chosen:
        deep = ndimage.distance_transform_edt(np.pad(body[z], 1))[1:-1, 1:-1]
        points = [np.unravel_index(deep.argmax(), deep.shape)]
        if how == "two":
            inside = np.argwhere(deep > 0.5 * deep.max())
            far = ((inside - points[0]) ** 2).sum(1)
            points.append(tuple(inside[far.argmax()]))
        prompts[z] = SlicePrompt(np.array(points, float), np.ones(len(points), int))
    return prompts


def dice(track: Track, body: np.ndarray) -> float:
    both = found = 0
    for z in track.slices:
        (y0, x0), mask = track.window(z)
        found += int(mask.sum())
        both += int((mask & body[z, y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]]).sum())
    return 2 * both / max(1, found + int(body.sum()))


def measure(
    name: str,
    how: str,
    settings: Settings,
    predictor: PlainSamPredictor | None = None,
    most: int | None = None,
) -> dict[str, Any]:
    """Mean Dice over the bodies of one volume."""
    raw = tifffile.imread(DATA / name / "raw.tif")
    labels = tifffile.imread(DATA / name / "labels.tif")
    if predictor is None:
        from volseg.sam.nano import load

        predictor = PlainSamPredictor(load(), raw)
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    ids = [int(i) for i, n in zip(ids, counts, strict=True) if n >= LEAST][:most]
    prompts = {i: points_of(labels == i, how) for i in ids}
    began, before = time.process_time(), predictor.decodes
    context = Context(prompts)
    seeds = seed_masks(predictor, prompts, settings, context=context)
    masks = {i: {z: m for z, (m, _) in of.items()} for i, of in seeds.items()}
    tracks = propagate(predictor, masks, settings, prompts=prompts)
    scores, seed_scores, extra = {}, [], []
    for i in ids:
        body = labels == i
        scores[i] = dice(tracks[i], body) if i in tracks else 0.0
        zs = np.flatnonzero(body.any((1, 2)))
        if i in tracks:
            extra.append(len([z for z in tracks[i].slices if not zs[0] <= z <= zs[-1]]))
        for z, mask in masks[i].items():
            here = mask.full(raw.shape[1:])
            seed_scores.append((here & body[z]).sum() / max(1, (here | body[z]).sum()))
    return {
        "volume": name,
        "objects": len(ids),
        "dice": round(float(np.mean(list(scores.values()))), 3),
        "median": round(float(np.median(list(scores.values()))), 3),
        "seed_iou": round(float(np.mean(seed_scores)), 3),
        "slices_beyond": round(float(np.mean(extra)), 2) if extra else 0,
        "decodes_per_object": round((predictor.decodes - before) / max(1, len(ids)), 1),
        "cpu_seconds": round(time.process_time() - began, 1),
        "each": {i: round(v, 2) for i, v in scores.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volumes", nargs="*", default=["nuclei_ovule_1135", "nuclei_stardist3d"])
    parser.add_argument("--most", type=int, default=None, help="only so many objects")
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    from volseg.sam.nano import load

    out: dict[str, Any] = {"benchmark": "real", "target": {"one": 0.60}}
    for name in chosen.volumes:
        predictor = PlainSamPredictor(load(), tifffile.imread(DATA / name / "raw.tif"))
        for how in ("one", "two", "slices"):
            result = measure(name, how, Settings(), predictor, chosen.most)
            result.pop("each")
            out[f"{name}, {how}"] = result
    print(json.dumps(out))


if __name__ == "__main__":
    main()
