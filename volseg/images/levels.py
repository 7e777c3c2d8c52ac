"""Which levels a pyramid has: whole factors per step, chosen by voxel size, or taken over from an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from volseg.geometry import Triple

SMALLEST = 256
"""A pyramid ends once y and x are no longer than this."""


@dataclass(frozen=True)
class LevelPlan:
    """One level of a pyramid.

    Parameters
    ----------
    shape
        Voxels (z, y, x): ceil(n / f) of level 0 for the total factors f.
    scale
        Voxel size (z, y, x) in the unit of the plan's input.
    factors
        Whole (z, y, x) factors from the next finer level (1, 1, 1 for level 0).
    total
        Whole (z, y, x) factors from level 0.
    """

    shape: Triple
    scale: tuple[float, float, float]
    factors: Triple
    total: Triple


def level_plan(
    shape: Sequence[int], scale: Sequence[float], *, smallest: int = SMALLEST, most: int = 12
) -> list[LevelPlan]:
    """Plan a pyramid by halving, level 0 included.

    At each step the axes are halved whose voxel size is at most √2 of the finest axis's, so that voxels become near
    isotropic first and stay so: z of thick sections waits until y and x have caught up. Axes of length 1 stay.

    Parameters
    ----------
    shape
        Voxels (z, y, x) of level 0.
    scale
        Voxel size (z, y, x) of level 0, in any one unit.
    smallest
        Stop once y and x are no longer than this.
    most
        Most levels.
    """
    totals = [(1, 1, 1)]
    current = tuple(shape)
    size = [float(s) for s in scale]
    while max(current[1:]) > smallest and len(totals) < most:
        long = [s for n, s in zip(current, size, strict=True) if n > 1]
        step = [
            2 if n > 1 and s <= min(long) * sqrt(2) else 1
            for n, s in zip(current, size, strict=True)
        ]
        z, y, x = (t * f for t, f in zip(totals[-1], step, strict=True))
        totals.append((z, y, x))
        current = tuple(-(-n // t) for n, t in zip(shape, totals[-1], strict=True))
        size = [s * f for s, f in zip(size, step, strict=True)]
    return plan_of(shape, scale, totals)


def plan_of(
    shape: Sequence[int], scale: Sequence[float], totals: Sequence[Triple]
) -> list[LevelPlan]:
    """Return the plan of given whole total factors, the first being (1, 1, 1)."""
    plans: list[LevelPlan] = []
    previous: Triple = (1, 1, 1)
    for total in totals:
        z, y, x = (-(-n // f) for n, f in zip(shape, total, strict=True))
        a, b, c = (float(s) * f for s, f in zip(scale, total, strict=True))
        p, q, r = (t // u for t, u in zip(total, previous, strict=True))
        plans.append(LevelPlan((z, y, x), (a, b, c), (p, q, r), total))
        previous = total
    return plans


def whole_factors(
    shapes: Sequence[Sequence[int]], scales: Sequence[Sequence[float]]
) -> list[Triple] | None:
    """Return the whole total factors of an image's levels, None where they are not whole multiples of each other.

    Parameters
    ----------
    shapes, scales
        Voxels and voxel size (z, y, x) of each level. Both must agree: the shape may be rounded up or down, but no
        level may have voxels of which the next finer one has nothing.
    """
    totals: list[Triple] = [(1, 1, 1)]
    for finer, shape, scale in zip(shapes, shapes[1:], scales[1:], strict=False):
        total = []
        for axis, (n, s, before) in enumerate(zip(shape, scale, totals[-1], strict=True)):
            n0, s0 = shapes[0][axis], scales[0][axis]
            factor = round(s / s0)
            if factor < 1 or factor % before or abs(s / s0 - factor) > 1e-3 * factor:
                return None
            below = -(-finer[axis] // (factor // before))
            if n not in (n0 // factor, -(-n0 // factor)) or n > below:
                return None
            total.append(factor)
        totals.append((total[0], total[1], total[2]))
    return totals


def voxel_ratio(
    full: Sequence[int], full_scale: Sequence[float], shape: Sequence[int], scale: Sequence[float]
) -> tuple[float, float, float]:
    """Return how many voxels of one level lie along a voxel of a coarser one, per axis z, y, x.

    Voxel sizes decide; where they contradict the shapes, as those of writers who leave them alone, the shapes do.
    """
    ratios = []
    for n0, s0, n, s in zip(full, full_scale, shape, scale, strict=True):
        ratio = s / s0
        if abs(n0 / ratio - n) >= 1:
            whole = round(n0 / n)
            ratio = whole if n in (n0 // whole, -(-n0 // whole)) else n0 / n
        whole = round(ratio)
        ratios.append(float(whole) if abs(ratio - whole) <= 1e-3 * ratio else ratio)
    return (ratios[0], ratios[1], ratios[2])
