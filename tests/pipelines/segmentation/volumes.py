"""Volumes with known truth for the tests of jobs: small, oblique, touching objects."""

from __future__ import annotations

from typing import Any

import numpy as np

from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.pipelines.segmentation.plan import PlannedOracle


def make_truth(shape: tuple[int, int, int], count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Oblique ellipsoids, some touching: (z, y, x) uint32."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[tuple(map(slice, shape))]
    truth = np.zeros(shape, np.uint32)
    for i in range(1, count + 1):
        centre = [rng.uniform(0.2, 0.8) * n for n in shape]
        radii = [max(2.0, rng.uniform(0.1, 0.25) * n) for n in shape]
        slope = rng.uniform(-0.8, 0.8, 2)
        dz = z - centre[0]
        inside = (
            (dz / radii[0]) ** 2
            + ((y - centre[1] - slope[0] * dz) / radii[1]) ** 2
            + ((x - centre[2] - slope[1] * dz) / radii[2]) ** 2
        ) < 1
        truth[inside & (truth == 0)] = i
    return truth


def make_volume(url: str, truth: np.ndarray[Any, Any], **options: Any) -> Volume:
    """A volume whose image is a noisy picture of the truth, with the truth as label image `truth`."""
    options = {"scale_um": (1.0, 0.5, 0.5)} | options
    volume = create_volume(url, axes="zyx", shape=truth.shape, dtype="uint8", **options)
    image = np.where(truth > 0, 160, 60) + np.random.default_rng(1).normal(0, 10, truth.shape)
    whole = tuple((0, n) for n in truth.shape)
    volume.write(whole, np.clip(image, 0, 255).astype(np.uint8))  # type: ignore[arg-type]
    labels = volume.create_labels("truth")
    labels.write_objects(whole, truth)  # type: ignore[arg-type]
    return open_volume(url)


def oracle(volume: Volume) -> PlannedOracle:
    """The truth of `make_volume` as a predictor."""
    return PlannedOracle(url=str(volume.location.url), name="truth")


def point_prompts(truth: np.ndarray[Any, Any]) -> dict[str, Any]:
    """One point per object, in the middle of its middle slice, as a prompts document."""
    objects = []
    for i in np.unique(truth[truth > 0]):
        zs = np.flatnonzero((truth == i).any((1, 2)))
        z = int(zs[len(zs) // 2])
        ys, xs = np.nonzero(truth[z] == i)
        k = np.argmin((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2)
        points = [[float(ys[k]), float(xs[k]), 1]]
        objects.append({"id": int(i), "prompts": [{"z": z, "points": points}]})
    return {
        "format": "volseg-prompts", "version": 1,
        "layers": [{"name": "cells", "category": "cell"}], "objects": objects,
    }  # fmt: skip
