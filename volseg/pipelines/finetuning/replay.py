"""What a model must not forget: generated images of many kinds, half to be learned with, half to be judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from volseg.pipelines.finetuning.views import SMALLEST, View
from volseg.progress import Progress
from volseg.training import synthetic

if TYPE_CHECKING:
    from volseg.models.model import Model

KINDS = (synthetic.nuclei, synthetic.membranes, synthetic.micrographs, synthetic.organs,
         synthetic.phase_cells, synthetic.walls)  # fmt: skip
SIDE = 256
OBJECTS = 4  # of each image


def replayed(model: Model, count: int, seed: int, progress: Progress) -> list[View]:
    """Generate images and embed them; their seeds differ from those of `volseg.training`."""
    found: list[View] = []
    for number in range(count):
        rng = np.random.default_rng([20260, seed, number])
        image, labels = KINDS[number % len(KINDS)](rng, (SIDE, SIDE))
        size = model.spec.img_size
        shown = torch.from_numpy(np.asarray(image, np.float32))[None, None]
        shown = F.interpolate(shown, (size, size), mode="bilinear", align_corners=False)
        pixels = np.rint(np.clip(shown.numpy() * 255, 0, 255)).astype(np.uint8)
        embedding = model.encode(np.repeat(pixels, 3, 1))[0]
        at = ((np.arange(size) + 0.5) * SIDE / size).astype(int)
        plane = (labels[1] if labels.ndim == 3 else labels)[at[:, None], at]
        ids, areas = np.unique(plane[plane != 0], return_counts=True)
        large = ids[areas >= SMALLEST]
        for id_ in rng.permutation(large)[:OBJECTS].tolist():
            found.append(View.of((-1, number, int(id_)), embedding, plane == id_))
        progress("replay", number + 1, count)
    return found
