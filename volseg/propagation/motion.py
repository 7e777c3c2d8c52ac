"""How masks move from slice to slice: a smoothed velocity of the whole, and of each component."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volseg.propagation.geometry import components
from volseg.propagation.state import Pose
from volseg.propagation.window import MaskWindow, shared_area, union

LEAST_PART = 0.05
"""Components under this share of the mask have no motion of their own."""


def ahead(pose: Pose, steps: int) -> MaskWindow:
    """The mask of `pose`, `steps` slices on, each component by its own velocity."""
    if not pose.parts:
        return pose.mask.moved((pose.velocity[0] * steps, pose.velocity[1] * steps))
    moved = pose.mask.moved((0, 0))
    for n, part in enumerate(components(pose.mask)):
        vy, vx = pose.parts[n] if n < len(pose.parts) else pose.velocity
        there = part.moved((vy * steps, vx * steps))
        moved = there if n == 0 else union(moved, there)
    return moved


def following(pose: Pose, z: int, mask: MaskWindow, share: float) -> Pose:
    """The pose of `mask` on slice `z`, which continues `pose`.

    Parameters
    ----------
    pose : Pose
        The former mask.
    z : int
    mask : MaskWindow
    share : float
        Weight of the velocity measured now, 0..1; the rest is the former one's.
    """
    steps = abs(z - pose.z)
    velocity = _blend(pose.velocity, (mask.centroid - pose.mask.centroid) / steps, share)
    return Pose(z, mask, velocity, True, _parts(pose, mask, velocity, steps, share))


def _blend(
    before: tuple[float, float], now: NDArray[np.float64], share: float
) -> tuple[float, float]:
    vy, vx = (1 - share) * np.array(before) + share * now
    return float(vy), float(vx)


def _parts(
    pose: Pose,
    mask: MaskWindow,
    velocity: tuple[float, float],
    steps: int,
    share: float,
) -> tuple[tuple[float, float], ...]:
    """Velocities of the components of `mask`, where it has several; else none."""
    parts = components(mask, LEAST_PART)
    if len(parts) < 2:
        return ()
    former = components(pose.mask, LEAST_PART)
    if len(former) < 2:
        return tuple(velocity for _ in parts)
    known = pose.parts if len(pose.parts) == len(former) else ()
    out = []
    for part in parts:
        n = _match(part, former, known or tuple(pose.velocity for _ in former), steps)
        measured = (part.centroid - former[n].centroid) / steps
        size = float(np.sqrt(part.area))
        if np.hypot(*measured) * steps > 2 * size:
            out.append(velocity)
        else:
            out.append(_blend(known[n], measured, share) if known else _whole(measured))
    return tuple(out)


def _whole(measured: NDArray[np.float64]) -> tuple[float, float]:
    return float(measured[0]), float(measured[1])


def _match(
    part: MaskWindow,
    former: list[MaskWindow],
    velocities: tuple[tuple[float, float], ...],
    steps: int,
) -> int:
    """Which former component, moved on, `part` overlaps most, or else lies nearest to."""
    moved = [f.moved((v[0] * steps, v[1] * steps)) for f, v in zip(former, velocities, strict=True)]
    shared = [shared_area(part, m) for m in moved]
    if max(shared):
        return int(np.argmax(shared))
    return int(np.argmin([np.hypot(*(part.centroid - m.centroid)) for m in moved]))
