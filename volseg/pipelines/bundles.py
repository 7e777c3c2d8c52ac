"""Arrays that blocks hand on to each other, several in one object among a run's data."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def packed(arrays: Arrays) -> bytes:
    """Return arrays as bytes (npz, without pickles)."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpacked(data: bytes) -> Arrays:
    """Return the arrays of `packed`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
