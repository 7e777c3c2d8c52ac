"""MRC (.mrc, .rec, .st, .map) through mrcfile; voxels are mapped, not loaded. Format: Cheng et al. 2015 (MRC2014)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.images.voxel_size import ELECTRON
from volseg.importing.guard import check_size, reading, shown
from volseg.importing.image_kinds import missing_extra
from volseg.importing.opened import OpenedImage, SourceOptions
from volseg.importing.tiff_facts import in_micrometres

_LOG = logging.getLogger(__name__)
_IMOD_STAMP = 1146047817
_SIGNED = 1
"""Flag of IMOD's header: bytes are signed."""
_VOLUMES = 401
"""Space group from which on a file holds several volumes."""


def open_mrc(path: Path, axes: str | None, options: SourceOptions) -> OpenedImage:
    """Open an MRC file: a volume, a stack of images (which become slices), or several volumes (times).

    The voxel size is the header's, from ångström. Bytes of IMOD are unsigned unless its flag says otherwise; 16-bit
    reals become 32-bit ones.

    Raises
    ------
    UnsupportedFormatError
        If it is damaged or truncated, holds complex numbers, or mrcfile is not installed.
    """
    try:
        import mrcfile
    except ImportError:
        raise missing_extra(path, "MRC", "mrcfile") from None
    with reading(path, "MRC file"):
        _check_extended_header(path)
        file = mrcfile.mmap(path, mode="r", permissive=True)
    try:
        with reading(path, "MRC file"):
            header, data = file.header, file.data
            if data is None or data.ndim < 2:
                raise UnsupportedFormatError(
                    f"{shown(path)}: damaged, truncated, or of a mode that is not read (mode {int(header.mode)}; "
                    "0, 1, 2, 6 and 12 are)"
                )
            letters = axes or _axes(header, data.ndim)
            return OpenedImage(
                path,
                "MRC file",
                _real(path, header, data),
                letters,
                scale_um=_scale(path, header, letters, data.shape),
                bounds=ELECTRON,
                close_with=file.close,
            )
    except BaseException:
        file.close()
        raise


def _check_extended_header(path: Path) -> None:
    """Refuse a header that tells of a second one larger than the file, before mrcfile makes room for it."""
    with path.open("rb") as file:
        start = file.read(216)
    order: Literal["big", "little"] = "big" if start[212:213] == b"\x11" else "little"
    extended = int.from_bytes(start[92:96], order, signed=True)
    check_size(path, 1024 + extended, path.stat().st_size, compressed=False)


def _axes(header: Any, ndim: int) -> str:
    """Letters of sections, rows and columns, which are z, y, x unless the header permutes them."""
    order = [int(header[name]) for name in ("maps", "mapr", "mapc")]
    letters = "".join("xyz"[n - 1] for n in order) if sorted(order) == [1, 2, 3] else "zyx"
    return ("t" + letters)[-ndim:]


def _real(path: Path, header: Any, data: Any) -> Any:
    if data.dtype.kind == "c":
        raise UnsupportedFormatError(
            f"{shown(path)}: complex numbers (a transform); expected an image"
        )
    if int(header.mode) == 0 and _of_imod(header) and not _imod_flags(header) & _SIGNED:
        return data.view(np.uint8)
    return _Widened(data) if data.dtype.itemsize == 2 and data.dtype.kind == "f" else data


def _of_imod(header: Any) -> bool:
    return int.from_bytes(header.extra2.tobytes()[40:44], _order(header)) == _IMOD_STAMP


def _imod_flags(header: Any) -> int:
    return int.from_bytes(header.extra2.tobytes()[44:48], _order(header))


def _order(header: Any) -> Any:
    return "big" if header.mode.dtype.byteorder == ">" else "little"


def _scale(
    path: Path, header: Any, letters: str, shape: tuple[int, ...]
) -> tuple[float | None, float | None, float | None]:
    """Voxel size (z, y, x) in micrometres: the cell's lengths over its numbers of intervals."""
    cell, sizes = header.cella, {}
    for letter, intervals in (("x", header.mx), ("y", header.my), ("z", header.mz)):
        length, count = float(cell[letter]), int(intervals)
        sizes[letter] = in_micrometres(length / count, "angstrom") if count > 0 else None
    depth = shape[letters.index("z")] if "z" in letters else 1
    if int(header.ispg) == 0 and depth > 1 and int(header.mz) == 1:
        sizes["z"] = None
        _LOG.warning(
            "%s: a stack of %d images, as of a tilt series, not a volume; they become slices",
            shown(path),
            depth,
        )
    return sizes["z"], sizes["y"], sizes["x"]


class _Widened:
    """16-bit reals as 32-bit ones, which hold them exactly."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.shape, self.dtype = data.shape, np.dtype(np.float32)

    def __getitem__(self, index: Any) -> NDArray[np.generic]:
        return np.asarray(self._data[index], np.float32)
