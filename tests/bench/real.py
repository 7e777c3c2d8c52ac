"""Benchmark `real`: 3D Dice of prompted objects in real volumes, with `nano` behind propagation.

`python tests/bench/real.py [VOLUME ...]` prints one JSON line: mean 3D Dice over the bodies of at
least 200 voxels, with one point per object (on its middle slice), with two points there, and with
one point on each of two slices; of volumes, or slices of them, on which nano never trained.
`--weights FOLDER` measures other weights of nano.
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

from volseg.models.spec import IOU_SCORES
from volseg.propagation import (
    Candidates,
    Context,
    MaskWindow,
    Settings,
    SlicePredictor,
    SlicePrompt,
    Track,
    propagate,
    seed_masks,
)
from volseg.propagation.predictor import brightness_of

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

    def features(self, z: int) -> np.ndarray:
        """The embedding (1, C, E, E) of a slice."""
        self._look_at(z)
        return np.asarray(self._features[z].numpy())

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

    def brightness(self, z: int, mask: MaskWindow) -> tuple[float, ...]:
        """Mean of a slice under a mask, 0..1."""
        y0, x0, y1, x1 = mask.box
        return (float(self.pixels[z, y0:y1, x0:x1][mask.mask].mean()) / 255,)


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


class Counted:
    """A predictor that counts what it is asked."""

    def __init__(self, predictor: SlicePredictor) -> None:
        self.predictor, self.shape, self.decodes = predictor, predictor.shape, 0

    def predict(self, z: int, prompts: Sequence[SlicePrompt]) -> list[Candidates]:
        self.decodes += len(prompts)
        return self.predictor.predict(z, prompts)

    def brightness(self, z: int, mask: MaskWindow) -> tuple[float, ...]:
        """Of the predictor."""
        return brightness_of(self.predictor, z, mask)


def load_volume(name: str, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and labels (z, y, x) from slice `first` on."""
    raw = tifffile.imread(DATA / name / "raw.tif")[first:]
    return raw, tifffile.imread(DATA / name / "labels.tif")[first:]


def bodies_of(labels: np.ndarray, most: int | None = None) -> list[int]:
    """Ids of the bodies of at least 200 voxels, evenly chosen where there are more than `most`."""
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    found = [int(i) for i, n in zip(ids, counts, strict=True) if n >= LEAST]
    if most is not None and len(found) > most:
        found = [found[k] for k in np.linspace(0, len(found) - 1, most).astype(int)]
    return found


def measure(
    predictor: Counted, labels: np.ndarray, ids: Sequence[int], how: str, settings: Settings
) -> dict[str, Any]:
    """Mean Dice over bodies of one volume."""
    prompts = {i: points_of(labels == i, how) for i in ids}
    began, before = time.process_time(), predictor.decodes
    seeds = seed_masks(predictor, prompts, settings, context=Context(prompts))
    masks = {i: {z: m for z, (m, _) in of.items()} for i, of in seeds.items()}
    tracks = propagate(predictor, masks, settings, prompts=prompts)
    seconds = time.process_time() - began
    scores, seed_scores, extra, lacking = {}, [], [], []
    for i in ids:
        body = labels == i
        scores[i] = dice(tracks[i], body) if i in tracks else 0.0
        zs = set(np.flatnonzero(body.any((1, 2))).tolist())
        found = set(tracks[i].slices) if i in tracks else set()
        extra.append(len([z for z in found if not min(zs) <= z <= max(zs)]))
        lacking.append(len(zs - found))
        for z, mask in masks[i].items():
            here = mask.full(labels.shape[1:])
            seed_scores.append((here & body[z]).sum() / max(1, (here | body[z]).sum()))
    slices = sum(len(track) for track in tracks.values())
    return {
        "objects": len(ids),
        "dice": round(float(np.mean(list(scores.values()))), 3),
        "median": round(float(np.median(list(scores.values()))), 3),
        "seed_iou": round(float(np.mean(seed_scores)), 3),
        "slices_beyond": round(float(np.mean(extra)), 2),
        "slices_lacking": round(float(np.mean(lacking)), 2),
        "decodes_per_object": round((predictor.decodes - before) / max(1, len(ids)), 1),
        "ms_per_object_and_slice": round(1e3 * seconds / max(1, slices), 1),
    }


UNSEEN = {"nuclei_ovule_1136": 0, "nuclei_stardist3d": 24, "fibsem_medulla": 105, "mr_cord_t1": 63}
"""Volumes, from the slice on that nano did not train on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volumes", nargs="*", default=list(UNSEEN), help="NAME or NAME:FIRST_SLICE")
    parser.add_argument("--how", nargs="*", default=["one", "two", "slices"])
    parser.add_argument("--most", type=int, default=40, help="only so many bodies of a volume")
    parser.add_argument("--zoom", type=float, default=1.0)
    parser.add_argument("--weights", type=Path, help="folder of another nano's weights")
    parser.add_argument("--settings", type=json.loads, default={}, help="fields, as JSON")
    chosen = parser.parse_args()
    import torch

    from volseg.features.rendering import rendering_of
    from volseg.models.model import Model
    from volseg.models.nano import load
    from volseg.models.registry import find_model
    from volseg.models.sam.network import SamNetwork
    from volseg.predict.slice_predictor import array_predictor

    torch.set_num_threads(1)
    model = Model(find_model("nano"), SamNetwork(load(folder=chosen.weights), offers_single=False))
    out: dict[str, Any] = {"benchmark": "real", "target": {"nuclei": 0.60}, "zoom": chosen.zoom}
    nuclei = []
    for given in chosen.volumes:
        name, _, first = given.partition(":")
        raw, labels = load_volume(name, int(first) if first else UNSEEN.get(name, 0))
        ids = bodies_of(labels, chosen.most)
        predictor = Counted(array_predictor(raw, model, rendering_of(raw), zoom=chosen.zoom))
        for how in chosen.how:
            result = measure(
                predictor, labels, ids, how, Settings(**{**IOU_SCORES, **chosen.settings})
            )
            out[f"{name}, {how}"] = result
            if name.startswith("nuclei") and how == "one":
                nuclei += [result["dice"]] * len(ids)
            print(f"{name}, {how}: {result}", file=sys.stderr, flush=True)
    if nuclei:
        out["nuclei_dice"] = round(float(np.mean(nuclei)), 3)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
