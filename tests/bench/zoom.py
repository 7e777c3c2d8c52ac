"""Benchmark `zoom`: `volseg segment --zoom auto` with one point per object, on real data that never trained nano.

`python tests/bench/zoom.py [ovule] [dsb] [kinds]` prints one JSON line: mean 3D Dice over the nuclei of
`nuclei_ovule_1136`; mean IoU of pictures of `nuclei_dsb2018` that validate, evenly chosen, over all their objects and
over their means; and, for every kind that validates, IoU of the first masks of a few objects at zoom 1 and at
the zoom that was found. The first two through the whole job, with the plan's zoom beside the score.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.real import DATA, load_volume
from volseg.models.spec import IOU_SCORES
from volseg.propagation import Context, Settings, SlicePrompt, seed_masks
from volseg.propagation.window import MaskWindow, iou
from volseg.training.pictures import entries, read_picture
from volseg.training.sets import SETS, data_set

SMALLEST = 30
"""Pixels of an object that counts, as in validation."""
TARGETS = {"ovule_dice": 0.72, "dsb_iou": 0.76}


def middle(mask: np.ndarray) -> tuple[float, float]:
    """The place (y, x) deepest inside a mask."""
    deep = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(deep.argmax()), deep.shape)
    return float(y), float(x)


def one_point_each(labels: np.ndarray) -> dict[str, Any]:
    """A prompts document: a point on the middle slice of every object of labels (z, y, x)."""
    objects = []
    for i in np.unique(labels[labels > 0]):
        zs = np.flatnonzero((labels == i).any((1, 2)))
        z = int(zs[len(zs) // 2])
        y, x = middle(labels[z] == i)
        objects.append({"id": int(i), "prompts": [{"z": z, "points": [[y, x, 1]]}]})
    return {
        "format": "volseg-prompts", "version": 1, "layers": [{"name": "cells"}], "objects": objects,
    }  # fmt: skip


def segmented(pixels: np.ndarray, labels: np.ndarray, zoom: Any) -> tuple[np.ndarray, float]:
    """Labels (z, y, x) that a job makes of an image (z, y, x) or (z, y, x, 3), and the zoom of its plan."""
    from volseg.images.create import create_volume
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation import make_plan, run

    colours = pixels.ndim > labels.ndim
    shape = ((3,) if colours else ()) + labels.shape
    with tempfile.TemporaryDirectory(prefix="volseg-zoom-") as folder:
        url = f"{folder}/v.zarr"
        axes = "czyx" if colours else "zyx"
        volume = create_volume(url, axes=axes, shape=shape, dtype=pixels.dtype, scale_um=(1, 1, 1))
        whole = tuple((0, n) for n in labels.shape)
        for c in range(3 if colours else 1):
            volume.write(whole, pixels[..., c] if colours else pixels, channel=c)
        channel = [0, 1, 2] if colours else 0
        plan = make_plan(open_volume(url), one_point_each(labels), zoom=zoom, channel=channel)
        assert plan.predictor.kind == "sam"
        return np.asarray(run(plan).labels.levels[0]), plan.predictor.zoom


def ovule(zoom: Any) -> dict[str, Any]:
    """Mean 3D Dice over the nuclei of `nuclei_ovule_1136`."""
    raw, labels = load_volume("nuclei_ovule_1136")
    found, chosen = segmented(raw, labels, zoom)
    dice = [
        2 * ((found == i) & (labels == i)).sum() / ((found == i).sum() + (labels == i).sum())
        for i in np.unique(labels[labels > 0])
    ]
    return {
        "ovule_dice": round(float(np.mean(dice)), 3),
        "ovule_objects": len(dice),
        "ovule_zoom": chosen,
    }


def large_enough(labels: np.ndarray) -> np.ndarray:
    """Labels (y, x) without the objects that don't count."""
    kept = np.bincount(labels.ravel()) >= SMALLEST
    return np.where(kept[labels], labels, 0)


