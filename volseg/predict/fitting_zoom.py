"""The zoom that suits objects that are marked by points alone: from the model's own first masks of a few of them.

A model is right about an object where it shows it at a size that it likes, and nobody knows that size before it was
asked. So it looks at zooms 1 and 2, and at the one that the masks found there ask for; masks that it scores well and
finds at several zooms tell the size. Of the zooms looked at, the one is taken at which it scores its masks best.
Pure: what looks stands behind `Looker`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from volseg.features.tiling import choose_zoom
from volseg.geometry import evenly
from volseg.propagation.context import Context
from volseg.propagation.predictor import Candidates, SlicePrompt
from volseg.propagation.seeding import agreement_with_marks
from volseg.propagation.window import Box, MaskWindow, iou

MOST_PLACES, MOST_SLICES = 12, 4
"""Prompted places that are looked at, and the slices that they lie on."""
FIRST_ZOOMS, MOST_ZOOMS = (1.0, 2.0), 3
CUT = 0.7
"""What a mask that is cut off by its tile counts: the object is larger than it shows."""
LARGE = 0.5
"""What a mask counts that fills most of the slice, which is background more often than an object."""
LIKING = 0.1
"""How much less a mask counts for each doubling or halving away from the size that the model likes."""
FITTING = 0.03
"""How much higher the mean score must be at a zoom that is half or double of what the sizes ask for."""
EVERYWHERE: Box = (-1, -1, 2**31, 2**31)


@dataclass(frozen=True, eq=False)
class Place:
    """One object's prompt on one slice, and the other objects' points there (y, x)."""

    object_id: int
    z: int
    prompt: SlicePrompt
    others: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Look:
    """What is offered for one place at one zoom.

    Parameters
    ----------
    candidates : Candidates
        Masks in the slice, and their scores.
    tile : (y0, x0, y1, x1)
        The part of the slice that was looked at.
    margin : float
        Voxels: a mask that comes so near to an edge of the tile, where the slice goes on, is cut off by it.
    """

    candidates: Candidates
    tile: Box
    margin: float


class Looker(Protocol):
    """What looks at places, at any zoom."""

    shape: tuple[int, int, int]
    """The volume's z, y, x in voxels."""

    def scale(self, zoom: float) -> float:
        """Model pixels per voxel that a zoom comes to: small slices are enlarged to fill a tile."""
        ...

    def look(self, zoom: float, places: Sequence[Place]) -> list[Look | None]:
        """Offer masks for each place; None for those that there was no time for."""
        ...


@dataclass(frozen=True)
class FittingZoom:
    """A zoom, and the diameters in voxels (of discs of the masks' areas) that it was chosen by."""

    zoom: float
    diameters: tuple[float, ...] = ()

    @property
    def extremes(self) -> tuple[float, float]:
        """The diameters that a tenth of the objects lies below and above: no single mask decides; 0, 0 of none."""
        if not self.diameters:
            return 0.0, 0.0
        low, high = np.quantile(self.diameters, (0.1, 0.9))
        return float(low), float(high)


@dataclass(frozen=True, eq=False)
class _Offer:
    zoom: float
    mask: MaskWindow
    worth: float
    liking: float


