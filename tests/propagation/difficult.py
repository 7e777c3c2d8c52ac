"""Difficult shapes with known truth: what a propagation must follow, in many sizes and directions.

A case is a label volume, object 1 being the one that is prompted, on one slice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """One shape.

    Parameters
    ----------
    name : str
    truth : (z, y, x) bool
        Object 1, bridged slices included.
    visible : (z, y, x) int
        What the model can see: labels, object 1 missing where it vanishes.
    seed_z : int
        The prompted slice.
    """

    name: str
    truth: NDArray[np.bool_]
    visible: NDArray[np.int32]
    seed_z: int

    @property
    def seeds(self) -> dict[int, dict[int, NDArray[np.bool_]]]:
        return {1: {self.seed_z: self.visible[self.seed_z] == 1}}


def disc(shape: tuple[int, int], centre: tuple[float, float], ry: float, rx: float | None = None):
    """(y, x) bool ellipse."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y - centre[0]) / ry) ** 2 + ((x - centre[1]) / (rx or ry)) ** 2 <= 1


def _tube(
    rng: np.random.Generator,
    name: str,
    step: float,
    missing: int = 0,
    neighbours: bool = True,
) -> Case:
    """A tube of `step` diameters a slice, seeded in the middle or at an end."""
    radius = rng.uniform(5, 9)
    n = int(rng.integers(12, 18)) if step else 24
    angle = rng.uniform(0, 2 * np.pi)
    move = step * 2 * radius * np.array([np.sin(angle), np.cos(angle)])
    span = np.abs(move) * (n - 1)
    margin = 3 * radius + 4
    size = (int(span[0] + 2 * margin), int(span[1] + 2 * margin))
    size = (max(size[0], 64), max(size[1], 64))
    start = np.array(size) / 2 - move * (n - 1) / 2
    visible = np.zeros((n + 6, *size), np.int32)
    for k in range(n):
        at = start + move * k
        visible[3 + k][disc(size, (at[0], at[1]), radius)] = 1
    truth = visible == 1
    seed = int(rng.choice([3, 3 + n // 2, 3 + n - 1]))
    if missing:
        for first in (5 + n // 4, 3 + 3 * n // 4):
            if not first <= seed < first + missing:
                visible[first : first + missing][truth[first : first + missing]] = 0
    if neighbours and step < 0.4:
        side = np.array([np.cos(angle), -np.sin(angle)]) * radius * 2.6
        other = np.array(size) / 2 + side
        for z in range(len(visible)):
            spot = disc(size, (other[0], other[1]), radius * 0.9)
            visible[z][spot & (visible[z] == 0) & ~truth[z]] = 2
    return Case(name, truth, visible, seed)


def straight(rng: np.random.Generator) -> Case:
    return _tube(rng, "straight", 0.0)


def oblique_half(rng: np.random.Generator) -> Case:
    return _tube(rng, "oblique 0.5", 0.5)


def oblique_most(rng: np.random.Generator) -> Case:
    return _tube(rng, "oblique 0.9", 0.9)


def missing_one(rng: np.random.Generator) -> Case:
    return _tube(rng, "missing 1", float(rng.uniform(0, 0.3)), missing=1)


def missing_two(rng: np.random.Generator) -> Case:
    return _tube(rng, "missing 2", float(rng.uniform(0, 0.2)), missing=2)


def sphere(rng: np.random.Generator) -> Case:
    """A ball, its slices up to three times as thick as its voxels are wide."""
    radius, thick = rng.uniform(10, 22), rng.uniform(1, 3)
    n = int(2 * radius / thick) + 8
    size = (int(2 * radius) + 30, int(2 * radius) + 36)
    visible = np.zeros((n, *size), np.int32)
    centre = np.array(size) / 2
    for z in range(n):
        height = (z - n / 2 + 0.3) * thick
        if abs(height) < radius - 0.5:
            visible[z][disc(size, tuple(centre), np.sqrt(radius**2 - height**2))] = 1
    zs = np.flatnonzero((visible == 1).any((1, 2)))
    seed = int(rng.choice([zs[len(zs) // 2], zs[len(zs) // 4], zs[-2]]))
    return Case("sphere", visible == 1, visible, seed)


def _branching(rng: np.random.Generator, name: str, seed_in: str, flip: bool) -> Case:
    """A trunk that parts into two branches, which drift away from each other."""
    radius, n = rng.uniform(6, 9), 26
    size = (96, 110)
    angle, drift = rng.uniform(0, np.pi), rng.uniform(1.2, 2.2)
    side = np.array([np.sin(angle), np.cos(angle)])
    centre = np.array(size) / 2
    visible = np.zeros((n, *size), np.int32)
    for z in range(2, n - 2):
        apart = max(0.0, (z - n // 2) * drift)
        for sign in (-1, 1):
            at = centre + sign * apart * side
            visible[z][disc(size, (at[0], at[1]), radius)] = 1
    z = {"trunk": 5, "branch": n - 4}[seed_in]
    prompted = visible[z] == 1
    if seed_in == "branch":
        from scipy.ndimage import label

        _, count = label(prompted)
        assert count == 2
    if flip:
        visible, z = visible[::-1].copy(), n - 1 - z
    return Case(name, visible == 1, visible, z)


def branch(rng: np.random.Generator) -> Case:
    return _branching(rng, "Y-branch", "trunk", bool(rng.integers(2)))


def merge(rng: np.random.Generator) -> Case:
    return _branching(rng, "Y-merge", "branch", bool(rng.integers(2)))


@dataclass(frozen=True)
class OneBranchCase(Case):
    """A merge of which only one branch is prompted."""

    @property
    def seeds(self) -> dict[int, dict[int, NDArray[np.bool_]]]:
        from scipy.ndimage import label

        parts, _ = label(self.visible[self.seed_z] == 1)
        return {1: {self.seed_z: parts == 1}}


def merge_from_one(rng: np.random.Generator) -> Case:
    c = _branching(rng, "Y-merge from one branch", "branch", bool(rng.integers(2)))
    return OneBranchCase(c.name, c.truth, c.visible, c.seed_z)


def touching(rng: np.random.Generator) -> Case:
    """An ellipsoid-like body pressed between six others, with no background between."""
    pitch, n = rng.uniform(14, 22), 22
    size = (90, 100)
    centre = np.array(size) / 2 + rng.uniform(-3, 3, 2)
    turn = rng.uniform(0, np.pi / 3)
    offsets = [np.zeros(2)] + [
        pitch * np.array([np.sin(turn + k * np.pi / 3), np.cos(turn + k * np.pi / 3)])
        for k in range(6)
    ]
    wander = rng.uniform(-0.6, 0.6, 2)
    y, x = np.indices(size)
    visible = np.zeros((n, *size), np.int32)
    for z in range(n):
        centres = [centre + wander * (z - n / 2) + o for o in offsets]
        far = np.array([np.hypot(y - c[0], x - c[1]) for c in centres])
        nearest = far.argmin(0) + 1
        visible[z] = np.where(far.min(0) < pitch * 0.62, nearest, 0)
        if z < 4 or z >= n - 4:
            visible[z][visible[z] == 1] = 0
    return Case("touching", visible == 1, visible, int(rng.choice([4, n // 2, n - 5])))


def jump(rng: np.random.Generator) -> Case:
    """The area changes 2.8 times from one slice to the next, and maybe back."""
    radius, n = rng.uniform(6, 9), 22
    size = (80, 84)
    first, last = int(rng.integers(7, 10)), int(rng.choice([15, n]))
    centre = np.array(size) / 2
    visible = np.zeros((n, *size), np.int32)
    for z in range(2, n - 2):
        r = radius * np.sqrt(2.8) if first <= z < last else radius
        visible[z][disc(size, (centre[0], centre[1]), r)] = 1
    return Case("area jump 2.8x", visible == 1, visible, int(rng.choice([4, first + 2])))


def wide(rng: np.random.Generator) -> Case:
    """Wider than a tile of 256: a bar, bent, moving slowly."""
    n, size = 12, (150, 420)
    bend, thick = rng.uniform(10, 40), rng.uniform(12, 25)
    visible = np.zeros((n, *size), np.int32)
    y, x = np.indices(size)
    for z in range(1, n - 1):
        middle = 75 + bend * np.sin(x / 420 * np.pi * rng.uniform(0.95, 1.05)) - bend / 2
        inside = (np.abs(y - middle - 0.8 * (z - n / 2)) < thick) & (x > 25) & (x < 395)
        visible[z][inside] = 1
    return Case("wider than a tile", visible == 1, visible, n // 2)


SHAPES: dict[str, Callable[[np.random.Generator], Case]] = {
    "straight": straight,
    "oblique 0.5": oblique_half,
    "oblique 0.9": oblique_most,
    "sphere": sphere,
    "missing 1": missing_one,
    "missing 2": missing_two,
    "Y-branch": branch,
    "Y-merge": merge,
    "Y-merge from one branch": merge_from_one,
    "touching": touching,
    "area jump 2.8x": jump,
    "wider than a tile": wide,
}


def roughened(case: Case, rng: np.random.Generator, depth: float = 1.2) -> Case:
    """The same shape with an outline that differs from slice to slice by up to about `depth`."""
    from scipy import ndimage

    truth, visible = case.truth.copy(), case.visible.copy()
    for z in range(len(truth)):
        if not case.truth[z].any():
            continue
        inside = ndimage.distance_transform_edt(case.truth[z])
        outside = ndimage.distance_transform_edt(~case.truth[z])
        noise = ndimage.gaussian_filter(rng.normal(0, 1, truth[z].shape), 3)
        field = inside - outside + depth * noise / max(1e-6, float(noise.std()))
        rough = (field > 0) & ((visible[z] <= 1) | case.truth[z])
        seen = bool((case.visible[z] == 1).any())
        visible[z][visible[z] == 1] = 0
        truth[z] = rough
        if seen:
            visible[z][rough] = 1
    return replace(case, truth=truth, visible=visible)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0
