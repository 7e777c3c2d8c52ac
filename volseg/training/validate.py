"""Print how well ``nano`` segments objects it never saw: ``python -m volseg.training.validate``.

Everything runs through an unmodified ``SamPredictor``, at the resolution of the slices.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from volseg.errors import InputError, NotThereError
from volseg.sam import nano
from volseg.training.cases import CaseTile, conditions, kinds, otsu_component

CHUNK = 16


@dataclass
class Scores:
    """Scores of one kind of image, one entry for each object: IoU, or the model's own estimate of
    it; and the diameter of a disc of the object's area, in pixels of the tile that the model sees.
    """

    pick: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    box: list[float] = field(default_factory=list)
    otsu: list[float] = field(default_factory=list)
    estimate: list[float] = field(default_factory=list)
    background: list[float] = field(default_factory=list)
    diameter: list[float] = field(default_factory=list)

    def row(self) -> dict[str, float]:
        """Summarise by means, counts, and the rank correlation of estimated with true IoU."""
        means = {
            name: round(float(np.mean(values)), 3) if values else float("nan")
            for name, values in vars(self).items()
            if name != "diameter"
        }
        varied = len(set(self.pick)) > 2
        rank = float(spearmanr(self.estimate, self.pick).statistic) if varied else float("nan")
        return {"objects": len(self.pick), **means, "spearman": round(rank, 3)}


def iou(masks: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the IoU of masks (..., y, x) with a truth that broadcasts against them."""
    both = (masks & truth).sum((-2, -1))
    either = (masks | truth).sum((-2, -1))
    return both / np.maximum(either, 1)


