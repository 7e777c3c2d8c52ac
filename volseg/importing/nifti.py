"""NIfTI-1 and NIfTI-2 (.nii, .hdr with .img, packed or not) by nibabel's header; voxels are mapped, not loaded."""

from __future__ import annotations

import gzip
import io
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import check_size, reading, shown
from volseg.importing.nifti_header import NiftiSpace, space_of
from volseg.importing.opened import AS_IT_IS, OpenedImage, SourceOptions
from volseg.importing.rescaled import Rescaled
from volseg.importing.spool import Spool, open_binary, unpack

_VECTOR_INTENTS = (1005, 1006, 1007, 1008, 1009, 2003, 2004)  # matrix … point set, RGB, RGBA
_GZIP = b"\x1f\x8b"
_PAIRS = {".hdr": ".img", ".hdr.gz": ".img.gz", ".img": ".hdr", ".img.gz": ".hdr.gz"}
_LOG = logging.getLogger(__name__)


def open_nifti(
    path: Path, axes: str | None = None, options: SourceOptions = AS_IT_IS
) -> OpenedImage:
    """Open a NIfTI file.

    The voxel grid is kept as stored (no reorientation); the affine goes along as a fact and comes back on export. The
    sform counts where its code says so, else the qform, else pixdim; what contradicts itself is told as a warning.
    Slope and intercept are applied.

    Parameters
    ----------
    axes : str, optional
        Default: x, y, z, t, c in the file's order; a fourth axis of vectors is c.

    Raises
    ------
    UnsupportedFormatError
        If it is damaged or truncated, or has more than five axes.
    """
    spool = Spool()
    try:
        with reading(path, "NIfTI file"):
            head, data = _files(path)
            header = _header(head)
            return _opened(header, path, data, axes, spool)
    except BaseException:
        spool.close()
        raise


def _files(path: Path) -> tuple[Path, Path]:
    """The files with the header and with the voxels."""
    name = path.name
    for ending in sorted(_PAIRS, key=len, reverse=True):
        if not name.lower().endswith(ending):
            continue
        stem, other = name[: -len(ending)], _PAIRS[ending]
        plain = other.removesuffix(".gz")
        wanted = [f"{stem}{e}" for e in (other, plain, f"{plain}.gz")]
        wanted += [f"{stem}{e.upper()}" for e in (other, plain)]
        found = next((path.parent / one for one in wanted if (path.parent / one).exists()), None)
        if found is None:
            raise UnsupportedFormatError(
                f"{shown(path)}: the other half of the pair, {stem}{plain}, is missing beside it"
            )
        return (path, found) if ending.startswith(".hdr") else (found, path)
    return path, path


def _header(path: Path) -> Any:
    """The header, whatever its version, byte order and packing."""
    from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
    from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader

    with open_binary(path) as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        start = gzip.GzipFile(fileobj=file).read(540) if packed else file.read(540)
    sizes = [int.from_bytes(start[:4], order) for order in ("little", "big")]
    if 348 in sizes and start[344:347] in (b"n+1", b"ni1"):
        kind: Any = Nifti1Header if start[345:346] == b"+" else Nifti1PairHeader
        return kind.from_fileobj(io.BytesIO(start[:348]), check=False)
    if 540 in sizes and start[4:7] in (b"n+2", b"ni2"):
        kind = Nifti2Header if start[5:6] == b"+" else Nifti2PairHeader
        return kind.from_fileobj(io.BytesIO(start), check=False)
    if 348 in sizes:
        raise UnsupportedFormatError(
            f"{shown(path)}: Analyze 7.5, which does not tell left from right; convert it to NIfTI with the program "
            "that wrote it"
        )
    raise UnsupportedFormatError(f"{shown(path)}: damaged, truncated or not a NIfTI file")


def _opened(header: Any, path: Path, data: Path, axes: str | None, spool: Spool) -> OpenedImage:
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 2 and shape[-1] == 1 and len(shape) != len(axes or ""):
        shape = shape[:-1]
    if not 2 <= len(shape) <= 5 or any(n < 1 for n in shape):
        raise UnsupportedFormatError(
            f"{shown(path)}: axes of lengths {shape}; expected two to five"
        )
    letters = axes[::-1] if axes else _letters(header, shape)
    dtype = np.dtype(header.get_data_dtype())
    if dtype.names is None and dtype.kind == "f" and dtype.itemsize > 8:
        raise UnsupportedFormatError(
            f"{shown(path)}: values of {dtype.itemsize * 8} bits; save them as 64-bit floating point"
        )
    offset = int(header.get_data_offset())
    if header.is_single:  # 0 is how some programs say "right after the header"
        offset = max(offset, int(header.single_vox_offset))
    voxels = _mapped(data, dtype, offset, shape, spool)
    rgb = dtype.names is not None
    if rgb:
        voxels, letters = _Colour(voxels), letters + "s"
    else:
        voxels = _rescaled(header, voxels)
    space = space_of(header, shape)
    for note in space.notes:
        _LOG.warning("%s: %s", shown(path), note)
    sides: dict[str, float] = dict(zip(letters[:3], space.size_um, strict=False))
    return OpenedImage(
        path,
        "NIfTI file",
        voxels,
        letters,
        scale_um=(sides.get("z"), sides.get("y"), sides.get("x")),
        is_rgb=rgb,
        facts=_facts(space) if letters[:3] in ("xyz", "xy", "xys") else {},
        close_with=spool.close,
    )


def _letters(header: Any, shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and int(header["intent_code"]) in _VECTOR_INTENTS:
        return "xyzc"
    return "xyztc"[: len(shape)]


def _rescaled(header: Any, voxels: Any) -> Any:
    """Apply slope and intercept; a slope of 0 or NaN means that there is none (nifti1.h, "DATA SCALING")."""
    slope, intercept = header.get_slope_inter()
    if slope is None or (slope, intercept) == (1.0, 0.0):
        return voxels
    return Rescaled(voxels, float(slope), float(intercept or 0.0))


def _facts(space: NiftiSpace) -> dict[str, Any]:
    return {"affine_ras_mm": space.affine_mm.tolist(), "nifti_unit": space.unit}


def _mapped(
    path: Path, dtype: np.dtype[np.generic], offset: int, shape: tuple[int, ...], spool: Spool
) -> Any:
    nbytes = math.prod(shape) * dtype.itemsize
    with open_binary(path) as source:
        packed = source.read(2) == _GZIP
        check_size(path, nbytes + offset, path.stat().st_size, compressed=packed)
        if not packed:
            return np.memmap(path, dtype, "r", offset, shape, order="F")
        source.seek(0)
        plain = unpack(source, path, offset + nbytes, spool)
    return np.memmap(plain, dtype, "r", offset, shape, order="F")


class _Colour:
    """Voxels of named bytes (R, G, B) as a last axis of three."""

    def __init__(self, stored: Any) -> None:
        self._stored = stored
        self.shape = (*stored.shape, 3)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[np.uint8]:
        found = np.asarray(self._stored[index[:-1]])
        parts: NDArray[np.uint8] = np.stack([found[name] for name in "RGB"], axis=-1)
        return parts[..., index[-1]]
