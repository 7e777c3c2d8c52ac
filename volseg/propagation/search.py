"""The search for one object on one slice: rounds of prompts, candidates weighed, one of them chosen.

Nothing here calls a model or knows of other objects' tracks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from volseg.geometry import Box
from volseg.propagation.context import Context
from volseg.propagation.geometry import components, interior_points
from volseg.propagation.judge import Expected, Judgement, judge
from volseg.propagation.predictor import Candidates, SlicePrompt
from volseg.propagation.settings import Settings
from volseg.propagation.state import State
from volseg.propagation.window import MaskWindow, grown, iou, shared_area, union


class Search:
    """The search for one object on one slice, round by round.

    Parameters
    ----------
    object_id, z : int
    state : State
        With a last mask.
    context : Context
    shape_yx : (y, x)
    settings : Settings
    """

    ROUNDS = 4

    def __init__(
        self,
        object_id: int,
        z: int,
        state: State,
        context: Context,
        shape_yx: tuple[int, int],
        settings: Settings,
    ) -> None:
        self.object_id, self.z, self.state = object_id, z, state
        self.context, self.shape_yx, self.settings = context, shape_yx, settings
        poses = [pose for pose in (state.last, state.anchor) if pose is not None]
        expected = [Expected.at(pose, z, shape_yx, settings) for pose in poses]
        expected[1:] = [replace(e, former=True) for e in expected[1:]]
        self.expectations = [e for e in expected if e.mask.area]
        if not expected[0].mask.area:
            self.expectations = []
        self._offers: list[_Offer] = []
        self._judged: list[list[tuple[Judgement, _Offer]]] = [[] for _ in self.expectations]
        self._others = context.others_masks(object_id, z)
        self._marks = context.others_points(object_id, z, (0, 0, *shape_yx), 0)
        self._contained: list[_Offer] = []
        self.pointed: float | None = None

    # --- asking --------------------------------------------------------------------------------

    def prompts(self, number: int) -> list[SlicePrompt]:
        """The prompts of round `number`; none where the search has enough already."""
        if number == 0:
            asked = [prompt for e in self.expectations for prompt in self._point_prompts(e)]
            return asked[: 2 * self.settings.max_components]
        if not self.settings.retry or self._sure() or self._has_vanished():
            return []
        if number <= 2:
            s = self.settings
            margin = s.box_margin if number == 1 else s.wide_box_margin
            return [self._box_prompt(e.mask, margin) for e in self.expectations]
        return self._ring_prompts() if self._may_look_around() else []

    def all_prompts(self, ring: bool) -> list[SlicePrompt]:
        """Every prompt that there is for the first expectation, as if nothing were found."""
        s, expected = self.settings, self.expectations[0]
        prompts = self._point_prompts(expected)
        if s.retry:
            margins = s.box_margin, s.wide_box_margin
            prompts += [self._box_prompt(expected.mask, margin) for margin in margins]
        return prompts + (self._ring_prompts() if ring and s.search else [])

    def _sure(self) -> bool:
        """Whether what is best so far needs no second opinion."""
        for judged in self._judged:
            good = [j for j, _ in judged if j.accepted]
            if good and max(good, key=_rank).agreement >= self.settings.confident:
                return True
            if any(judgement.score >= self._usual_of_points() for judgement in good):
                return True
        return False

    def _usual_of_points(self) -> float:
        """The score that points on the object usually get, at the least; infinite where unknown."""
        usual, s = self.state.score, self.settings
        if not s.points_decide or usual < 0:
            return float("inf")
        return usual - max((1 - s.ended_score) * usual, s.fall_spreads * self.state.spread)

    def _has_vanished(self) -> bool:
        """Whether points where the object should be score far less than points on it usually do.

        A box always says that there is something in it; points on the ground do not.
        """
        if self.pointed is None or self._usual_of_points() == float("inf"):
            return False
        return self.pointed < self._usual_of_points()

    def _may_look_around(self) -> bool:
        if not self.settings.search or self.expectations[0].pose.known:
            return False
        return self.chosen() is None

    def _point_prompts(self, expected: Expected) -> list[SlicePrompt]:
        """All components at once, and, where there are several, each alone."""
        s = self.settings
        parts = components(expected.mask, 0.05)[: s.max_components]
        groups = [interior_points(part, s.points_per_component, 1) for part in parts]
        prompts = [self._prompt(np.concatenate(groups), expected.mask)]
        if len(groups) > 1:
            prompts.extend(self._prompt(group, expected.mask) for group in groups)
        return prompts

    def _box_prompt(self, mask: MaskWindow, margin: float) -> SlicePrompt:
        y0, x0, y1, x1 = mask.box
        dy, dx = margin * (y1 - y0), margin * (x1 - x0)
        height, width = self.shape_yx
        box = (max(0, y0 - dy), max(0, x0 - dx), min(height, y1 + dy), min(width, x1 + dx))
        return SlicePrompt(box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])))

    def _ring_prompts(self) -> list[SlicePrompt]:
        """Single points around the last mask, where a fast object may have gone."""
        mask = self.expectations[0].mask
        cy, cx = mask.centroid
        radius = float(np.sqrt(mask.area / np.pi))
        prompts = []
        for turn in range(8):
            for share in (1.0, 1.8):
                angle = turn * np.pi / 4
                y, x = cy + share * radius * np.sin(angle), cx + share * radius * np.cos(angle)
                if 0 <= y <= self.shape_yx[0] - 1 and 0 <= x <= self.shape_yx[1] - 1:
                    prompts.append(SlicePrompt(np.array([[y, x]]), np.ones(1, dtype=np.int64)))
        return prompts

    def _prompt(self, positive: NDArray[np.float64], mask: MaskWindow) -> SlicePrompt:
        """Positive points, the person's own marks on this slice, and the others' as negatives."""
        negative = self._negatives(mask)
        points, labels = [positive, negative], [np.ones(len(positive)), np.zeros(len(negative))]
        own = self.context.own(self.object_id, self.z)
        if own is not None and len(own.points):
            points.append(np.asarray(own.points, dtype=np.float64))
            labels.append(np.asarray(own.point_labels, dtype=np.float64))
        return SlicePrompt(np.concatenate(points), np.concatenate(labels).astype(np.int64))

    def _negatives(self, mask: MaskWindow) -> NDArray[np.float64]:
        """The others' marks near the mask; those of slices nearby only where it is not."""
        s = self.settings
        size = max(mask.mask.shape)
        near: Box = grown(mask.box, 0.75 * size, self.shape_yx)
        found = self.context.others_points(self.object_id, self.z, near, s.negative_reach)
        marks = [(y, x) for away, y, x in found if not away or not mask.contains(y, x)]
        return np.array(marks[: s.negative_points], dtype=np.float64).reshape(-1, 2)

    # --- weighing ------------------------------------------------------------------------------

    def weigh(self, number: int, asked: list[SlicePrompt], answers: list[Candidates]) -> None:
        """Takes the answers to the prompts of a round in."""
        fresh: list[_Offer] = []
        if number == 0:
            scores = [float(score) for answer in answers for score in answer.scores]
            self.pointed = max(scores, default=None)
        for k, answer in enumerate(answers):
            windows = self._windows(answer)
            fresh.extend(_Offer(window, score, (number, k)) for window, score in windows)
        for offer in fresh:
            self._consider(offer)
        self._offers += fresh
        self._consider_union(fresh)

    def _windows(self, answer: Candidates) -> list[tuple[MaskWindow, float]]:
        """The masks of an answer that are not empty, with their scores."""
        found = []
        for mask, score in zip(answer.masks, answer.scores, strict=True):
            window = MaskWindow.crop(np.asarray(mask), answer.origin).clipped(self.shape_yx)
            if window.area:
                found.append((window, float(score)))
        return found

    def candidates(self, answers: list[Candidates]) -> list[tuple[MaskWindow, float]]:
        """Masks and scores of answers, without what is another object."""
        found = []
        for answer in answers:
            for window, score in self._windows(answer):
                seen = judge(window, score, self.expectations[0], self.state, self.settings)
                if seen is not None and not self._is_other(seen):
                    found.append((window, score))
        return found

    def _consider(self, offer: _Offer) -> None:
        for judged, expected in zip(self._judged, self.expectations, strict=True):
            judgement = judge(offer.mask, offer.score, expected, self.state, self.settings)
            if judgement is not None and not self._is_other(judgement):
                judged.append((judgement, offer))

    def _consider_union(self, fresh: list[_Offer]) -> None:
        """Several parts that each lie inside the expected mask may together be the object."""
        if not self.settings.choose or self._sure():
            return
        expected = self.expectations[0].mask
        for offer in fresh:
            if shared_area(offer.mask, expected) >= 0.75 * offer.mask.area:
                self._contained.append(offer)
        if len(self._contained) < 2:
            return
        joined, score = self._contained[0].mask, self._contained[0].score
        for offer in self._contained[1:]:
            if shared_area(offer.mask, joined) < 0.9 * offer.mask.area:
                joined, score = union(joined, offer.mask), min(score, offer.score)
        self._consider(_Offer(joined, score, (-1, 0)))

    def _is_other(self, judgement: Judgement) -> bool:
        """Whether the candidate is another object: holds its mark, or is its seed rather."""
        if any(judgement.mask.contains(y, x) for _, y, x in self._marks):
            return True
        for other in self._others:
            shared = shared_area(judgement.mask, other)
            if shared > 0.5 * other.area and iou(judgement.mask, other) > judgement.agreement:
                return True
        return False

    def _supported(self, judgement: Judgement, offer: _Offer) -> bool:
        """Whether another prompt gave the same mask: what is there shows in more than one way."""
        sources = {o.source for o in self._offers}
        if not self.settings.support or len(sources) < 2:
            return True
        return any(
            o.source != offer.source
            and iou(o.mask, judgement.mask) >= self.settings.support_agreement
            for o in self._offers
        )

    def _best(self, k: int) -> Judgement | None:
        """The first in rank that is accepted, and supported where it agrees little."""
        for judgement, offer in sorted(self._judged[k], key=lambda pair: -_rank(pair[0])):
            if not judgement.accepted:
                continue
            if self._credible(judgement, offer):
                return judgement
        return None

    def _credible(self, judgement: Judgement, offer: _Offer) -> bool:
        """Whether a candidate agrees well, or shows in more than one way."""
        return judgement.agreement >= self.settings.abrupt or self._supported(judgement, offer)

    def lost_at_seed(self) -> bool:
        """Whether the velocity is unknown and the object was not plainly found."""
        if self.expectations[0].pose.known:
            return False
        found = self.chosen()
        if found is not None and self.settings.points_decide:
            return found[1].agreement < self.settings.abrupt
        return not self._sure() or found is None or found[1].score < 0.5

    # --- choosing --------------------------------------------------------------------------------

    def _was_glitch(self, new: Judgement, old: Judgement) -> bool:
        """Whether the object is again as it was before the abrupt change.

        Where one mask continues both, the change is undone only if it fits the changed mask badly.
        """
        if old.agreement < max(0.65, new.agreement - 0.05):
            return False
        fits_both = iou(new.mask, old.mask) >= self.settings.support_agreement
        return not fits_both or new.agreement < self.settings.doubtful

    def chosen(self) -> tuple[Expected, Judgement] | None:
        """The candidate that continues the object, and which former mask it continues."""
        if self._has_vanished():
            return None
        found = [
            (expected, best)
            for k, expected in enumerate(self.expectations)
            if (best := self._best(k)) is not None
        ]
        if len(found) == 2:
            (_, new), (_, old) = found
            return found[1] if self._was_glitch(new, old) else found[0]
        return found[0] if found else None


@dataclass(frozen=True, eq=False)
class _Offer:
    """A mask that the model offered: for which prompt (round, number), with which score."""

    mask: MaskWindow
    score: float
    source: tuple[int, int]


def _rank(judgement: Judgement) -> float:
    return judgement.total