def _predict(
    predictor: SamPredictor,
    points: NDArray[np.float32] | None,
    boxes: NDArray[np.float32] | None,
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Predict for one point (n, 2) or box (n, 4) each: masks (n, 3, y, x) and estimates (n, 3)."""
    size, device = predictor.original_size, predictor.device
    masks, scores = [], []
    prompts = points if points is not None else boxes
    if prompts is None:
        raise InputError("prediction needs points or boxes")
    for start in range(0, len(prompts), CHUNK):
        part = slice(start, start + CHUNK)
        places = signs = corners = None
        if points is not None:
            turned = predictor.transform.apply_coords(points[part, None], size)
            places = torch.as_tensor(turned, dtype=torch.float32, device=device)
            signs = torch.ones(places.shape[:2], dtype=torch.int, device=device)
        if boxes is not None:
            turned = predictor.transform.apply_boxes(boxes[part], size)
            corners = torch.as_tensor(turned, dtype=torch.float32, device=device)
        mask, score, _ = predictor.predict_torch(places, signs, corners, multimask_output=True)
        masks.append(mask.cpu().numpy())
        scores.append(score.cpu().numpy())
    return np.concatenate(masks), np.concatenate(scores)


def measure(predictor: SamPredictor, tiles: Iterable[CaseTile]) -> Scores:
    """Measure one kind of image."""
    scores = Scores()
    for tile in tiles:
        predictor.set_image(tile.image)
        truth = np.stack([case.mask for case in tile.cases])
        points = np.array([case.point for case in tile.cases], np.float32)
        masks, estimates = _predict(predictor, points, None)
        overlaps = iou(masks, truth[:, None])
        chosen = estimates.argmax(1)
        rows = np.arange(len(chosen))
        scores.pick += overlaps[rows, chosen].tolist()
        scores.best += overlaps.max(1).tolist()
        scores.estimate += estimates[rows, chosen].tolist()
        boxes = np.array([case.box for case in tile.cases], np.float32)
        masks, estimates = _predict(predictor, None, boxes)
        scores.box += iou(masks, truth[:, None])[rows, estimates.argmax(1)].tolist()
        shown = predictor.model.image_encoder.img_size / max(tile.image.shape[:2])
        areas = truth.sum((1, 2))
        scores.diameter += (2 * np.sqrt(areas / np.pi) * shown).tolist()
        for case in tile.cases:
            scores.otsu.append(float(iou(otsu_component(tile.image, case.point), case.mask)))
        if len(tile.background):
            _, estimates = _predict(predictor, tile.background, None)
            scores.background += estimates.max(1).tolist()
    return scores


def by_size(scores: Iterable[Scores]) -> dict[str, dict[str, float]]:
    """Summarise objects of all kinds by their diameter in pixels of the tile, a row for each
    doubling from 8 on.
    """
    every = list(scores)
    diameters = np.concatenate([score.diameter for score in every])
    rows = {}
    for smallest in (0, 8, 16, 32, 64, 128):
        largest = 2 * smallest or 8
        chosen = (diameters >= smallest) & (diameters < largest)
        if smallest == 128:
            chosen = diameters >= smallest
        if not chosen.any():
            continue
        part = Scores(
            **{
                name: np.concatenate([getattr(score, name) for score in every])[chosen].tolist()
                for name in ("pick", "best", "box", "otsu", "estimate", "diameter")
            }
        )
        above = f"{smallest} px and more"
        rows[above if smallest == 128 else f"{smallest} to {largest} px"] = part.row()
    return rows


def _median_ms(work: Callable[[], object], repeats: int = 7) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return round(1000 * float(np.median(times)), 1)


@torch.inference_mode()
def timings(sam: Sam) -> dict[str, float]:
    """Measure CPU milliseconds on one core: an image, a prompt, and a prompt in a batch of 16."""
    sam = copy.deepcopy(sam).cpu()  # CPU time says nothing about other devices
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        image = torch.zeros(1, 3, sam.image_encoder.img_size, sam.image_encoder.img_size)
        embedding = sam.image_encoder(image)

        def decode(count: int) -> None:
            points = torch.full((count, 1, 2), 100.0)
            signs = torch.ones((count, 1))
            sparse, dense = sam.prompt_encoder(points=(points, signs), boxes=None, masks=None)
            sam.mask_decoder(
                image_embeddings=embedding,
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )

        return {
            "encoder_ms": _median_ms(lambda: sam.image_encoder(image)),
            "decoder_ms": _median_ms(lambda: decode(1), 41),
            "decoder_ms_in_16": round(_median_ms(lambda: decode(16), 3) / 16, 1),
        }
    finally:
        torch.set_num_threads(threads)


def table(rows: dict[str, dict[str, float]]) -> str:
    """Format the results as a Markdown table."""
    columns = {
        "objects": "objects",
        "one point, own pick": "pick",
        "one point, best of 3": "best",
        "box": "box",
        "Otsu's component": "otsu",
        "Spearman, estimate vs IoU": "spearman",
        "estimate on background": "background",
    }
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [
            f"{row[key]:.2f}" if key != "objects" else str(row[key]) for key in columns.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def from_checkpoint(path: Path) -> Sam:
    """Read the averaged model out of a training checkpoint, in evaluation mode."""
    if not path.exists():
        raise NotThereError(f"no checkpoint at {path}")
    content = torch.load(path, map_location="cpu", weights_only=True)
    sam = nano.build()
    own = {k.removeprefix("sam."): v for k, v in content["average"].items() if k.startswith("sam.")}
    sam.load_state_dict(own)
    return sam.eval().requires_grad_(False)


def validate(sam: Sam, root: Path, only: Sequence[str] = ()) -> dict[str, Any]:
    """Measure a model on every kind of image.

    Parameters
    ----------
    sam : Sam
        In evaluation mode.
    root : Path
        The folder of real data.
    only : sequence of str
        Names of kinds; all by default.

    Returns
    -------
    dict
        ``"kinds"``: for each kind the row of the table; ``"sizes"``: rows by the objects'
        diameters; ``"conditions"``: rows of changed pictures (where all kinds are measured);
        ``"timings"``: milliseconds on one core;
        ``"spearman"``: over all objects together.
    """
    predictor = SamPredictor(sam)
    scores = {
        name: measure(predictor, tiles)
        for name, tiles in kinds(root).items()
        if not only or name in only
    }
    estimates = [value for score in scores.values() for value in score.estimate]
    true = [value for score in scores.values() for value in score.pick]
    changed = {} if only else conditions(root)
    return {
        "kinds": {name: score.row() for name, score in scores.items()},
        "spearman": round(float(spearmanr(estimates, true).statistic), 3),
        "sizes": by_size(scores.values()),
        "conditions": {name: measure(predictor, tiles).row() for name, tiles in changed.items()},
        "timings": timings(sam),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Validate from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volseg.training.validate", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--checkpoint", type=Path, help="a training's checkpoint; the package's weights by default"
    )
    parser.add_argument("--only", nargs="*", default=(), help="kinds of images")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    sam = from_checkpoint(options.checkpoint) if options.checkpoint else nano.load()
    result = validate(sam.to(options.device), options.data, options.only)
    for part in ("kinds", "sizes", "conditions"):
        if result[part]:
            print(table(result[part]), end="\n\n")
    print(f"Spearman correlation of estimated with true IoU, all objects: {result['spearman']:.2f}")
    times = result["timings"]
    print(
        f"CPU time on one core, 256 x 256: encoder {times['encoder_ms']} ms; "
        f"decoder {times['decoder_ms']} ms a prompt, "
        f"{times['decoder_ms_in_16']} ms in a batch of 16"
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
