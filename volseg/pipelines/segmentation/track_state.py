"""Several named byte strings in one stored object, so that a block writes one object and not one per object id."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

from volseg.errors import UnsupportedFormatError

_HEAD = struct.Struct("<8sQ")
_MAGIC = b"VSPACK01"


def pack(parts: Mapping[str, bytes]) -> bytes:
    """The parts in one byte string, sorted by name: equal parts give equal bytes."""
    names = sorted(parts)
    index = json.dumps([[name, len(parts[name])] for name in names]).encode()
    return b"".join([_HEAD.pack(_MAGIC, len(index)), index, *(parts[name] for name in names)])


def unpack(data: bytes) -> dict[str, bytes]:
    """The parts of `pack`.

    Raises
    ------
    UnsupportedFormatError
        The bytes are damaged or something else.
    """
    try:
        magic, length = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError("it does not start as one")
        at = _HEAD.size + length
        index = json.loads(data[_HEAD.size : at])
        parts = {}
        for name, size in index:
            parts[str(name)] = data[at : at + size]
            at += size
        if at != len(data):
            raise ValueError(f"{len(data)} bytes where {at} were expected")
    except (ValueError, TypeError, struct.error) as error:
        raise UnsupportedFormatError(
            f"not a stored result of a block: {error}; delete the run's data and start it again with --restart"
        ) from error
    return parts
