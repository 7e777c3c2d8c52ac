"""How masks move from slice to slice: a smoothed velocity of the whole, and of each component."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volseg.propagation.geometry import components, depth
from volseg.propagation.state import Pose
from volseg.propagation.window import MaskWindow, shared_area, union

LEAST_PART = 0.05
"""Components under this share of the mask have no motion of their own."""


def ahead(pose: Pose, steps: int) -> MaskWindow:
    """The mask of `pose`, `steps` slices on: each component by its own velocity, then resized."""
    return resized(_moved(pose, steps), pose.growth * steps)


def _moved(pose: Pose, steps: int) -> MaskWindow:
    if not pose.parts:
        return pose.mask.moved((pose.velocity[0] * steps, pose.velocity[1] * steps))
    moved = pose.mask
    for n, part in enumerate(components(pose.mask)):
        vy, vx = pose.parts[n] if n < len(pose.parts) else pose.velocity
        there = part.moved((vy * steps, vx * steps))
        moved = there if n == 0 else union(moved, there)
    return moved


def resized(mask: MaskWindow, by: float) -> MaskWindow:
    """The mask with its border moved outward by `by` voxels, at most a third of its radius."""
    most = float(np.sqrt(mask.area / np.pi)) / 3
    by = max(-most, min(most, by))
    if abs(by) < 0.5:
        return mask
    if by < 0:
        inner = MaskWindow.crop(depth(mask.mask) > 0.5 - by, mask.origin)
        return inner if inner.area else mask
    margin = int(np.ceil(by)) + 1
    wide = np.pad(~mask.mask, margin, constant_values=True)
    away = np.asarray(ndimage.distance_transform_edt(wide))
    origin = (mask.origin[0] - margin, mask.origin[1] - margin)
    return MaskWindow.crop(away <= by + 0.5, origin)


def border_motion(before: MaskWindow, now: MaskWindow, steps: int) -> float:
    """How far the border moved outward per slice, from the areas and the border's length."""
    length = 0.5 * (_border_length(before) + _border_length(now))
    return (now.area - before.area) / max(1.0, length) / steps


def _border_length(mask: MaskWindow) -> float:
    """Length of the border in voxels: exposed sides, times the share that a circle has of them."""
    m = mask.mask
    sides = np.count_nonzero(m[1:] != m[:-1]) + np.count_nonzero(m[:, 1:] != m[:, :-1])
    sides += sum(int(np.count_nonzero(edge)) for edge in (m[0], m[-1], m[:, 0], m[:, -1]))
    return float(sides) * np.pi / 4


def following(pose: Pose, z: int, mask: MaskWindow, share: float, steady: bool) -> Pose:
    """The pose of `mask` on slice `z`, which continues `pose`.

    Parameters
    ----------
    pose : Pose
        The former mask.
    z : int
    mask : MaskWindow
    share : float
        Weight of the velocity measured now, 0..1; the rest is the former one's.
    steady : bool
        Whether the mask agreed with what was expected, so that its growth means something.
    """
    steps = abs(z - pose.z)
    velocity = _blend(pose.velocity, (mask.centroid - pose.mask.centroid) / steps, share)
    growth = 0.5 * pose.growth
    if steady:
        growth += 0.5 * border_motion(pose.mask, mask, steps)
    return Pose(z, mask, velocity, True, _parts(pose, mask, velocity, steps, share), growth)


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
