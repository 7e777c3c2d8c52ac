"""A mask of one slice kept as its bounding box and the bits inside, and the geometry on such masks.

Everything here costs what the object's box costs, never what the slice costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volseg.geometry import Box


@dataclass(frozen=True, eq=False)
class MaskWindow:
    """A mask of one slice, cropped to its bounding box.

    Parameters
    ----------
    origin : (y0, x0)
        Where `mask` lies in the slice.
    mask : (h, w) bool
        Touches all four sides of the window, or is (0, 0) where the mask is empty.
    """

    origin: tuple[int, int]
    mask: NDArray[np.bool_]
    area: int

    @staticmethod
    def crop(mask: NDArray[np.generic], origin: tuple[int, int] = (0, 0)) -> MaskWindow:
        """The window around the set voxels of `mask` (h, w), lying at `origin` in the slice."""
        if mask.dtype != np.bool_:
            mask = mask != 0
        rows: NDArray[np.bool_] = np.any(mask, axis=1)
        y0 = int(rows.argmax())
        if not rows[y0]:
            return EMPTY
        y1 = len(rows) - int(rows[::-1].argmax())
        columns: NDArray[np.bool_] = np.any(mask[y0:y1], axis=0)
        x0 = int(columns.argmax())
        x1 = len(columns) - int(columns[::-1].argmax())
        cropped = np.ascontiguousarray(mask[y0:y1, x0:x1])
        cropped.flags.writeable = False
        return MaskWindow((origin[0] + y0, origin[1] + x0), cropped, int(np.count_nonzero(cropped)))

    @property
    def box(self) -> Box:
        """Bounding box y0, x0, y1, x1, half-open."""
        (y0, x0), (h, w) = self.origin, self.mask.shape
        return y0, x0, y0 + h, x0 + w

    @property
    def centroid(self) -> NDArray[np.float64]:
        """Mean position y, x of the set voxels."""
        ys = np.count_nonzero(self.mask, axis=1)
        xs = np.count_nonzero(self.mask, axis=0)
        cy = float(ys @ np.arange(len(ys))) / self.area + self.origin[0]
        cx = float(xs @ np.arange(len(xs))) / self.area + self.origin[1]
        return np.array([cy, cx])

    def moved(self, offset: NDArray[np.float64] | tuple[float, float]) -> MaskWindow:
        """The same mask, `offset` (y, x) voxels further, rounded to whole voxels."""
        dy, dx = (int(np.floor(float(v) + 0.5)) for v in offset)
        return MaskWindow((self.origin[0] + dy, self.origin[1] + dx), self.mask, self.area)

    def clipped(self, shape_yx: tuple[int, int]) -> MaskWindow:
        """What of the mask lies inside a slice of `shape_yx`."""
        y0, x0, y1, x1 = self.box
        if y0 >= 0 and x0 >= 0 and y1 <= shape_yx[0] and x1 <= shape_yx[1]:
            return self
        top, left = max(0, -y0), max(0, -x0)
        part = self.mask[top : max(top, shape_yx[0] - y0), left : max(left, shape_yx[1] - x0)]
        if not part.size:
            return EMPTY
        return MaskWindow.crop(part, (y0 + top, x0 + left))

    def on(self, box: Box) -> NDArray[np.bool_]:
        """The mask on the region `box` of the slice, as a new (h, w) bool array."""
        out = np.zeros((box[2] - box[0], box[3] - box[1]), dtype=np.bool_)
        ours, theirs = overlap(self.box, box)
        out[theirs] = self.mask[ours]
        return out

    def full(self, shape_yx: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask on the whole slice, (y, x) bool."""
        return self.on((0, 0, *shape_yx))

    def contains(self, y: float, x: float) -> bool:
        """Whether the voxel nearest to y, x is set."""
        i = int(np.floor(y + 0.5)) - self.origin[0]
        j = int(np.floor(x + 0.5)) - self.origin[1]
        h, w = self.mask.shape
        return 0 <= i < h and 0 <= j < w and bool(self.mask[i, j])

    def same(self, other: MaskWindow) -> bool:
        """Whether both hold the same voxels."""
        return (self.area == 0 and other.area == 0) or (
            self.origin == other.origin and np.array_equal(self.mask, other.mask)
        )


EMPTY = MaskWindow((0, 0), np.zeros((0, 0), dtype=np.bool_), 0)


def overlap(a: Box, b: Box) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The shared region of two boxes as slices relative to each (empty where they don't meet)."""
    y0, x0, y1, x1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    if y1 <= y0 or x1 <= x0:
        return (slice(0, 0), slice(0, 0)), (slice(0, 0), slice(0, 0))
    return (
        (slice(y0 - a[0], y1 - a[0]), slice(x0 - a[1], x1 - a[1])),
        (slice(y0 - b[0], y1 - b[0]), slice(x0 - b[1], x1 - b[1])),
    )


def shared_area(a: MaskWindow, b: MaskWindow) -> int:
    """Number of voxels set in both masks."""
    in_a, in_b = overlap(a.box, b.box)
    return int(np.count_nonzero(a.mask[in_a] & b.mask[in_b]))


def iou(a: MaskWindow, b: MaskWindow) -> float:
    """Intersection over union; 0 where both are empty."""
    both = shared_area(a, b)
    return both / max(1, a.area + b.area - both)


def aligned_iou(a: MaskWindow, b: MaskWindow) -> float:
    """IoU once the centroids are moved together: likeness of shape and size, not of place."""
    if not a.area or not b.area:
        return 0.0
    return iou(a.moved(b.centroid - a.centroid), b)


def union_box(boxes: Iterable[Box]) -> Box:
    """The smallest box around all of `boxes` (at least one)."""
    y0, x0, y1, x1 = zip(*boxes, strict=True)
    return min(y0), min(x0), max(y1), max(x1)


def union(a: MaskWindow, b: MaskWindow) -> MaskWindow:
    """The voxels set in either mask."""
    if not a.area or not b.area:
        return a if a.area else b
    box = union_box((a.box, b.box))
    return MaskWindow.crop(a.on(box) | b.on(box), box[:2])


def without(a: MaskWindow, b: MaskWindow) -> MaskWindow:
    """The voxels of `a` that are not set in `b`."""
    if not a.area:
        return a
    in_a, in_b = overlap(a.box, b.box)
    rest = a.mask.copy()
    rest[in_a] &= ~b.mask[in_b]
    return MaskWindow.crop(rest, a.origin)


def grown(box: Box, margin: float, shape_yx: tuple[int, int]) -> Box:
    """`box` with `margin` voxels more on each side, inside a slice of `shape_yx`."""
    m = int(np.ceil(margin))
    return (
        max(0, box[0] - m),
        max(0, box[1] - m),
        min(shape_yx[0], box[2] + m),
        min(shape_yx[1], box[3] + m),
    )