def dsb(zoom: Any, count: int) -> dict[str, Any]:
    """Mean IoU over the objects of some pictures of `nuclei_dsb2018` that validate."""
    declared = data_set("nuclei_dsb2018")
    every = entries(DATA, declared, "validate")
    overlaps: list[float] = []
    means: list[float] = []
    zooms: list[float] = []
    for k in np.linspace(0, len(every) - 1, count).astype(int):
        picture = read_picture(declared, every[k])
        labels = large_enough(picture.labels)
        found, chosen = segmented(picture.pixels[None], labels[None], zoom)
        zooms.append(round(chosen, 2))
        here = []
        for i in np.unique(labels[labels > 0]):
            both, either = (found[0] == i) & (labels == i), (found[0] == i) | (labels == i)
            here.append(both.sum() / either.sum())
        overlaps += here
        means.append(float(np.mean(here)))
        print(
            f"{picture.name}: zoom {chosen:g}, mean so far {np.mean(overlaps):.3f}", file=sys.stderr
        )
    return {
        "dsb_iou": round(float(np.mean(overlaps)), 3), "dsb_iou_by_picture": round(float(np.mean(means)), 3),
        "dsb_pictures": count, "dsb_objects": len(overlaps),
        "dsb_zooms": zooms,
    }  # fmt: skip


def planes(name: str, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Evenly chosen pictures or slices of a set that validate, with their labels."""
    declared = data_set(name)
    every = entries(DATA, declared, "validate")
    if every and every[0].is_volume:
        yield from list(read_picture(declared, every[0]).planes())[
            :: max(1, len(every[0].slices) // count)
        ][:count]
        return
    for k in np.unique(np.linspace(0, len(every) - 1, count).astype(int)) if every else ():
        picture = read_picture(declared, every[k])
        yield picture.pixels, picture.labels


def kinds(count: int, most: int) -> dict[str, Any]:
    """IoU of first masks at zoom 1 and at the zoom found, and what finding it cost, for each kind that validates."""
    from volseg.features.rendering import make_rendering
    from volseg.models.registry import load_model
    from volseg.predict.fitting_zoom import find_zoom, places_of
    from volseg.predict.looker import SamLooker
    from volseg.predict.slice_predictor import array_predictor

    model = load_model("nano", device="cpu", threads=1)
    found: dict[str, Any] = {}
    for declared in SETS:
        rows = []
        for pixels, truth in planes(declared.name, count):
            labels = large_enough(truth)
            ids = np.unique(labels[labels > 0])
            if not len(ids):
                continue
            ids = ids[np.unique(np.linspace(0, len(ids) - 1, most).astype(int))]
            stack = np.moveaxis(pixels, 2, 0)[:, None] if pixels.ndim == 3 else pixels[None, None]
            c = len(stack)
            rendering = make_rendering(range(c), [0] * c, [255] * c, is_rgb=c == 3)
            prompts = {
                int(i): {0: SlicePrompt(np.array([middle(labels == i)]), np.array([1]))}
                for i in ids
            }
            looker = SamLooker(
                lambda zoom, s=stack, r=rendering: array_predictor(s, model, r, zoom=zoom)
            )  # type: ignore[misc]
            began = time.process_time()
            zoom = find_zoom(places_of(prompts), looker, model.spec.object_size).zoom
            seconds = time.process_time() - began
            scores = []
            for at in (1.0, zoom):
                predictor = array_predictor(stack, model, rendering, zoom=at)
                seeds = seed_masks(
                    predictor, prompts, Settings(**IOU_SCORES), context=Context(prompts)
                )
                scores.append(
                    np.mean([iou(seeds[int(i)][0][0], MaskWindow.crop(labels == i)) for i in ids])
                )
            rows.append((*scores, seconds))
        if rows:
            stored, fitting, cost = np.mean(rows, axis=0)
            found[declared.name] = {
                "stored": round(float(stored), 3), "auto": round(float(fitting), 3), "cpu_s": round(float(cost), 1)
            }  # fmt: skip
            print(declared.name, found[declared.name], file=sys.stderr)
    means = {
        key: round(float(np.mean([row[key] for row in found.values()])), 3)
        for key in ("stored", "auto")
    }
    return {"kinds": found, "kinds_mean": means}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["ovule", "dsb"], help="ovule, dsb, kinds")
    parser.add_argument("--zoom", default="auto")
    parser.add_argument("--pictures", type=int, default=25, help="of nuclei_dsb2018")
    parser.add_argument("--each", type=int, default=3, help="pictures of each kind")
    parser.add_argument("--objects", type=int, default=8, help="of each picture of a kind")
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    out: dict[str, Any] = {"benchmark": "zoom", "targets": TARGETS, "zoom": chosen.zoom}
    if "ovule" in chosen.parts:
        out |= ovule(chosen.zoom)
    if "dsb" in chosen.parts:
        out |= dsb(chosen.zoom, chosen.pictures)
    if "kinds" in chosen.parts:
        out |= kinds(chosen.each, chosen.objects)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
