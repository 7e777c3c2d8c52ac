"""How well a model did: IoU and its own estimates for every object, and their summaries as tables.

Everything is predicted through an unmodified ``SamPredictor``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from segment_anything import SamPredictor

from volseg.errors import InputError
from volseg.training.cases import CaseTile, otsu_component, otsu_sides

CHUNK = 16
MEAN = "mean over kinds"
RANKED = 50
"""A kind of fewer objects says too little about the rank of the model's estimates."""
Row = dict[str, float]


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

    def row(self) -> Row:
        """Summarise by means, counts, and the rank correlation of estimated with true IoU."""
        means = {
            name: round(float(np.mean(values)), 3) if values else float("nan")
            for name, values in vars(self).items()
            if name != "diameter"
        }
        return {"objects": len(self.pick), **means, "spearman": round(self.rank(), 3)}

    def rank(self) -> float:
        """Return Spearman's correlation of the model's estimates with its picks' IoU; nan where
        either is constant.
        """
        if len(set(self.pick)) <= 2 or len(set(self.estimate)) <= 2:
            return float("nan")
        return float(spearmanr(self.estimate, self.pick).statistic)


def iou(masks: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the IoU of masks (..., y, x) with a truth that broadcasts against them."""
    both = (masks & truth).sum((-2, -1))
    either = (masks | truth).sum((-2, -1))
    return both / np.maximum(either, 1)


@dataclass(frozen=True)
class Prediction:
    """What a model answers to n prompts.

    Attributes
    ----------
    masks : ndarray of bool
        (n, 3, y, x) at the picture's size.
    estimates : ndarray of float32
        (n, 3), the model's estimates of IoU.
    logits : ndarray of float32
        (n, 3, h, w) as a later prompt takes them.
    """

    masks: NDArray[np.bool_]
    estimates: NDArray[np.float32]
    logits: NDArray[np.float32]

    def picked(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the index of the candidate that the model itself scores highest, for each
        prompt.
        """
        return np.arange(len(self.estimates)), self.estimates.argmax(1)


def predict(
    predictor: SamPredictor,
    points: NDArray[np.float32] | None = None,
    signs: NDArray[np.int64] | None = None,
    boxes: NDArray[np.float32] | None = None,
    logits: NDArray[np.float32] | None = None,
) -> Prediction:
    """Predict for n prompts on the predictor's image.

    Parameters
    ----------
    predictor : SamPredictor
        Its image is set.
    points : ndarray of float32, optional
        (n, k, 2) x, y in pixels of the picture.
    signs : ndarray of int64, optional
        (n, k) 1 inside, 0 outside; all inside where not given.
    boxes : ndarray of float32, optional
        (n, 4) x0, y0, x1, y1.
    logits : ndarray of float32, optional
        (n, h, w) of an earlier mask.

    Raises
    ------
    InputError
        Neither points nor boxes are given.
    """
    prompts = points if points is not None else boxes
    if prompts is None:
        raise InputError("prediction needs points or boxes")
    size, device = predictor.original_size, predictor.device
    found: list[tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]] = []
    for start in range(0, len(prompts), CHUNK):
        part = slice(start, start + CHUNK)
        places = marks = corners = earlier = None
        if points is not None:
            turned = predictor.transform.apply_coords(points[part], size)
            places = torch.as_tensor(turned, dtype=torch.float32, device=device)
            marks = torch.ones(places.shape[:2], dtype=torch.int, device=device)
            if signs is not None:
                marks = torch.as_tensor(signs[part], dtype=torch.int, device=device)
        if boxes is not None:
            turned = predictor.transform.apply_boxes(boxes[part], size)
            corners = torch.as_tensor(turned, dtype=torch.float32, device=device)
        if logits is not None:
            earlier = torch.as_tensor(logits[part, None], dtype=torch.float32, device=device)
        answer = predictor.predict_torch(places, marks, corners, earlier, multimask_output=True)
        mask, estimate, low = (one.cpu().numpy() for one in answer)
        found.append((mask, estimate, low))
    return Prediction(*(np.concatenate([one[i] for one in found]) for i in range(3)))


def measure(predictor: SamPredictor, tiles: Iterable[CaseTile]) -> Scores:
    """Measure one kind of image."""
    scores = Scores()
    for tile in tiles:
        predictor.set_image(tile.image)
        truth = np.stack([case.mask for case in tile.cases])
        points = np.array([case.point for case in tile.cases], np.float32)
        found = predict(predictor, points[:, None])
        overlaps = iou(found.masks, truth[:, None])
        scores.pick += overlaps[found.picked()].tolist()
        scores.best += overlaps.max(1).tolist()
        scores.estimate += found.estimates.max(1).tolist()
        boxes = np.array([case.box for case in tile.cases], np.float32)
        found = predict(predictor, boxes=boxes)
        scores.box += iou(found.masks[found.picked()], truth).tolist()
        shown = predictor.model.image_encoder.img_size / max(tile.image.shape[:2])
        areas = truth.sum((1, 2))
        scores.diameter += (2 * np.sqrt(areas / np.pi) * shown).tolist()
        sides = otsu_sides(tile.image)
        for case in tile.cases:
            scores.otsu.append(float(iou(otsu_component(sides, case.point), case.mask)))
        if len(tile.background):
            found = predict(predictor, tile.background[:, None])
            scores.background += found.estimates.max(1).tolist()
    return scores


def by_size(scores: Iterable[Scores]) -> dict[str, Row]:
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


def mean_row(rows: Iterable[Mapping[str, float]]) -> Row:
    """Average rows, every kind alike however many objects it has; ``objects`` are added up. What no
    kind has stays nan.
    """
    every = list(rows)
    if not every:
        raise InputError("there is no kind to average")
    means: Row = {}
    for name in every[0]:
        values = [row[name] for row in every if not np.isnan(row[name])]
        means[name] = round(float(np.mean(values)), 3) if values else float("nan")
    if "objects" in means:
        means["objects"] = sum(row["objects"] for row in every)
    return means


def lowest_rank(scores: Mapping[str, Scores]) -> tuple[str, float] | None:
    """Return the kind of at least 50 objects whose estimates rank worst, and its Spearman
    correlation; None where no kind has so many.
    """
    ranks = {name: score.rank() for name, score in scores.items() if len(score.pick) >= RANKED}
    known = {name: rank for name, rank in ranks.items() if not np.isnan(rank)}
    return min(known.items(), key=lambda item: item[1]) if known else None


COLUMNS = {
    "objects": "objects",
    "one point, own pick": "pick",
    "one point, best of 3": "best",
    "box": "box",
    "Otsu's component": "otsu",
    "Spearman, estimate vs IoU": "spearman",
    "estimate on background": "background",
}


def table(rows: Mapping[str, Mapping[str, float]], columns: Mapping[str, str] = COLUMNS) -> str:
    """Format the results as a Markdown table; ``columns`` says which value stands under which
    head.
    """
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [
            f"{row[key]:.2f}" if key != "objects" else str(row[key]) for key in columns.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
