"""Arrays in one file, in the format of safetensors: a length, a JSON header, and the numbers; nothing can be executed.

https://huggingface.co/docs/safetensors, "Format"; written and read for float32 alone.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import ModelUnavailableError

LARGEST_HEADER = 2**24


def pack_tensors(arrays: Mapping[str, NDArray[np.float32]], about: Mapping[str, str]) -> bytes:
    """Return a file's content.

    Parameters
    ----------
    arrays
        float32, by name; the order does not matter.
    about
        Texts that the header keeps.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(about.items()))}
    parts, at = [], 0
    for name in sorted(arrays):
        data = np.ascontiguousarray(arrays[name], "<f4").tobytes()
        shape = list(arrays[name].shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def unpack_tensors(
    content: bytes, what: str
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Return the arrays of a file, and the texts of its header.

    Raises
    ------
    ModelUnavailableError
        It is damaged, or holds other numbers than float32; `what` names it.
    """
    try:
        (length,) = struct.unpack_from("<Q", content)
        if length > LARGEST_HEADER:
            raise ValueError("its header is too long")
        header = json.loads(content[8 : 8 + length])
        about = header.pop("__metadata__", {})
        numbers = memoryview(content)[8 + length :]
        return {name: _array(numbers, one) for name, one in header.items()}, dict(about)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelUnavailableError(f"{what} is no safetensors file of float32: {error}") from None


def _array(numbers: memoryview, told: Mapping[str, Any]) -> NDArray[np.float32]:
    first, last = told["data_offsets"]
    shape = tuple(int(n) for n in told["shape"])
    fits = 0 <= first <= last <= len(numbers) and last - first == 4 * math.prod(shape)
    if told["dtype"] != "F32" or min(shape, default=0) < 0 or not fits:
        raise ValueError(f"an array of {told['dtype']} {shape} does not fit its place")
    return np.frombuffer(numbers[first:last], "<f4").reshape(shape).copy()
