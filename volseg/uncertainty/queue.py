"""The queue of regions worth a stroke: which one is offered next, and that none is offered twice.

Two thirds of the offers are uncertain regions, stratified by class with noise (ClaSP PE, TMLR 2026), one third is
drawn from the foreground at random, which is what little reliably does better than (nnActive, TMLR 2025). An offer is
an object on the store, created conditionally: of several annotators only one gets a region.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.errors import AlreadyWrittenError, InputError
from volseg.geometry import Region, Triple
from volseg.uncertainty.regions import Regions, centre, score

if TYPE_CHECKING:
    from volseg.classify.voxels.maps import Maps
    from volseg.images.labels import Labels

FOLDER = "volseg/offers"
SEED = f"{FOLDER}/seed.json"
NOISE = 0.5
"""Standard deviation of the noise on log scores."""
FOREGROUND = 0.05
"""Least mean probability of a class but background at which a region counts as foreground."""
MOST = 1000


@dataclass(frozen=True)
class Offer:
    """A region that somebody was sent to.

    Parameters
    ----------
    number
        Order in which it was offered, from 1.
    time
        Time index.
    region, centre
        Voxels of level 0 of the scribbles.
    why
        ``uncertain`` or ``foreground`` (at random).
    entropy
        Mean over the region, 0 to 1.
    class_number, class_name
        What the classifier takes most of it for, background aside.
    seed
        Of the draw.
    """

    number: int
    time: int
    region: Region
    centre: Triple
    why: str
    entropy: float
    class_number: int
    class_name: str | None
    seed: int
    offered: str


def offer_next(labels: Labels, maps: Maps, count: int = 1, *, time: int = 0) -> list[Offer]:
    """Offer the next regions worth a stroke, none of which was offered before.

    Parameters
    ----------
    labels
        The scribbles; the queue is kept beside them.
    maps
        Of a classifier trained on them, on the scribbles' grid.
    count
        How many; fewer are returned once all regions were offered or are annotated.
    time
        Time index.

    Raises
    ------
    InputError
        If maps and scribbles lie on different grids, or the time is not there.
    """
    if not 1 <= count <= MOST:
        raise InputError(f"--count {count}: expected 1 to {MOST}")
    if maps.volume.shape != labels.shape:
        raise InputError(
            f"maps {maps.name!r} have {maps.volume.shape} voxels (z, y, x), but {labels.location} has "
            f"{labels.shape}: apply the classifier to the level that the scribbles are on"
        )
    labels.levels[0].check_index("t", time)
    regions = score(maps, labels, time)
    if regions.annotated.all():
        raise InputError(
            f"every region of {labels.location} is labelled already: give the scribbles' name, not that of what was "
            "made of them"
        )
    seed = _seed(labels)
    taken = len(labels.store.list_names_or_none(f"{FOLDER}/t{time:04d}") or ())
    numbers = sorted(maps.classes)
    background = _background(maps)
    shares = np.delete(regions.shares, numbers.index(background), axis=1)
    others = [number for number in numbers if number != background]
    found: list[Offer] = []
    for at, why in _order(regions, shares, taken, np.random.default_rng([seed, time, taken])):
        kind = others[int(shares[at].argmax())]
        region = regions.region(at)
        made = Offer(
            taken + len(found) + 1, time, region, centre(region), why, round(float(regions.entropy[at]), 4),
            kind, maps.classes[kind], seed, datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        if _claim(labels, at, made):
            found.append(made)
        if len(found) == count:
            break
    return found


def offers(labels: Labels, time: int = 0) -> list[Offer]:
    """Return what was offered so far, in its order."""
    prefix = f"{FOLDER}/t{time:04d}"
    found = []
    for name in labels.store.list_names_or_none(prefix) or ():
        said = json.loads(labels.store.get(f"{prefix}/{name}"))
        said["region"] = tuple((int(a), int(b)) for a, b in said["region"])
        said["centre"] = tuple(said["centre"])
        found.append(Offer(**said))
    return sorted(found, key=lambda one: (one.number, one.region))


def _order(
    regions: Regions, shares: NDArray[np.float64], turn: int, rng: np.random.Generator
) -> Iterator[tuple[int, str]]:
    """Yield all regions that nobody annotated: two uncertain ones, then one at random of the foreground."""
    free = np.flatnonzero(~regions.annotated)
    noisy = np.log(regions.entropy[free] + 1e-6) + rng.normal(0, NOISE, len(free))
    ranked = free[np.argsort(-noisy, kind="stable")]
    kinds = shares[ranked].argmax(axis=1)
    strata = [deque(ranked[kinds == kind].tolist()) for kind in range(shares.shape[1])]
    foreground = free[shares[free].sum(axis=1) >= FOREGROUND]
    drawn = deque(rng.permutation(foreground).tolist())
    seen: set[int] = set()
    while any(strata) or drawn:
        at_random = bool(drawn) and (turn % 3 == 2 or not any(strata))
        kind = (turn - turn // 3) % len(strata)
        others = next((q for q in (*strata[kind:], *strata[:kind]) if q), drawn)
        at = (drawn if at_random else others).popleft()
        if at not in seen:
            seen.add(at)
            turn += 1
            yield at, "foreground" if at_random else "uncertain"


def _claim(labels: Labels, at: int, made: Offer) -> bool:
    """Write an offer down; False where somebody was sent there before."""
    key = f"{FOLDER}/t{made.time:04d}/{at:09d}.json"
    try:
        labels.store.put_new(key, json.dumps(asdict(made), sort_keys=True).encode())
    except AlreadyWrittenError:
        return False
    return True


def _seed(labels: Labels) -> int:
    """Return the queue's seed, drawn once."""
    drawn = int(np.random.default_rng().integers(1 << 31))
    try:
        labels.store.put_new(SEED, json.dumps({"seed": drawn}).encode())
    except AlreadyWrittenError:
        return int(json.loads(labels.store.get(SEED))["seed"])
    return drawn


def _background(maps: Maps) -> int:
    """Return the number of the class that is no object: the one that is called so, else the lowest."""
    named = [n for n, name in maps.classes.items() if (name or "").strip().lower() == "background"]
    return min(named or maps.classes)
