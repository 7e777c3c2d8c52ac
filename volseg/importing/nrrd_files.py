"""NRRD (.nrrd, .nhdr beside its data) through pynrrd's header; voxels are mapped, not loaded."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import check_size, printable, reading, shown
from volseg.importing.nrrd_header import (
    NrrdHeader,
    affine_of,
    axis_letters,
    colour_samples,
    data_files,
    read_header,
    scale_of,
)
from volseg.importing.opened import AS_IT_IS, OpenedImage, SourceOptions
from volseg.importing.spool import Spool, open_binary, unpacked

_ENCODINGS = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "hex": "hex",
}
_PACKED = ("gzip", "bzip2")
_BZIP2_RATIO = 10**6
_PIECE = 2**22
_LOG = logging.getLogger(__name__)


def open_nrrd(
    path: Path, axes: str | None = None, options: SourceOptions = AS_IT_IS
) -> OpenedImage:
    """Open an NRRD file of any encoding, attached or beside its data, also spread over many files.

    Parameters
    ----------
    axes : str, optional
        Slowest first; default by the header's kinds and directions, then zyx, czyx.

    Raises
    ------
    UnsupportedFormatError
        If it is damaged or truncated, or its data lie outside of its folder.
    """
    spool = Spool()
    try:
        with reading(path, "NRRD file"), open_binary(path) as source:
            header = read_header(source)
            data = _data(path, header, spool)
            letters = axes or axis_letters(header)
            samples = colour_samples(header)
            if letters.endswith("s") and samples == 4:
                data = data[..., :3]
            scale, by_thickness = (
                scale_of(header, letters) if len(letters) == data.ndim else ((None,) * 3, ())
            )
            if by_thickness:
                _LOG.warning(
                    "%s: tells no spacing along %s; its thickness is taken (or give --voxel-size Z Y X)",
                    shown(path),
                    ", ".join(by_thickness),
                )
            affine = affine_of(header, letters)
            return OpenedImage(
                path,
                "NRRD file",
                data,
                letters,
                scale_um=scale,  # type: ignore[arg-type]
                is_rgb=letters.endswith("s") and data.dtype == np.uint8 and data.shape[-1] == 3,
                facts={} if affine is None else {"affine_ras_mm": affine},
                close_with=spool.close,
            )
    except BaseException:
        spool.close()
        raise


def _data(path: Path, header: NrrdHeader, spool: Spool) -> Any:
    """The voxels, slowest axis first, as a mapped array."""
    dtype, shape = _type(path, header), header.shape
    if not shape or any(n < 1 for n in shape):
        raise UnsupportedFormatError(f"{shown(path)}: no image in it (sizes {shape})")
    nbytes = math.prod(shape) * dtype.itemsize
    said = str(header.get("encoding")).lower()
    encoding = _ENCODINGS.get(said)
    if encoding is None:
        raise UnsupportedFormatError(
            f"{shown(path)}: encoding {printable(said)!r}; expected raw, gzip, bzip2, text or hex"
        )
    files = data_files(path, header)
    parts = [(file, 0) for file in files] or [(path, header.size)]
    if nbytes % len(parts):
        raise UnsupportedFormatError(
            f"{shown(path)}: {nbytes:,} bytes of image don't spread evenly over {len(parts)} data files"
        )
    each = nbytes // len(parts)
    byte_skip = int(header.get("byte skip", "byteskip") or 0)
    starts = [(file, _after_lines(file, start, header)) for file, start in parts]
    if encoding == "raw" and len(starts) == 1:
        offset = _raw_start(*starts[0], byte_skip, each)
        check_size(path, offset + each, starts[0][0].stat().st_size, compressed=False)
        return np.memmap(starts[0][0], dtype, "r", offset, shape)
    for file, start in starts:
        _check_part(file, start, encoding, byte_skip, each, dtype)
    target = spool.folder / "voxels"
    with target.open("wb") as out:
        for file, start in starts:
            with open_binary(file) as source:
                source.seek(
                    _raw_start(file, start, byte_skip, each) if encoding == "raw" else start
                )
                skip = max(0, byte_skip) if encoding in _PACKED else 0
                pieces = _pieces(source, file, encoding, dtype)
                _write(out, file, pieces, skip, each)
    return np.memmap(target, dtype, "r", 0, shape)


def _type(path: Path, header: NrrdHeader) -> np.dtype[np.generic]:
    import nrrd.reader

    if str(header.get("type")).lower() == "block":
        raise UnsupportedFormatError(f"{shown(path)}: values of type block are no numbers")
    fields = dict(header.fields)
    if _ENCODINGS.get(str(header.get("encoding")).lower()) == "text":
        fields.setdefault("endian", "little")
    return np.dtype(nrrd.reader._determine_datatype(fields))


def _after_lines(file: Path, start: int, header: NrrdHeader) -> int:
    """Where the data begin once `line skip` lines are skipped."""
    lines = int(header.get("line skip", "lineskip") or 0)
    with open_binary(file) as source:
        source.seek(start)
        for _ in range(lines):
            if not source.readline():
                break
        return source.tell()


def _raw_start(file: Path, start: int, byte_skip: int, nbytes: int) -> int:
    """Where raw data begin: -1 bytes to skip means that they end with the file."""
    return max(0, file.stat().st_size - nbytes) if byte_skip == -1 else start + byte_skip


def _check_part(
    file: Path, start: int, encoding: str, byte_skip: int, nbytes: int, dtype: np.dtype[np.generic]
) -> None:
    """Refuse a file that can't hold what the header announces, before anything is unpacked."""
    size = file.stat().st_size - start
    if encoding == "raw":
        check_size(file, max(0, byte_skip) + nbytes, size, compressed=False)
    elif encoding == "gzip":
        check_size(file, nbytes, size, compressed=True)
    elif encoding == "bzip2":
        check_size(file, nbytes // _BZIP2_RATIO, size, compressed=False)
    elif encoding == "text":
        check_size(file, 2 * (nbytes // dtype.itemsize) - 1, size, compressed=False)
    else:
        check_size(file, 2 * nbytes, size, compressed=False)


def _pieces(
    source: IO[bytes], file: Path, encoding: str, dtype: np.dtype[np.generic]
) -> Iterator[bytes]:
    """Yield the bytes of voxels in a file, decoded."""
    if encoding in _PACKED:
        yield from unpacked(source, file, encoding)
    elif encoding == "text":
        yield from _numbers(source, dtype)
    elif encoding == "hex":
        yield from _hex(source)
    else:
        while piece := source.read(_PIECE):
            yield piece


def _numbers(source: IO[bytes], dtype: np.dtype[np.generic]) -> Iterator[bytes]:
    rest = b""
    while piece := source.read(_PIECE):
        words = (rest + piece).replace(b",", b" ")
        cut = len(words) if len(piece) < _PIECE else max(words.rfind(b" "), words.rfind(b"\n")) + 1
        rest = words[cut:]
        kind = np.int64 if dtype.kind == "i" else np.uint64 if dtype.kind == "u" else np.float64
        yield np.array(words[:cut].split(), kind).astype(dtype).tobytes()


def _hex(source: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while piece := source.read(_PIECE):
        digits = rest + b"".join(piece.split())
        cut = len(digits) // 2 * 2
        rest = digits[cut:]
        yield bytes.fromhex(digits[:cut].decode("ascii"))


def _write(out: IO[bytes], file: Path, pieces: Iterator[bytes], skip: int, nbytes: int) -> None:
    """Write `nbytes` of the pieces after the first `skip`."""
    left = nbytes
    for piece in pieces:
        part = piece[skip : skip + left]
        skip = max(0, skip - len(piece))
        out.write(part)
        left -= len(part)
        if not left:
            return
    raise UnsupportedFormatError(
        f"{shown(file)}: truncated; {nbytes - left:,} of {nbytes:,} bytes are there"
    )