class _Seen:
    """All that was offered for one place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.zooms: set[float] = set()
        self.offers: list[_Offer] = []

    def diameter(self) -> float | None:
        """How wide, in voxels, the mask is that score, marks and the other zooms speak for; None without any."""
        best = max(self.offers, key=self._support, default=None)
        return None if best is None or self._support(best) <= 0 else _diameter(best.mask)

    def _support(self, offer: _Offer) -> float:
        elsewhere = [other for other in self.offers if other.zoom != offer.zoom]
        agreeing = max((iou(offer.mask, o.mask) * o.worth for o in elsewhere), default=0.0)
        return offer.worth * offer.liking * (agreeing if elsewhere else 1.0)

    def worth(self, zoom: float) -> float:
        """What the best mask at a zoom counts, 0..1."""
        return max((offer.worth for offer in self.offers if offer.zoom == zoom), default=0.0)


def places_of(prompts: Mapping[int, Mapping[int, SlicePrompt]]) -> list[Place]:
    """Choose the places that are looked at, by the prompts alone: the same for any number of workers.

    Parameters
    ----------
    prompts : {object id: {z: SlicePrompt}}
        Of objects of unknown size. Slices without a positive point are left out.

    Returns
    -------
    list of Place
        At most `MOST_PLACES`, on at most `MOST_SLICES` slices, evenly chosen: each object on its first slice.
    """
    context = Context(prompts)
    by_slice: dict[int, list[int]] = {}
    for i, of in sorted(prompts.items()):
        marked = [z for z, prompt in sorted(of.items()) if _is_marked(prompt)]
        if marked:
            by_slice.setdefault(marked[0], []).append(i)
    chosen = evenly(sorted(by_slice), MOST_SLICES)
    found = []
    for z in chosen:
        for i in evenly(by_slice[z], MOST_PLACES // len(chosen)):
            others = tuple((y, x) for _, y, x in context.others_points(i, z, EVERYWHERE, 0))
            found.append(Place(i, z, prompts[i][z], others))
    return found


def find_zoom(places: Sequence[Place], looker: Looker, object_size: int) -> FittingZoom:
    """Find the zoom at which the model is surest of the objects at some places.

    Parameters
    ----------
    places : sequence of Place
        From `places_of`.
    looker : Looker
        Asked at two or three zooms.
    object_size : int
        Diameter in model pixels, as `ModelSpec.object_size`.

    Returns
    -------
    FittingZoom
        1 where nothing was found.
    """
    seen = [_Seen(place) for place in places]
    waiting, looked = list(FIRST_ZOOMS), list[float]()
    wanted, known = 1.0, tuple[float, ...]()
    while places:
        while waiting:
            zoom = waiting.pop(0)
            if not any(_alike(looker, zoom, other) for other in looked):
                _look(seen, looker, zoom, object_size)
                looked.append(zoom)
        sizes = [one.diameter() for one in seen]
        known = tuple(size for size in sizes if size is not None)
        wanted = choose_zoom(known, object_size)
        if len(looked) == MOST_ZOOMS or any(_alike(looker, wanted, zoom) for zoom in looked):
            break
        waiting = [wanted]
    if not known:
        return FittingZoom(1.0)
    everywhere = [one for one in seen if one.zooms.issuperset(looked)] or seen

    def merit(zoom: float) -> float:
        score = float(np.mean([one.worth(zoom) for one in everywhere]))
        return score - FITTING * abs(math.log2(looker.scale(zoom) / looker.scale(wanted)))

    return FittingZoom(max(looked, key=merit), known)


def _alike(looker: Looker, zoom: float, other: float) -> bool:
    return math.isclose(looker.scale(zoom), looker.scale(other), rel_tol=1e-6)


def _look(seen: Sequence[_Seen], looker: Looker, zoom: float, object_size: int) -> None:
    """Add what is offered at a zoom to what was seen."""
    shape, scale = looker.shape[1:], looker.scale(zoom)
    for one, look in zip(seen, looker.look(zoom, [one.place for one in seen]), strict=True):
        if look is None:
            continue
        one.zooms.add(zoom)
        answer = look.candidates
        for mask, score in zip(answer.masks, answer.scores, strict=True):
            window = MaskWindow.crop(np.asarray(mask), answer.origin).clipped(shape)
            if not window.area:
                continue
            # a model that tells no score is judged by the marks and by agreement alone
            worth = 1.0 if math.isnan(score) else min(1.0, max(0.0, float(score)))
            worth *= agreement_with_marks(window, one.place.prompt, one.place.others)
            worth *= CUT if _is_cut(window, look, shape) else 1.0
            worth *= LARGE if window.area > 0.5 * shape[0] * shape[1] else 1.0
            doublings = abs(math.log2(_diameter(window) * scale / object_size))
            one.offers.append(_Offer(zoom, window, worth, max(0.0, 1 - LIKING * doublings)))


def _is_cut(mask: MaskWindow, look: Look, shape: tuple[int, int]) -> bool:
    y0, x0, y1, x1 = mask.box
    top, left, bottom, right = look.tile
    return (
        (top > 0 and y0 < top + look.margin)
        or (left > 0 and x0 < left + look.margin)
        or (bottom < shape[0] and y1 > bottom - look.margin)
        or (right < shape[1] and x1 > right - look.margin)
    )


def _diameter(mask: MaskWindow) -> float:
    return 2 * math.sqrt(mask.area / math.pi)


def _is_marked(prompt: SlicePrompt) -> bool:
    return bool((np.asarray(prompt.point_labels) == 1).any())
