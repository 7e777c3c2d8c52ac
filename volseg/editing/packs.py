"""Packs: copies of many records in one object, so that a long journal is read in few requests.

The records themselves stay, and decide; a pack is only a quicker way to the same bytes, and may be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b

from volseg.errors import UnsupportedFormatError

PACK = 100
"""Records in a pack: pack n has the records 100 n + 1 to 100 n + 100."""
_FORMAT = "volseg-journal-pack"
_DIGEST = 16


def pack_key(pack: int) -> str:
    """Return the key of a pack in the journal."""
    return f"packs/{pack:09d}"


def encode_pack(records: Mapping[int, bytes]) -> bytes:
    """Return the bytes of a pack: a line of JSON with numbers and lengths, the records, a digest over both.

    Parameters
    ----------
    records
        The stored bytes of each record by its number.
    """
    sizes = [[number, len(data)] for number, data in records.items()]
    head = json.dumps({"format": _FORMAT, "version": 1, "records": sizes}).encode() + b"\n"
    body = head + b"".join(records.values())
    return body + blake2b(body, digest_size=_DIGEST).digest()


def decode_pack(data: bytes, where: str) -> dict[int, bytes]:
    """Return the bytes of each record in a pack by its number.

    Raises
    ------
    UnsupportedFormatError
        If the pack is damaged, or of a later version.
    """
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if blake2b(body, digest_size=_DIGEST).digest() != digest:
        raise UnsupportedFormatError(
            f"{where}: this copy of edit records is damaged; delete it, the records are stored apart"
        )
    head = json.loads(body[: body.index(b"\n")])
    if (head.get("format"), head.get("version")) != (_FORMAT, 1):
        raise UnsupportedFormatError(f"{where}: not a pack of edit records that this volseg reads")
    at, found = body.index(b"\n") + 1, {}
    for number, size in head["records"]:
        found[int(number)] = body[at : at + size]
        at += size
    return found
