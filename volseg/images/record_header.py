"""The header of an edit record: who, when and what, without the voxels."""

from __future__ import annotations

import json
import struct
from hashlib import blake2b
from typing import Any

from volseg.errors import UnsupportedFormatError

MAGIC = b"volseg-edit\x001"
LENGTH = struct.Struct("<I")
DIGEST_BYTES = 16
FORMAT = "volseg-edit"
VERSION = 1


def read_header(data: bytes, where: str) -> tuple[dict[str, Any], bytes]:
    """Return the header of an edit record and the bytes behind it.

    Parameters
    ----------
    data
        The whole record.
    where
        Its place, for messages.

    Raises
    ------
    UnsupportedFormatError
        If the bytes are damaged or of a later format.
    """
    from numcodecs.zstd import decompress

    content, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if (
        not content.startswith(MAGIC)
        or blake2b(content, digest_size=DIGEST_BYTES).digest() != digest
    ):
        raise UnsupportedFormatError(
            f"{where}: the edit record is damaged (its digest does not match); restore the object "
            "from a backup or an earlier version of the bucket"
        )
    at = len(MAGIC) + LENGTH.size
    (length,) = LENGTH.unpack(content[len(MAGIC) : at])
    header: dict[str, Any] = json.loads(bytes(decompress(content[at : at + length])))
    if header["format"] != FORMAT or header["version"] > VERSION:
        raise UnsupportedFormatError(
            f"{where}: record of format {header['format']!r} version {header['version']}; this "
            f"volseg reads up to version {VERSION}: update volseg"
        )
    return header, content[at + length :]
