"""How well a candidate mask continues an object: agreement with its predicted place, area, score.

The rules of ranking and acceptance live here, without any model or volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volseg.propagation.geometry import cut_necks
from volseg.propagation.motion import ahead
from volseg.propagation.settings import Settings
from volseg.propagation.state import Pose, State
from volseg.propagation.window import MaskWindow, aligned_iou, shared_area


@dataclass(frozen=True, eq=False)
class Expected:
    """Where an object should lie on a slice, from one of its former masks.

    Parameters
    ----------
    pose : Pose
        The former mask.
    mask : MaskWindow
        It moved to where it should be now.
    steps : int
        Slices between the two.
    former : bool
        Whether a later mask was taken already: the object was followed from here.
    """

    pose: Pose
    mask: MaskWindow
    steps: int
    former: bool = False

    @staticmethod
    def at(pose: Pose, z: int, shape_yx: tuple[int, int], settings: Settings) -> Expected:
        """The mask of `pose` moved to slice `z`, and cut at the slice's border."""
        steps = abs(z - pose.z)
        moved = pose.mask
        if settings.motion and pose.known:
            moved = ahead(pose, steps)
        return Expected(pose, moved.clipped(shape_yx), steps)


@dataclass(frozen=True, eq=False)
class Judgement:
    """A candidate weighed against an expectation.

    Parameters
    ----------
    mask : MaskWindow
        The candidate, leaks cut.
    agreement : float
        IoU with the expected mask.
    area_ratio : float
        Smaller area by larger, former mask and candidate.
    score : float
        The model's own.
    total : float
        What candidates are ranked by, 0..1.
    accepted : bool
        Whether it can be the object at all.
    """

    mask: MaskWindow
    agreement: float
    area_ratio: float
    score: float
    total: float
    accepted: bool

    def confidence(self, settings: Settings) -> float:
        """How sure the slice is, 0..1, on one scale whatever the scores are worth."""
        weights = settings.weight_agreement, settings.weight_score, settings.weight_area
        score = min(1.0, max(0.0, self.score))
        parts = weights[0] * self.agreement + weights[1] * score + weights[2] * self.area_ratio
        return parts / max(sum(weights), 1e-9)


def trust(state: State, settings: Settings) -> float:
    """How far the model's scores can be trusted for this object: 1 steady, 0 all over the place.

    A model whose scores mean something gives an object about the same score from slice to slice.
    """
    loose, steady = settings.loose_spread, settings.steady_spread
    return min(1.0, max(0.0, (loose - state.spread) / (loose - steady)))


def judge(
    candidate: MaskWindow, score: float, expected: Expected, state: State, settings: Settings
) -> Judgement | None:
    """Weighs a candidate; None where it is empty.

    Parameters
    ----------
    candidate : MaskWindow
    score : float
        The model's own estimate of its IoU.
    expected : Expected
        Not empty.
    state : State
        Of the object before this slice: its usual score, and how steady that was.
    settings : Settings
    """
    if not candidate.area:
        return None
    before = expected.pose.mask.area
    here = expected.mask
    if settings.split and candidate.area > settings.leak_growth * before:
        candidate = cut_necks(candidate, here)
    shared = shared_area(here, candidate)
    agreement = shared / max(1, here.area + candidate.area - shared)
    area_ratio = min(before, candidate.area) / max(before, candidate.area, 1)
    contained = shared / max(1, min(here.area, candidate.area))
    accepted = agreement >= settings.accept_agreement
    if not accepted and settings.relaxed:
        accepted = (
            contained >= settings.accept_containment and area_ratio >= settings.accept_area
        ) or _is_jump(candidate, expected, area_ratio, settings)
    accepted = accepted and score >= _least_score(agreement, state, settings)
    total = score
    if settings.choose:
        weight = settings.weight_score + settings.weight_trust * trust(state, settings)
        total = (
            settings.weight_agreement * agreement
            + weight * score
            + settings.weight_area * area_ratio
        ) / max(settings.weight_agreement + weight + settings.weight_area, 1e-9)
    return Judgement(candidate, agreement, area_ratio, score, total, accepted)


def _least_score(agreement: float, state: State, settings: Settings) -> float:
    """The model's score from which a mask is accepted."""
    abrupt = agreement < settings.abrupt
    share = settings.abrupt_score if abrupt else settings.fallen_score
    if state.score >= 0 and state.spread <= settings.steady_spread:
        share = max(share, settings.ended_score)
    return max(settings.min_score, share * state.score)


def _is_jump(
    candidate: MaskWindow, expected: Expected, area_ratio: float, settings: Settings
) -> bool:
    """Whether an object of unknown velocity may have moved so far, keeping size and shape."""
    if expected.pose.known or expected.former or area_ratio < settings.jump_area:
        return False
    before = expected.pose.mask
    away = float(np.hypot(*(candidate.centroid - before.centroid)))
    diameter = 2 * float(np.sqrt(before.area / np.pi))
    if away > settings.jump_distance * diameter * min(expected.steps, 2):
        return False
    return aligned_iou(before, candidate) >= settings.accept_agreement
