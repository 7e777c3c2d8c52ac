"""Tools that look at voxels before they change them: flood fill and splitting by seeds. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from volseg.errors import InputError, MemoryBudgetError
from volseg.geometry import Region, Triple, region_at

_FIRST_WINDOW = 256
_SPLIT_BYTES_PER_VOXEL = 24  # mask, distance (float64), markers, result


def flood(
    read: Callable[[Region], np.ndarray],
    shape: Triple,
    point: Triple,
    *,
    in_slice: bool,
    max_voxels: int,
) -> tuple[Region, np.ndarray]:
    """Find the voxels of one value connected (by faces) to a point, in a window that grows as needed.

    Parameters
    ----------
    read
        Returns the ids of a region.
    shape
        Of the volume.
    point
        z, y, x.
    in_slice
        Stay in the point's slice.
    max_voxels
        Give up on larger windows.

    Returns
    -------
    region, mask
        Where the window lies, and which of its voxels (z, y, x).

    Raises
    ------
    MemoryBudgetError
        If the region is larger than the window may become.
    """
    from scipy.ndimage import label

    reach = np.array([0 if in_slice else 16, _FIRST_WINDOW // 2, _FIRST_WINDOW // 2])
    while True:
        low = np.maximum(np.array(point) - reach, 0)
        high = np.minimum(np.array(point) + reach + 1, shape)
        if int(np.prod(high - low)) > max_voxels:
            raise MemoryBudgetError(
                f"the region around {point} is larger than {max_voxels} voxels; fill slice by slice, "
                "or assign to a box"
            )
        window = region_at(low.tolist(), (high - low).tolist())
        block = read(window)
        inner = tuple(int(p - lo) for p, lo in zip(point, low, strict=True))
        parts, _ = label(block == block[inner])
        mask = parts == parts[inner]
        open_sides = [
            axis
            for axis in range(3)
            if not (in_slice and axis == 0)
            and (
                (low[axis] > 0 and mask.take(0, axis).any())
                or (high[axis] < shape[axis] and mask.take(-1, axis).any())
            )
        ]
        if not open_sides:
            return window, mask
        for axis in open_sides:
            reach[axis] *= 2


def split_mask(
    mask: np.ndarray, seeds: Sequence[np.ndarray], spacing: Sequence[float]
) -> np.ndarray:
    """Divide a mask among seeds: watershed of its inner distance from the seeds (Beucher & Lantuéjoul 1979).

    Parameters
    ----------
    mask
        bool (z, y, x).
    seeds
        Per part, voxel indices (n, 3) in the mask.
    spacing
        Voxel size z, y, x.

    Returns
    -------
    parts
        int32 (z, y, x): 0 outside the mask, else 1 + index of the seed. Pieces that no seed reaches (another component)
        get the part of the nearest seed.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.segmentation import watershed

    markers = np.zeros(mask.shape, np.int32)
    for number, points in enumerate(seeds, start=1):
        markers[tuple(np.asarray(points).T)] = number
    depth = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    parts: np.ndarray = watershed(-depth, markers, mask=mask)
    left = mask & (parts == 0)
    if left.any():
        _, nearest = distance_transform_edt(markers == 0, sampling=spacing, return_indices=True)
        parts[left] = markers[tuple(nearest[:, left])]
    return parts


def seed_lists(
    seeds: Mapping[int, Sequence[Sequence[int]]] | Sequence[Sequence[Sequence[int]]] | np.ndarray,
    new_ids: Callable[[int], list[int]],
    keep: int,
) -> dict[int, np.ndarray]:
    """Return the seeds as points (n, 3) by the id that their part gets.

    Parameters
    ----------
    seeds
        By id; or one list of points per part, the first of which keeps the object's id.
    new_ids
        Claims ids.
    keep
        The object's id.

    Raises
    ------
    InputError
        If there are fewer than two parts, or points that are none.
    """
    if isinstance(seeds, Mapping):
        named = {int(label): np.atleast_2d(np.asarray(points)) for label, points in seeds.items()}
    else:
        lists = [np.atleast_2d(np.asarray(points)) for points in seeds]
        ids = [keep, *(new_ids(len(lists) - 1) if len(lists) > 1 else [])]
        named = dict(zip(ids, lists, strict=True))
    if len(named) < 2:
        raise InputError("splitting needs the seeds of at least two parts")
    for label, points in named.items():
        if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "iu":
            raise InputError(
                f"seeds of part {label}: expected voxel indices (n, 3) as z, y, x, got {points.dtype} of "
                f"shape {points.shape}"
            )
    return named


def check_split_memory(shape: Sequence[int], most_bytes: int) -> None:
    """Raise MemoryBudgetError if an object's box is too large to be split in memory."""
    need = int(np.prod(shape)) * _SPLIT_BYTES_PER_VOXEL
    if need > most_bytes:
        raise MemoryBudgetError(
            f"splitting an object with a box of {tuple(shape)} voxels takes {need / 2**30:.1f} GiB; the limit is "
            f"{most_bytes / 2**30:.1f} GiB. Raise it with split(…, max_bytes=…), or cut the object by erasing a "
            "sheet between the parts and filling one of them"
        )
