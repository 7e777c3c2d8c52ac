"""Single pictures (PNG, JPEG, BMP through Pillow) and folders of slices in natural order."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import check_size, reading, shown
from volseg.importing.opened import OpenedImage

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
TIFFS = (".tif", ".tiff")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which "slice2" comes before "slice10"."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(p), p) if p.isdigit() else (1, 0, p.lower()) for p in parts if p)


def open_picture(path: Path, axes: str | None) -> OpenedImage:
    """Open one PNG, JPEG or BMP as a single slice.

    Raises
    ------
    UnsupportedFormatError
        If it is damaged or truncated.
    """
    picture = load_picture(path)
    colour = picture.ndim == 3
    return OpenedImage(path, "picture", picture, axes or ("yxs" if colour else "yx"), is_rgb=colour)


def open_folder(path: Path, axes: str | None) -> OpenedImage:
    """Open a folder of slices (TIFF, PNG, JPEG, BMP), one file per z, in natural order of names.

    Other files are left alone.

    Raises
    ------
    UnsupportedFormatError
        If there is no slice, slices differ in shape or type, or a slice is damaged.
    """
    with reading(path, "folder"):
        names = sorted((n for n in os.listdir(path) if not n.startswith(".")), key=natural_key)
    files = [path / name for name in names if name.lower().endswith(PICTURES + TIFFS)]
    if not files:
        raise UnsupportedFormatError(
            f"{shown(path)}: no slices in this folder; expected TIFF, PNG, JPEG, BMP or DICOM files"
        )
    first = _header(files[0])
    for file in files[1:]:
        found = _header(file)
        if found != first:
            raise UnsupportedFormatError(
                f"{shown(file)}: a slice of shape {found[0]} and type {found[1]}, but "
                f"{shown(files[0].name)} has {first[0]} and {first[1]}; all must be alike"
            )
    stack = _Slices(files, *first)
    return OpenedImage(
        path,
        "folder of slices",
        stack,
        axes or ("zyxs" if len(first[0]) == 3 else "zyx"),
        is_rgb=len(first[0]) == 3 and first[1] == "uint8",
    )


def load_picture(path: Path) -> NDArray[Any]:
    """Decode one picture.

    Returns
    -------
    ndarray, shape (y, x) or (y, x, 3)
        uint8, or uint16/int32/float32 grey; opacity is dropped, palettes become colours.
    """
    from PIL import Image

    with reading(path, "picture"), Image.open(path) as image:
        _check_picture(path, image)
        if image.mode in ("P", "RGBA", "CMYK", "YCbCr", "PA", "LAB", "HSV"):
            return np.asarray(image.convert("RGB"))
        if image.mode in ("LA", "1"):
            return np.asarray(image.convert("L"))
        return np.asarray(image)


def _check_picture(path: Path, image: Any) -> None:
    if image.width < 1 or image.height < 1:
        raise UnsupportedFormatError(f"{shown(path)}: a picture without pixels")
    nbytes = image.width * image.height * len(image.getbands())
    check_size(path, nbytes, path.stat().st_size, compressed=True)


def _header(path: Path) -> tuple[tuple[int, ...], str]:
    """Shape (y, x) or (y, x, 3) and type of a slice, without decoding it."""
    if path.name.lower().endswith(TIFFS):
        from volseg.importing.tiff import open_tiff

        with open_tiff(path, None) as one:
            if one.shape_zyx[0] > 1 or one.n_times > 1 or ("c" in one.axes and one.n_channels > 1):
                raise UnsupportedFormatError(
                    f"{shown(path)}: has several pages; a folder of slices has one per file"
                )
            shape: tuple[int, ...] = one.shape_zyx[1:]
            return (*shape, 3) if one.n_channels == 3 else shape, str(one.dtype)
    from PIL import Image

    with reading(path, "picture"), Image.open(path) as image:
        _check_picture(path, image)
        size: tuple[int, ...] = (image.height, image.width)
        if image.mode in ("L", "1", "LA"):
            return size, "uint8"
        grey = {"I;16": "uint16", "I;16B": "uint16", "I": "int32", "F": "float32"}
        return (size, grey[image.mode]) if image.mode in grey else ((*size, 3), "uint8")


class _Slices:
    """Files as a lazy array (z, y, x) or (z, y, x, s)."""

    def __init__(self, files: list[Path], shape: tuple[int, ...], dtype: str) -> None:
        self._files = files
        self.shape = (len(files), *shape)
        self.dtype = np.dtype(dtype)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        wanted = index[0]
        if isinstance(wanted, slice):
            numbers = range(*wanted.indices(len(self._files)))
            return np.stack([self._slice(n)[index[1:]] for n in numbers])
        return self._slice(int(wanted))[index[1:]]

    def _slice(self, number: int) -> NDArray[Any]:
        path = self._files[number]
        if path.name.lower().endswith(TIFFS):
            from volseg.importing.tiff import open_tiff

            with open_tiff(path, None) as one:
                whole = one.read(tuple((0, n) for n in one.shape_zyx), channel=None)  # type: ignore[arg-type]
                found = whole[0, 0] if len(self.shape) == 3 else np.moveaxis(whole[:, 0], 0, -1)
        else:
            found = load_picture(path)
        if found.shape != self.shape[1:]:
            raise UnsupportedFormatError(
                f"{shown(path)}: decoded to {found.shape}, expected {self.shape[1:]}"
            )
        return found.astype(self.dtype, copy=False)
