"""The mode of label blocks as one compiled loop, for volumes so large that compiling pays; see `downsample`.

Numba compiles at the first call in a process, once per width of integer, and keeps the result on disk beside this file
or in the user's cache. Importing this module imports Numba, so only `downsample` does, and only when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Labels3D = npt.NDArray[np.generic]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays at its first call, to run without the interpreter's lock, and keep the result."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(nogil=True)(function)


@compiled
def _compare_first(row: Any, fx: int, out: Any, odd: Any, whole: int) -> None:
    """Take the first voxel of each group of a row; `odd` is not 0 where the group is not uniform."""
    if fx == 1:
        for x in range(whole):
            out[x] = row[x]
            odd[x] = 0
    elif fx == 2:  # written out, so that the compiler makes vector instructions of it
        for x in range(whole):
            out[x] = row[2 * x]
            odd[x] = row[2 * x] ^ row[2 * x + 1]
    else:
        for x in range(whole):
            out[x] = row[x * fx]
            odd[x] = 0
            for at in range(x * fx + 1, (x + 1) * fx):
                odd[x] |= row[at] ^ out[x]


@compiled
def _compare_next(row: Any, fx: int, out: Any, odd: Any, whole: int) -> None:
    """Compare another row of the same groups."""
    if fx == 1:
        for x in range(whole):
            odd[x] |= row[x] ^ out[x]
    elif fx == 2:
        for x in range(whole):
            odd[x] |= (row[2 * x] ^ out[x]) | (row[2 * x + 1] ^ out[x])
    else:
        for x in range(whole):
            for at in range(x * fx, (x + 1) * fx):
                odd[x] |= row[at] ^ out[x]


@compiled
def _winner(values: Any, n: int, sign: Any, keep_thin: bool) -> Any:
    """Return the winner among the first n values by the rule of `downsample`."""
    best = values[0]
    best_score = -1
    for i in range(n):
        value = values[i]
        if best_score >= 0 and value == best:
            continue
        score = 0
        for j in range(n):
            score += 2 * (values[j] == value)
        if value != 0:
            score += 2 * n + 3 if keep_thin else 1
        if score > best_score or (score == best_score and (value ^ sign) < (best ^ sign)):
            best = value
            best_score = score
            if score > n + 1 and not keep_thin:
                break  # more than half: nothing can beat it
    return best


@compiled
def _fill(block: Any, fz: int, fy: int, fx: int, out: Any, sign: Any, keep_thin: bool) -> None:
    depth, height, width = block.shape
    whole = width // fx
    odd = np.ones(out.shape[2], block.dtype)  # a last group that is cut off is always counted
    values = np.empty(fz * fy * fx, block.dtype)
    for z in range(out.shape[0]):
        z0, z1 = z * fz, min(z * fz + fz, depth)
        for y in range(out.shape[1]):
            y0, y1 = y * fy, min(y * fy + fy, height)
            made = out[z, y]
            _compare_first(block[z0, y0], fx, made, odd, whole)
            for at in range(z0, z1):
                for row in range(y0 + (at == z0), y1):
                    _compare_next(block[at, row], fx, made, odd, whole)
            for x in range(out.shape[2]):
                if odd[x] != 0:
                    n = 0
                    for at in range(z0, z1):
                        for row in range(y0, y1):
                            for column in range(x * fx, min(x * fx + fx, width)):
                                values[n] = block[at, row, column]
                                n += 1
                    made[x] = _winner(values, n, sign, keep_thin)


def fill_modes(
    block: Labels3D, factors: tuple[int, int, int], out: Labels3D, *, keep_thin: bool
) -> None:
    """Fill `out` with the mode of each block of voxels.

    Parameters
    ----------
    block
        (z, y, x) ids of any integer dtype, C order.
    factors
        Whole (z, y, x) factors, at least 1.
    out
        (ceil(z / fz), ceil(y / fy), ceil(x / fx)) of the same dtype, C order.
    keep_thin
        Let background win only where there is nothing else.
    """
    kind = np.dtype(
        f"u{block.itemsize}"
    )  # one compiled loop per width; the sign only matters in the order
    sign = kind.type(1 << (8 * block.itemsize - 1) if block.dtype.kind == "i" else 0)
    fz, fy, fx = factors
    _fill(block.view(kind), fz, fy, fx, out.view(kind), sign, keep_thin)
