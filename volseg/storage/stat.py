"""What a store tells about one object without reading it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

Names = list[str]
"""A list of names; classes here have a method `list`, which hides the type."""


@dataclass(frozen=True)
class Stat:
    """One object: its key relative to the store's root, size in bytes, entity tag (opaque) and time of last write."""

    key: str
    size: int
    etag: str
    modified: datetime


def digest(data: bytes) -> str:
    """Return the content digest that ledgers record for stored bytes: BLAKE2b (RFC 7693) of 16 bytes, as hex."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
