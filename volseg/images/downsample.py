"""The inner loops of pyramids: the mode of label blocks and the mean of image blocks, for any whole factors.

Labels are never interpolated. One block of voxels becomes its most frequent value, by this rule:

1. the most frequent value wins; background (0) counts like any other;
2. among equally frequent values, an object wins over background;
3. among equally frequent objects, the lower id wins.

With `keep_thin` background wins only where there is nothing else, so that no object vanishes except under another one;
the price is that objects swell by up to one coarse voxel per level. Blocks at the far border, where the shape is not a
multiple of the factor, are decided by the voxels that there are.

The rule is written twice: for small volumes with NumPy, at once and without a compiler; for large ones as a loop that
Numba compiles (`mode_loop`), three to six times as fast once its second or two of compiling are spent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.errors import InputError
from volseg.geometry import Triple

Labels3D = npt.NDArray[Any]
_SLAB_BYTES = 1 << 21  # of input compared at a time: fits a core's cache
_BATCH = 1 << 16  # mixed blocks decided at a time


def downsample_labels(
    block: Labels3D, factors: Sequence[int], *, keep_thin: bool = False, compiled: bool = False
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
    compiled
        Use the compiled loop, which pays from some hundred million voxels in one process on.

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
    block = np.ascontiguousarray(block)
    out = np.empty(tuple(-(-n // f) for n, f in zip(block.shape, steps, strict=True)), block.dtype)
    if compiled and steps != (1, 1, 1):
        from volseg.images.mode_loop import fill_modes

        fill_modes(block, steps, out, keep_thin=keep_thin)
        return out
    for source, target, whole in _pieces(block.shape, steps):
        _mode_of_piece(block, source, whole, out[target], keep_thin)
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


def _mode_of_piece(
    block: Labels3D, source: _Slices, factors: Triple, out: Labels3D, keep_thin: bool
) -> None:
    """Fill `out` from a piece of a C-ordered block, a few rows at a time."""
    piece = block[source]
    if factors == (1, 1, 1):
        out[...] = piece
        return
    mixed = np.empty(out.shape, np.bool_)
    made = np.empty(out.shape, out.dtype)
    fz, fy, fx = factors
    rows = max(1, _SLAB_BYTES // max(1, piece.shape[2] * block.itemsize * fz * fy))  # of the output
    for z in range(out.shape[0]):
        for y in range(0, out.shape[1], rows):
            slab = piece[z * fz : (z + 1) * fz, y * fy : (y + rows) * fy]
            made[z, y : y + rows] = slab[0, ::fy, ::fx]
            np.logical_not(_uniform(slab, factors)[0], out=mixed[z, y : y + rows])
    places = np.flatnonzero(mixed)
    for i in range(0, places.size, _BATCH):
        some = places[i : i + _BATCH]
        values = _gather(block, source, np.unravel_index(some, out.shape), factors)
        made.reshape(-1)[some] = _decide(values, keep_thin)
    out[...] = made


def _gather(
    block: Labels3D, source: _Slices, at: tuple[npt.NDArray[Any], ...], factors: Triple
) -> Labels3D:
    """Return as (n, k) the n voxels of each of the k blocks at output places (z, y, x) of a piece."""
    _, height, width = block.shape
    z, y, x = (s.start + i * f for s, i, f in zip(source, at, factors, strict=True))
    first = (z * height + y) * width + x
    flat = block.reshape(-1)
    values = np.empty((int(np.prod(factors)), first.size), block.dtype)
    for row, (dz, dy, dx) in zip(values, product(*map(range, factors)), strict=True):
        flat.take(first + ((dz * height + dy) * width + dx), out=row, mode="clip")
    return values


def _uniform(block: Labels3D, factors: Triple) -> npt.NDArray[np.bool_]:
    """Tell for each block of voxels whether all are equal; whole rows at a time, for these compare fastest."""
    fz, fy, fx = factors
    first = block[::fz, ::fy]
    same = np.ones(first.shape, np.bool_)
    for dz, dy in product(range(fz), range(fy)):
        if dz or dy:
            same &= block[dz::fz, dy::fy] == first
    result = same[:, :, ::fx].copy()
    if fx > 1:
        as_before = first[:, :, 1:] == first[:, :, :-1]
        as_before &= same[:, :, 1:]
        for dx in range(1, fx):
            result &= as_before[:, :, dx - 1 :: fx]
    return result


def _decide(values: Labels3D, keep_thin: bool) -> Labels3D:
    """Return the winner of each column of (n, k) values."""
    low, high = values.min(axis=0), values.max(axis=0)  # most blocks at a surface hold two values
    n_low = (values == low).sum(axis=0, dtype=np.int32)
    n_high = (values == high).sum(axis=0, dtype=np.int32)
    takes_high = (n_high > n_low) | ((n_high == n_low) & (low == 0))
    if keep_thin:
        takes_high |= low == 0
        takes_high &= high != 0
    winner = np.where(takes_high, high, low)
    more = np.flatnonzero(n_low + n_high < len(values))
    if more.size:
        winner[more] = _decide_among_many(values[:, more], keep_thin)
    return winner


def _decide_among_many(values: Labels3D, keep_thin: bool) -> Labels3D:
    """Return the winner of each column of (n, k) values by counting runs; the values are sorted in place."""
    values.sort(axis=0)
    n, k = values.shape
    best = values[0].copy()
    best_score = np.full(k, -1, np.int32)
    run: npt.NDArray[Any] = np.zeros(k, np.int32)
    for i in range(n):
        if i:
            run *= values[i] == values[i - 1]
        run += 1
        foreground = values[i] != 0
        score = 2 * run + foreground
        if keep_thin:
            score += foreground * np.int32(2 * n + 2)
        better = score > best_score  # ascending order: of equal scores the lower id came first
        np.copyto(best, values[i], where=better)
        np.copyto(best_score, score, where=better)
    return best
