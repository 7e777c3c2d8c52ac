"""One object of the embedding cache as bytes: a compressed header that says what it was made from,
then the embeddings' float16.

Nothing about where it lies or when it is made.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"VSEMB\x01\r\n"
_LENGTH = struct.Struct("<I")


class DamagedError(ValueError):
    """The bytes are not a whole embedding object."""


def pack(header: dict[str, Any], embeddings: NDArray[np.void]) -> bytes:
    """Header and embeddings (n,), records of `ModelSpec.embedding_dtype`, as bytes."""
    payload = np.ascontiguousarray(embeddings).tobytes()
    full = header | {
        "digest": hashlib.blake2b(payload, digest_size=16).hexdigest(),
    }
    head = zlib.compress(json.dumps(full, separators=(",", ":"), sort_keys=True).encode())
    return b"".join([MAGIC, _LENGTH.pack(len(head)), head, payload])


def unpack(data: bytes, dtype: np.dtype[np.void]) -> tuple[dict[str, Any], NDArray[np.void]]:
    """Header and embeddings of `pack`.

    Raises
    ------
    DamagedError
        Truncated, altered, something else, or of other arrays than `dtype` names.
    """
    start = len(MAGIC) + _LENGTH.size
    if data[: len(MAGIC)] != MAGIC or len(data) < start:
        raise DamagedError("no embedding object")
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    try:
        header = json.loads(zlib.decompress(data[start : start + length]))
        digest = header["digest"]
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"unreadable header: {error}") from error
    payload = data[start + length :]
    if hashlib.blake2b(payload, digest_size=16).hexdigest() != digest:
        raise DamagedError("the embeddings have another digest than the header says")
    if len(payload) % dtype.itemsize:
        raise DamagedError(f"{len(payload)} bytes are no embeddings of {dtype.itemsize} bytes each")
    return header, np.frombuffer(payload, dtype)
