"""Which way an object goes from its seed, where the first slice does not plainly say.

Guesses at its velocity come from what the model offers on the slices around; each is put to the
test on all of them. Only the seed and the context decide, so every pass finds the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from volseg.propagation.context import Context
from volseg.propagation.predictor import SlicePredictor
from volseg.propagation.search import Search
from volseg.propagation.settings import Settings
from volseg.propagation.state import State
from volseg.propagation.window import MaskWindow, aligned_iou, iou

REACH = 4
"""Slices looked at on either side of the seed."""
NEAR = 2
"""Of these, the slices on which every guess is tested; the others are for the best."""
GUESSES, FINALISTS = 5, 2
"""Velocities that are put to the test with prompts of their own, nearby and on all slices."""
CLOSE = 0.2
"""Velocities that differ by less, in diameters a slice, count as one."""
LEAST_SUPPORT = 0.7
"""Support, about slices on which the object shows, under which it is taken to stand still."""


@dataclass(frozen=True, eq=False)
class _Guess:
    """A velocity in voxels per slice upward, and what speaks for it."""

    velocity: NDArray[np.float64]
    likeness: float


def find_motion(
    predictor: SlicePredictor,
    object_id: int,
    state: State,
    context: Context,
    settings: Settings,
) -> State:
    """The state at a seed with a velocity, and with the score that is usual around it.

    Parameters
    ----------
    predictor : SlicePredictor
    object_id : int
    state : State
        Its last mask is the seed, of unknown velocity.
    context : Context
    settings : Settings

    Returns
    -------
    State
        Standing still, and without a usual score, where no velocity is supported by what the model
        offers.
    """
    assert state.last is not None
    seed = state.last
    around = _Around(predictor, object_id, state, context, settings)
    guesses = around.guesses()
    ranked = sorted(guesses, key=lambda guess: -around.support(guess.velocity))
    tested = ranked[:GUESSES]
    if not any(np.array_equal(g.velocity, (0.0, 0.0)) for g in tested):
        tested.append(_Guess(np.zeros(2), 1.0))
    for guess in tested:
        around.test(guess.velocity, range(1, NEAR + 1))
    tested.sort(key=lambda guess: -around.support(guess.velocity))
    for guess in tested[:FINALISTS]:
        around.test(guess.velocity, range(NEAR + 1, REACH + 1))
    best = max(tested, key=lambda guess: around.support(guess.velocity))
    velocity, score = best.velocity, around.usual_score(best.velocity)
    if around.support(velocity) < LEAST_SUPPORT:
        velocity, score = np.zeros(2), -1.0
    vy, vx = velocity * state.direction
    pose = replace(seed, velocity=(float(vy), float(vx)), known=True)
    return replace(state, last=pose, score=max(state.score, score))


class _Around:
    """The slices around a seed, and what the model offers there."""

    def __init__(
        self,
        predictor: SlicePredictor,
        object_id: int,
        state: State,
        context: Context,
        settings: Settings,
    ) -> None:
        assert state.last is not None
        self.predictor, self.object_id, self.context = predictor, object_id, context
        self.settings, self.state, self.seed = settings, state, state.last
        self.diameter = 2 * float(np.sqrt(self.seed.mask.area / np.pi))
        self.offers: dict[int, list[tuple[MaskWindow, float]]] = {}
        for side in (1, -1):
            for away in range(1, REACH + 1):
                z = self.seed.z + side * away
                if not 0 <= z < predictor.shape[0] or context.stops(object_id, z):
                    break
                self.offers[side * away] = []
                self._ask(side * away, self._looking(side * away, np.zeros(2)), True)

    def guesses(self) -> list[_Guess]:
        """Velocities at which something like the seed would lie where it was offered, no two
        alike; standing still first.
        """
        found = []
        for away, offers in self.offers.items():
            for mask, score in offers:
                like = aligned_iou(self.seed.mask, mask)
                ratio = min(mask.area, self.seed.mask.area) / max(mask.area, self.seed.mask.area)
                velocity = (mask.centroid - self.seed.mask.centroid) / away
                near = float(np.hypot(*velocity)) <= self.settings.jump_distance * self.diameter
                if ratio >= self.settings.jump_area and like >= 0.5 and near:
                    found.append(_Guess(velocity, like + 0.3 * score))
        kept = [_Guess(np.zeros(2), 1.0)]
        for guess in sorted(found, key=lambda g: -g.likeness):
            apart = [float(np.hypot(*(guess.velocity - k.velocity))) for k in kept]
            if min(apart[1:], default=np.inf) > CLOSE * self.diameter and apart[0] > 0:
                kept.append(guess)
        return kept

    def support(self, velocity: NDArray[np.float64]) -> float:
        """About how many slices show the object where it would be at this velocity."""
        return sum(says for says, _ in self._said(velocity))

    def usual_score(self, velocity: NDArray[np.float64]) -> float:
        """The mean score of what supports a velocity, each by its support; -1 where nothing does."""
        said = self._said(velocity)
        total = sum(says for says, _ in said)
        return sum(says * score for says, score in said) / total if total > 0 else -1.0

    def _said(self, velocity: NDArray[np.float64]) -> list[tuple[float, float]]:
        """On each slice the most that is said for a velocity, and the score of what says it."""
        found = []
        for away, offers in self.offers.items():
            expected = self.seed.mask.moved(velocity * away)
            said = ((_speaks(mask, score, expected), score) for mask, score in offers)
            found.append(max(said, default=(0.0, 0.0)))
        return found

    def test(self, velocity: NDArray[np.float64], distances: range) -> None:
        """Asks the model where the object would be at this velocity, so many slices away."""
        for away in self.offers:
            if abs(away) in distances:
                self._ask(away, self._looking(away, velocity), False)

    def _looking(self, away: int, velocity: NDArray[np.float64]) -> Search:
        side = 1 if away > 0 else -1
        vy, vx = velocity * side
        pose = replace(self.seed, velocity=(float(vy), float(vx)), known=bool(velocity.any()))
        state = replace(self.state, direction=side, last=pose, anchor=None)
        shape = self.predictor.shape[1:]
        z = self.seed.z + away
        return Search(self.object_id, z, state, self.context, shape, self.settings)

    def _ask(self, away: int, search: Search, widely: bool) -> None:
        if not search.expectations:
            return
        prompts = search.all_prompts(ring=abs(away) == 1) if widely else search.prompts(0)[:1]
        answers = self.predictor.predict(search.z, prompts)
        self.offers[away] += search.candidates(answers)


def _speaks(mask: MaskWindow, score: float, expected: MaskWindow) -> float:
    """How far a mask shows the expected one, 0..1."""
    if not mask.area:
        return 0.0
    return max(0.0, iou(mask, expected) - 0.4) / 0.6 * (0.5 + 0.5 * min(1.0, max(0.0, score)))
