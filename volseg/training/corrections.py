"""What a few more clicks bring, and what a careless box costs: IoU after 1, 2, 3, 5 and 9 clicks on
the model's own errors, and from boxes that are too loose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from segment_anything import SamPredictor

from volseg.geometry import evenly
from volseg.training.cases import Case, CaseTile
from volseg.training.prompts import Mask, bounds
from volseg.training.scores import Row, iou, predict

CLICKS = (1, 2, 3, 5, 9)
LOOSE = (0.0, 0.1, 0.2, 0.3)
TILES, OBJECTS = 8, 4  # of each kind, evenly chosen: nine clicks take ten times as long as one
COLUMNS = (
    {"objects": "objects"}
    | {f"{n} click{'s' if n > 1 else ''}": f"clicks_{n}" for n in CLICKS}
    | {"exact box": "loose_0"}
    | {f"box {part:.0%} too loose": f"loose_{part:.0%}".rstrip("%") for part in LOOSE[1:]}
)


def measure_corrections(predictor: SamPredictor, tiles: Iterable[CaseTile]) -> Row:
    """Measure one kind of image on a few of its tiles and objects, evenly chosen.

    Returns
    -------
    dict
        Mean IoU of the model's own pick: ``clicks_1`` … ``clicks_9``, ``loose_0`` … ``loose_30``
        (per cent of the object's extent that every side lies too far out); and ``objects``.
    """
    found: dict[str, list[float]] = {key: [] for key in COLUMNS.values() if key != "objects"}
    for tile in evenly(list(tiles), TILES):
        cases = evenly(tile.cases, OBJECTS)
        predictor.set_image(tile.image)
        for count, overlap in after_clicks(predictor, cases).items():
            found[f"clicks_{count}"] += overlap.tolist()
        truth = np.stack([case.mask for case in cases])
        for part in LOOSE:
            boxes = np.stack([loose_box(case, part) for case in cases])
            answer = predict(predictor, boxes=boxes)
            overlap = iou(answer.masks[answer.picked()], truth)
            found[f"loose_{part:.0%}".rstrip("%")] += overlap.tolist()
    means = {name: round(float(np.mean(values)), 3) for name, values in found.items()}
    return {"objects": len(found["clicks_1"]), **means}


def after_clicks(predictor: SamPredictor, cases: Sequence[Case]) -> dict[int, NDArray[np.float64]]:
    """Click on the deepest point of each object, then again and again where the model's own pick
    errs most.

    Returns
    -------
    dict
        For each number of clicks in ``CLICKS`` the IoU (n,) of the model's pick.
    """
    truth = np.stack([case.mask for case in cases])
    points = np.array([case.point for case in cases], np.float32)[:, None]
    signs = np.ones(points.shape[:2], np.int64)
    logits = None
    overlaps = {}
    for count in range(1, max(CLICKS) + 1):
        answer = predict(predictor, points, signs, logits=logits)
        masks, logits = answer.masks[answer.picked()], answer.logits[answer.picked()]
        if count in CLICKS:
            overlaps[count] = iou(masks, truth)
        clicks = [deepest_error(mask, wanted) for mask, wanted in zip(masks, truth, strict=True)]
        more = np.array([[place] for place, _ in clicks], np.float32)
        points = np.concatenate([points, more], 1)
        signs = np.concatenate([signs, np.array([[sign] for _, sign in clicks])], 1)
    return overlaps


def deepest_error(predicted: Mask, truth: Mask) -> tuple[tuple[float, float], int]:
    """Return x, y of the point deepest inside the largest error (y, x) and its label: 1 where the
    object was missed, 0 where too much was marked. Where nothing is wrong, the object's middle.
    """
    errors = predicted ^ truth
    if not errors.any():
        errors = truth
    parts, count = ndimage.label(errors)
    if count > 1:
        errors = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    y0, x0, y1, x1 = bounds(errors)
    depth = ndimage.distance_transform_edt(np.pad(errors[y0:y1, x0:x1], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return (float(x0 + x), float(y0 + y)), int(truth[y0 + y, x0 + x])


def loose_box(case: Case, part: float) -> NDArray[np.float32]:
    """Move every side of an object's box outwards by a part of its extent, at most to the image's
    edge: (4,) x0, y0, x1, y1.
    """
    x0, y0, x1, y1 = case.box
    height, width = case.mask.shape
    by_x, by_y = part * (x1 - x0), part * (y1 - y0)
    return np.array(
        [max(x0 - by_x, 0), max(y0 - by_y, 0), min(x1 + by_x, width), min(y1 + by_y, height)],
        np.float32,
    )
