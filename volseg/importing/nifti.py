"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz) through nibabel's header; voxels are mapped, not loaded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import check_size, reading, shown
from volseg.importing.opened import OpenedImage
from volseg.importing.rescaled import Rescaled
from volseg.importing.spool import Spool, open_binary, unpack
from volseg.importing.tiff_facts import in_micrometres

_UNITS = {"mm": "mm", "micron": "um", "meter": "m", "unknown": "mm"}


def open_nifti(path: Path, axes: str | None) -> OpenedImage:
    """Open a NIfTI file.

    The voxel grid is kept as stored (no reorientation); the affine goes along as a fact and comes
    back on export. Slope and intercept are applied.

    Parameters
    ----------
    axes : str, optional
        Default: x, y, z, t, c in the file's order.

    Raises
    ------
    UnsupportedFormatError
        If it is damaged or truncated, or has more than five axes.
    """
    import nibabel

    spool = Spool()
    try:
        with reading(path, "NIfTI file"):
            image: Any = nibabel.load(path)
            if not isinstance(image, nibabel.Nifti1Pair):
                raise UnsupportedFormatError(f"{shown(path)}: not a single-file NIfTI")
            return _opened(image, path, axes, spool)
    except BaseException:
        spool.close()
        raise


def _opened(image: Any, path: Path, axes: str | None, spool: Spool) -> OpenedImage:
    stored = image.dataobj
    shape = tuple(int(n) for n in stored.shape)
    while len(shape) > 2 and shape[-1] == 1 and len(shape) != len(axes or ""):
        shape = shape[:-1]
    letters = axes[::-1] if axes else "xyztc"[: len(shape)]
    if len(shape) > 5:
        raise UnsupportedFormatError(f"{shown(path)}: {len(shape)} axes; expected up to five")
    dtype = np.dtype(stored.dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    data = _mapped(path, dtype, int(stored.offset), shape, nbytes, spool)
    slope, intercept = float(stored.slope), float(stored.inter)
    rgb = dtype.names is not None
    if rgb:
        data, letters = _Colour(data), letters + "s"
    elif (slope, intercept) != (1.0, 0.0):
        data = Rescaled(data, slope, intercept)
    unit = _UNITS.get(str(image.header.get_xyzt_units()[0]), "mm")
    zooms = [in_micrometres(float(f"{n:.7g}"), unit) for n in image.header.get_zooms()[:3]]
    x, y, z = zooms + [None] * (3 - len(zooms))
    return OpenedImage(
        path,
        "NIfTI file",
        data,
        letters,
        scale_um=(z, y, x),
        is_rgb=rgb,
        facts={"affine_ras_mm": np.asarray(image.affine, float).tolist()},
        close_with=spool.close,
    )


def _mapped(
    path: Path,
    dtype: np.dtype[Any],
    offset: int,
    shape: tuple[int, ...],
    nbytes: int,
    spool: Spool,
) -> Any:
    size = path.stat().st_size
    packed = path.name.lower().endswith(".gz")
    check_size(path, nbytes + offset, size, compressed=packed)
    if not packed:
        return np.memmap(path, dtype, "r", offset, shape, order="F")
    with open_binary(path) as source:
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
