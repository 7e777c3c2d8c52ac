"""Whether a TIFF is all there: its chain of pages, and the values that the pages point to.

tifffile reads what it can of a truncated file; here that is an error.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import shown

_NEEDED = {270, 273, 279, 320, 324, 325}  # description, places and sizes of data, palette
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 13: 4, 16: 8, 17: 8, 18: 8}


def check_chain(file: Any, path: Path) -> None:
    """Refuse a file whose pages, or what they need, lie beyond its end.

    Parameters
    ----------
    file : tifffile.TiffFile
    path : Path
        For messages.

    Raises
    ------
    UnsupportedFormatError
    """
    if file.is_ndpi or file.is_lsm:  # offsets beyond 4 GB are kept in ways of their own
        return
    layout, handle = file.tiff, file.filehandle
    size, seen = int(handle.size), 0
    offset = int(file.pages.first.offset)
    most = size // layout.tagsize + 1
    while offset:
        seen += 1
        if offset + layout.tagnosize > size or seen > most:
            raise UnsupportedFormatError(
                f"{shown(path)}: truncated or damaged; page {seen} lies at byte {offset:,}, "
                f"the file has {size:,}"
            )
        handle.seek(offset)
        (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
        block = handle.read(tags * layout.tagsize + layout.offsetsize)
        if len(block) < tags * layout.tagsize + layout.offsetsize:
            raise UnsupportedFormatError(f"{shown(path)}: truncated in the header of page {seen}")
        for at in range(tags):
            _check_tag(block[at * layout.tagsize :], layout, size, f"{shown(path)}: page {seen}")
        (offset,) = struct.unpack(layout.offsetformat, block[-layout.offsetsize :])


def _check_tag(entry: bytes, layout: Any, size: int, where: str) -> None:
    """Refuse a needed value that lies beyond the end of the file."""
    order, wide = layout.byteorder, layout.offsetsize == 8
    code, kind, count = struct.unpack_from(order + ("HHQ" if wide else "HHI"), entry)
    length = _SIZES.get(kind, 0) * count
    if code not in _NEEDED or length <= layout.offsetsize:
        return
    (place,) = struct.unpack_from(layout.offsetformat, entry, 12 if wide else 8)
    if place + length > size:
        raise UnsupportedFormatError(
            f"{where}: truncated; the value of tag {code} ends at byte {place + length:,}, "
            f"the file at {size:,}"
        )
