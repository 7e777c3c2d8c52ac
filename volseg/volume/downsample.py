"""The inner loops of pyramids: the mode of label blocks and the mean of image blocks, for any whole factors.

Labels are never interpolated. One block of voxels becomes its most frequent value, by this rule:

1. the most frequent value wins; background (0) counts like any other;
2. among equally frequent values, an object wins over background;
3. among equally frequent objects, the lower id wins.

With `keep_thin` background wins only where there is nothing else, so that no object vanishes except under another one;
the price is that objects swell by up to one coarse voxel per level. Blocks at the far border, where the shape is not a
multiple of the factor, are decided by the voxels that there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.errors import InputError
from volseg.volume.blocks import Triple

Labels3D = npt.NDArray[Any]
_SLAB_BYTES = 1 << 21  # of input worked on at a time: fits a core's cache


def downsample_labels(
    block: Labels3D, factors: Sequence[int], *, keep_thin: bool = False
) -> Labels3D:
    """Return the mode of each block of voxels, by the rule above.

    Uniform blocks, nearly all in real labels, are found by comparing rows; only the others are counted.

    Parameters
    ----------
    block
        (z, y, x) ids of any integer dtype.
    factors
        Whole (z, y, x) factors.
    keep_thin
        Let background win only where there is nothing else.

    Returns
    -------
    ndarray
        (ceil(z / fz), ceil(y / fy), ceil(x / fx)) ids, same dtype, C order.

    Raises
    ------
    InputError
        If the block is not 3D or not of integers, or a factor is below 1.
    """
    block = np.asarray(block)
    if block.ndim != 3 or block.dtype.kind not in "iu":
        raise InputError(
            f"expected integer labels (z, y, x), got {block.dtype} of shape {block.shape}"
        )
    steps = _checked(factors)
    out = np.empty(tuple(-(-n // f) for n, f in zip(block.shape, steps, strict=True)), block.dtype)
    for source, target, whole in _pieces(block.shape, steps):
        _mode_in_slabs(block[source], whole, out[target], keep_thin)
    return out


def downsample_image(block: npt.NDArray[Any], factors: Sequence[int]) -> npt.NDArray[Any]:
    """Return the mean of each block of voxels, rounded half to even for integers.

    Parameters
    ----------
    block
        (z, y, x) values.
    factors
        Whole (z, y, x) factors.

    Returns
    -------
    ndarray
        (ceil(z / fz), ceil(y / fy), ceil(x / fx)) values, same dtype.
    """
    block = np.asarray(block)
    steps = _checked(factors)
    out = np.empty(tuple(-(-n // f) for n, f in zip(block.shape, steps, strict=True)), block.dtype)
    exact = block.dtype.kind in "fc" or block.dtype.itemsize > 2
    total_type = np.float64 if exact else np.float32
    for source, target, whole in _pieces(block.shape, steps):
        total = np.zeros(out[target].shape, total_type)
        for view in _views(block[source], whole):
            total += view
        total /= np.prod(whole)
        out[target] = np.rint(total) if block.dtype.kind in "iu" else total
    return out


def _checked(factors: Sequence[int]) -> Triple:
    z, y, x = (int(f) for f in factors)
    if min(z, y, x) < 1:
        raise InputError(f"factors {tuple(factors)}: expected whole numbers of at least 1")
    return (z, y, x)


_Slices = tuple[slice, slice, slice]


def _pieces(shape: Sequence[int], factors: Triple) -> Iterator[tuple[_Slices, _Slices, Triple]]:
    """Cut a shape into parts that are whole multiples of factors: the inside, and the rest at the far borders."""
    per_axis = []
    for n, f in zip(shape, factors, strict=True):
        whole = n // f
        parts = [(slice(0, whole * f), slice(0, whole), f)] if whole else []
        if n % f:
            parts.append((slice(whole * f, n), slice(whole, whole + 1), n % f))
        per_axis.append(parts)
    for (sz, tz, fz), (sy, ty, fy), (sx, tx, fx) in product(*per_axis):
        yield (sz, sy, sx), (tz, ty, tx), (fz, fy, fx)


def _views(block: npt.NDArray[Any], factors: Triple) -> list[npt.NDArray[Any]]:
    """Return, per offset inside a block of voxels, the voxels at that offset."""
    fz, fy, fx = factors
    return [
        block[dz::fz, dy::fy, dx::fx] for dz, dy, dx in product(range(fz), range(fy), range(fx))
    ]


def _mode_in_slabs(block: Labels3D, factors: Triple, out: Labels3D, keep_thin: bool) -> None:
    if factors == (1, 1, 1):
        out[...] = block
        return
    fz, fy, _ = factors
    row_bytes = block.shape[2] * block.itemsize * fz * fy
    rows = max(1, _SLAB_BYTES // max(1, row_bytes))  # of the output
    for z in range(out.shape[0]):
        part = block[z * fz : (z + 1) * fz]
        for y in range(0, out.shape[1], rows):
            slab = part[:, y * fy : (y + rows) * fy]
            _mode(slab, factors, out[z : z + 1, y : y + rows], keep_thin)


def _mode(block: Labels3D, factors: Triple, out: Labels3D, keep_thin: bool) -> None:
    views = _views(block, factors)
    out[...] = views[0]
    mixed = np.nonzero(_uniform(block, factors) == 0)
    if mixed[0].size:
        values = np.empty((len(views), mixed[0].size), block.dtype)
        for row, view in zip(values, views, strict=True):
            row[:] = view[mixed]
        out[mixed] = _decide(values, keep_thin)


def _uniform(block: Labels3D, factors: Triple) -> npt.NDArray[np.bool_]:
    """Tell for each block of voxels whether all are equal; whole rows first, for these compare fastest."""
    fz, fy, fx = factors
    first = block[::fz, ::fy]
    same = np.ones(first.shape, np.bool_)
    for dz, dy in product(range(fz), range(fy)):
        if dz or dy:
            same &= block[dz::fz, dy::fy] == first
    result = same[:, :, ::fx].copy()
    for dx in range(1, fx):
        result &= same[:, :, dx::fx]
        result &= first[:, :, dx::fx] == first[:, :, ::fx]
    return result


def _decide(values: Labels3D, keep_thin: bool) -> Labels3D:
    """Return the winner of each column of (n, k) values; they are sorted in place."""
    values.sort(axis=0)
    n, k = values.shape
    kind = np.int16 if n < 8000 else np.int32  # of scores, at most 4n + 3
    best = values[0].copy()
    best_score = np.full(k, -1, kind)
    run: npt.NDArray[Any] = np.zeros(k, kind)
    for i in range(n):
        if i:
            run *= values[i] == values[i - 1]
        run += 1
        foreground = values[i] != 0
        score = 2 * run + foreground
        if keep_thin:
            score += foreground * kind(2 * n + 2)
        better = score > best_score  # ascending order: of equal scores the lower id came first
        np.copyto(best, values[i], where=better)
        np.copyto(best_score, score, where=better)
    return best
