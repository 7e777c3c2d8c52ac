"""Shapes of one mask: its components, points well inside, necks, and masks between two masks.

Distances come from the exact Euclidean transform of a small window; nothing sees a whole slice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volseg.geometry import Box
from volseg.propagation.window import MaskWindow, overlap, union_box

_LONGEST = 160
"""Windows with a longer side are thinned out before points and necks are sought."""


def components(mask: MaskWindow, least: float = 0.0) -> list[MaskWindow]:
    """Connected parts (8-neighbours), largest first, without those under `least` of the area."""
    if not mask.area:
        return []
    labels, n = ndimage.label(mask.mask, np.ones((3, 3)))
    if n == 1:
        return [mask]
    parts = []
    for i, where in enumerate(ndimage.find_objects(labels), start=1):
        y0, x0 = mask.origin[0] + where[0].start, mask.origin[1] + where[1].start
        parts.append(MaskWindow.crop(labels[where] == i, (y0, x0)))
    parts.sort(key=lambda part: (-part.area, part.origin))
    return [part for part in parts if part.area >= least * mask.area]


def depth(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each set voxel to the nearest unset one, the outside being unset; (h, w)."""
    padded = np.pad(mask, 1)
    return np.asarray(ndimage.distance_transform_edt(padded))[1:-1, 1:-1]


def interior_points(mask: MaskWindow, per_component: int, most: int) -> NDArray[np.float64]:
    """Points well inside each component: its deepest one, then those farthest from the others.

    Parameters
    ----------
    mask : MaskWindow
        Not empty.
    per_component : int
        Points of each component.
    most : int
        Only so many components, the largest ones, at least a fiftieth of the whole each.

    Returns
    -------
    (n, 2) float
        y, x in the slice, one component after the other.
    """
    points: list[tuple[float, float]] = []
    for part in components(mask, 0.02)[:most]:
        step = 1 + max(part.mask.shape) // _LONGEST
        deep = depth(part.mask[::step, ::step])
        rows, columns = np.nonzero(deep > 0.5 * deep.max())
        chosen = int(deep[rows, columns].argmax()) if len(rows) else 0
        if not len(rows):
            rows, columns = np.nonzero(part.mask[::step, ::step])
        nearest = np.full(len(rows), np.inf)
        for _ in range(min(per_component, len(rows))):
            y, x = rows[chosen], columns[chosen]
            points.append((part.origin[0] + float(y * step), part.origin[1] + float(x * step)))
            nearest = np.minimum(nearest, (rows - y) ** 2 + (columns - x) ** 2)
            chosen = int(nearest.argmax())
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def largest_depth(mask: MaskWindow) -> float:
    """Radius of the largest disc inside the mask, about; voxels."""
    if not mask.area:
        return 0.0
    step = 1 + max(mask.mask.shape) // _LONGEST
    return float(depth(mask.mask[::step, ::step]).max(initial=0.0)) * step


def cut_necks(mask: MaskWindow, expected: MaskWindow, neck: float = 0.6) -> MaskWindow:
    """Drops lobes that hang on a thin neck and lie mostly outside the expected mask.

    Lobes are the watershed basins of the distance transform around its parts deeper than `neck`
    of the depth that the mask reaches inside the expected one.
    """
    from skimage.segmentation import watershed

    deep = depth(mask.mask)
    in_mask, in_expected = overlap(mask.box, expected.box)
    inside = np.zeros(mask.mask.shape, dtype=np.bool_)
    inside[in_mask] = expected.mask[in_expected]
    reached = deep[inside & mask.mask].max(initial=0.0)
    if reached <= 0:
        return mask
    markers, n = ndimage.label(deep > neck * reached)
    if n < 2:
        return mask
    lobes = watershed(-deep, markers, mask=mask.mask)
    areas = np.bincount(lobes.ravel(), minlength=n + 1)
    shared = np.bincount(lobes[inside], minlength=n + 1)
    keep = shared > 0.5 * areas
    keep[0] = False
    if not keep.any():
        return mask
    return MaskWindow.crop(keep[lobes], mask.origin)


def signed_distance(mask: MaskWindow, box: Box) -> NDArray[np.float64]:
    """Distance to the mask's border on `box`, positive inside; (h, w)."""
    on = mask.on(box)
    inside = np.asarray(ndimage.distance_transform_edt(np.pad(on, 1)))[1:-1, 1:-1]
    outside = np.asarray(ndimage.distance_transform_edt(~on))
    return np.where(on, inside - 0.5, 0.5 - outside)


def between(a: MaskWindow, b: MaskWindow, share: float) -> MaskWindow:
    """The mask at `share` (0..1) of the way from `a` to `b`.

    Both are moved onto the place between their centroids, and their signed distances are
    averaged there, so that an object on the move keeps its shape. Masks that differ much in
    shape (branches) are averaged where they lie.

    Source: shape-based interpolation, Raya and Udupa, IEEE TMI 9(1), 1990.
    """
    if not a.area or not b.area:
        return a if a.area else b
    travel = b.centroid - a.centroid
    size = np.sqrt(min(a.area, b.area))
    if np.hypot(*travel) > 0.25 * size:
        a, b = a.moved(travel * share), b.moved(-travel * (1 - share))
    box = union_box((a.box, b.box))
    blend = (1 - share) * signed_distance(a, box) + share * signed_distance(b, box)
    return MaskWindow.crop(blend > 0, box[:2])
