"""The 2D model that a plan names, opened on a worker: a SAM over the embedding cache, or the true labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.propagation.predictor import Candidates, SlicePredictor, SlicePrompt

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.pipelines.segmentation.plan import Plan


def open_predictor(plan: Plan, volume: Volume) -> SlicePredictor:
    """Open the predictor of a plan.

    Parameters
    ----------
    plan
        The plan.
    volume
        Its image, opened.

    Raises
    ------
    ModelUnavailableError
        The weights can't be fetched or are not those of the plan.
    """
    if plan.predictor.kind == "oracle":
        return open_oracle(plan)
    from volseg.pipelines.segmentation.sam import open_sam

    return open_sam(plan, volume)


def open_oracle(plan: Plan) -> OraclePredictor:
    """The true labels that a plan names, as a predictor.

    Raises
    ------
    InputError
        They have another shape than the plan's level.
    """
    from volseg.images.image import open_volume

    assert plan.predictor.kind == "oracle"
    truth = open_volume(plan.predictor.url).labels[plan.predictor.name]
    if truth.shape != plan.source.shape:
        raise InputError(
            f"the true labels {truth.location} have {truth.shape} voxels (z, y, x), but the plan is "
            f"for {plan.source.shape}"
        )
    return OraclePredictor(truth, min(plan.source.time, truth.n_times - 1))


class OraclePredictor:
    """Answers with the true object under a prompt: what a perfect 2D model would say.

    It separates errors of propagation from those of a model, in tests and evaluations.

    Parameters
    ----------
    truth
        Label image of the volume's shape.
    time
        Its time point.
    """

    def __init__(self, truth: Labels, time: int = 0) -> None:
        self._truth = truth
        self._time = time
        self._slice: tuple[int, NDArray[np.unsignedinteger]] | None = None
        self.shape = truth.shape

    def predict(self, z: int, prompts: Sequence[SlicePrompt]) -> list[Candidates]:
        """The object that most positive points lie on, less negative ones; else the one that best fills the box."""
        plane = self._plane(z)
        return [_answer(plane, prompt) for prompt in prompts]

    def _plane(self, z: int) -> NDArray[np.unsignedinteger]:
        if self._slice is None or self._slice[0] != z:
            _, height, width = self.shape
            region = ((z, z + 1), (0, height), (0, width))
            self._slice = z, self._truth.read(region, time=self._time)[0]
        return self._slice[1]


def _answer(plane: NDArray[np.unsignedinteger], prompt: SlicePrompt) -> Candidates:
    ids = _ids_of_points(plane, prompt) or _ids_of_box(plane, prompt)
    if not ids:
        return Candidates(np.zeros((0, 1, 1), dtype=bool), np.zeros(0))
    found = plane == ids[0]
    ys, xs = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    y0, x0 = int(ys[0]), int(xs[0])
    window = found[y0 : int(ys[-1]) + 1, x0 : int(xs[-1]) + 1]
    return Candidates(window[np.newaxis], np.ones(1), (y0, x0))


def _ids_of_points(plane: NDArray[np.unsignedinteger], prompt: SlicePrompt) -> list[int]:
    votes: dict[int, int] = {}
    for (y, x), label in zip(
        np.asarray(prompt.points), np.asarray(prompt.point_labels), strict=True
    ):
        at = int(np.clip(np.floor(y + 0.5), 0, plane.shape[0] - 1))
        across = int(np.clip(np.floor(x + 0.5), 0, plane.shape[1] - 1))
        found = int(plane[at, across])
        if found:
            votes[found] = votes.get(found, 0) + (1 if label else -1000)
    chosen = sorted((-count, i) for i, count in votes.items() if count > 0)
    return [i for _, i in chosen]


def _ids_of_box(plane: NDArray[np.unsignedinteger], prompt: SlicePrompt) -> list[int]:
    if prompt.box is None:
        return []
    y0, x0, y1, x1 = (max(0, int(v)) for v in prompt.box)
    inside, counts = np.unique(plane[y0 : y1 + 1, x0 : x1 + 1], return_counts=True)
    rows = [(-int(n), int(i)) for i, n in zip(inside, counts, strict=True) if i]
    return [i for _, i in sorted(rows)]
