"""NRRD (.nrrd, .nhdr beside its data) through pynrrd's header; voxels are mapped, not loaded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import check_size, reading, shown
from volseg.importing.opened import OpenedImage
from volseg.importing.spool import Spool, open_binary, unpack
from volseg.importing.tiff_facts import in_micrometres
from volseg.store.urls import check_name

_SPACES = {
    name: signs
    for names, signs in [
        (("left-posterior-superior", "lps"), (-1.0, -1.0, 1.0)),
        (("right-anterior-superior", "ras"), (1.0, 1.0, 1.0)),
        (("left-anterior-superior", "las"), (-1.0, 1.0, 1.0)),
    ]
    for name in names
}
_COLOURS = {"rgb-color", "rgba-color", "3-color", "4-color"}


def open_nrrd(path: Path, axes: str | None) -> OpenedImage:
    """Open an NRRD file with raw or gzip encoding.

    Parameters
    ----------
    axes : str, optional
        Slowest first; default by the header's kinds, then zyx, czyx.

    Raises
    ------
    UnsupportedFormatError
        If it is damaged or truncated, or its data is text, bzip2 or spread over many files.
    """
    import nrrd

    spool = Spool()
    try:
        with reading(path, "NRRD file"), open_binary(path) as source:
            header = dict(nrrd.read_header(source))
            data = _data(path, source, header, spool)
            letters = axes or _letters(header, data.ndim)
            return OpenedImage(
                path,
                "NRRD file",
                data[..., :3] if letters.endswith("s") else data,
                letters,
                scale_um=_scale(header, letters),
                is_rgb=letters.endswith("s") and data.dtype == np.uint8,
                facts=_facts(header),
                close_with=spool.close,
            )
    except BaseException:
        spool.close()
        raise


def _data(path: Path, source: Any, header: dict[str, Any], spool: Spool) -> Any:
    import nrrd.reader

    dtype = np.dtype(nrrd.reader._determine_datatype(header))
    shape = tuple(int(n) for n in reversed(header["sizes"]))
    if any(n < 1 for n in shape):
        raise UnsupportedFormatError(f"{shown(path)}: no image in it (sizes {shape})")
    nbytes = math.prod(shape) * dtype.itemsize
    detached = header.get("data file", header.get("datafile"))
    holder, offset = path, int(source.tell())
    if detached:
        if not isinstance(detached, str) or detached.upper().startswith("LIST") or "%" in detached:
            raise UnsupportedFormatError(f"{shown(path)}: its data lies in many files; join them")
        holder, offset = path.parent / check_name(detached, "NRRD data file"), 0
    if int(header.get("line skip", header.get("lineskip", 0))):
        raise UnsupportedFormatError(f"{shown(path)}: 'line skip' is not read; use 'byte skip'")
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    size = holder.stat().st_size
    encoding = str(header["encoding"]).lower()
    if encoding == "raw":
        offset = size - nbytes if skip == -1 else offset + skip
        check_size(path, max(0, offset) + nbytes, size, compressed=False)
        return np.memmap(holder, dtype, "r", offset, shape)
    if encoding not in ("gzip", "gz"):
        raise UnsupportedFormatError(f"{shown(path)}: encoding {encoding!r}; expected raw or gzip")
    check_size(path, nbytes, size, compressed=True)
    with open_binary(holder) as packed:
        packed.seek(offset)
        plain = unpack(packed, path, nbytes + max(0, skip), spool)
    return np.memmap(plain, dtype, "r", max(0, skip), shape)


def _letters(header: dict[str, Any], ndim: int) -> str:
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    if kinds and len(kinds) == ndim:
        first = kinds[0]
        if first in _COLOURS:
            return _space(ndim - 1) + "s"
        if first in ("vector", "list", "3-vector") and ndim > 2:
            return _space(ndim - 1) + "c"
        if kinds[-1] in ("time", "list") and ndim > 3:
            return "t" + _space(ndim - 1)
    return _space(ndim)


def _space(ndim: int) -> str:
    return {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}.get(ndim, "?" * ndim)


def _scale(header: dict[str, Any], letters: str) -> tuple[float | None, float | None, float | None]:
    """Lengths of the steps along z, y, x in micrometres; medical NRRDs without units mean mm."""
    steps: dict[str, float | None] = {"z": None, "y": None, "x": None}
    units = [str(u) for u in header.get("space units", [])]
    unit = units[0] if units else "mm"
    vectors = header.get("space directions")
    plain = header.get("spacings")
    for at, letter in enumerate(reversed(letters)):
        if letter not in steps:
            continue
        if vectors is not None and at < len(vectors) and vectors[at] is not None:
            steps[letter] = in_micrometres(float(np.linalg.norm(vectors[at])), unit)
        elif plain is not None and at < len(plain):
            steps[letter] = in_micrometres(float(plain[at]), unit)
    return steps["z"], steps["y"], steps["x"]


def _facts(header: dict[str, Any]) -> dict[str, Any]:
    """The place in space, for NIfTI and NRRD exports; nothing else of the header is kept."""
    signs = _SPACES.get(str(header.get("space", "")).lower())
    vectors, origin = header.get("space directions"), header.get("space origin")
    if signs is None or vectors is None:
        return {}
    rows = [row for row in vectors if row is not None and np.isfinite(row).all()]
    if len(rows) != 3:
        return {}
    affine = np.eye(4)
    affine[:3, :3] = np.array(rows, float).T
    if origin is not None:
        affine[:3, 3] = origin
    return {"affine_ras_mm": (np.diag([*signs, 1.0]) @ affine).tolist()}
