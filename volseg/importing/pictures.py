"""PNG, JPEG and BMP through Pillow, as a single slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import check_size, reading, shown
from volseg.importing.opened import AS_IT_IS, OpenedImage, SourceOptions

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_GREY = {"I;16": "uint16", "I;16B": "uint16", "I": "int32", "F": "float32"}


def open_picture(
    path: Path, axes: str | None = None, options: SourceOptions = AS_IT_IS
) -> OpenedImage:
    """Open one PNG, JPEG or BMP.

    Raises
    ------
    UnsupportedFormatError
        If it is damaged or truncated.
    """
    picture = load_picture(path, options)
    colour = picture.ndim == 3
    return OpenedImage(
        path,
        "picture",
        picture,
        axes or ("yxs" if colour else "yx"),
        is_rgb=colour and picture.dtype == np.uint8,
    )


def load_picture(path: Path, options: SourceOptions = AS_IT_IS) -> NDArray[np.generic]:
    """Decode one picture.

    Returns
    -------
    ndarray, shape (y, x) or (y, x, 3)
        Opacity is dropped. Palettes become colours; as labels they are the ids, and one bit is 0 or 1.
    """
    from PIL import Image

    with reading(path, "picture"), Image.open(path) as image:
        _check_picture(path, image, options)
        if _is_deep(image):
            return _deep(path)
        if options.labels and image.mode in ("P", "1"):
            return np.asarray(image).astype(np.uint8)
        if image.mode in ("L", *_GREY):
            return np.asarray(image)
        return np.asarray(image.convert("L" if image.mode in ("LA", "1") else "RGB"))


def picture_header(path: Path, options: SourceOptions = AS_IT_IS) -> tuple[tuple[int, ...], str]:
    """Return shape (y, x) or (y, x, 3) and type of a picture, without decoding it."""
    from PIL import Image

    with reading(path, "picture"), Image.open(path) as image:
        _check_picture(path, image, options)
        size: tuple[int, ...] = (image.height, image.width)
        if _is_deep(image):
            return (size if image.mode == "LA" else (*size, 3)), "uint16"
        if image.mode in ("L", "1", "LA") or (options.labels and image.mode == "P"):
            return size, "uint8"
        return (size, _GREY[image.mode]) if image.mode in _GREY else ((*size, 3), "uint8")


def _check_picture(path: Path, image: Any, options: SourceOptions) -> None:
    if image.width < 1 or image.height < 1:
        raise UnsupportedFormatError(f"{shown(path)}: a picture without pixels")
    if getattr(image, "n_frames", 1) > 1:
        raise UnsupportedFormatError(
            f"{shown(path)}: {image.n_frames} pictures in one file; save them as a TIFF stack"
        )
    if options.labels and image.format == "JPEG":
        raise UnsupportedFormatError(
            f"{shown(path)}: JPEG changes ids; save the labels as PNG or TIFF"
        )
    nbytes = image.width * image.height * len(image.getbands())
    check_size(path, nbytes, path.stat().st_size, compressed=True)


def _is_deep(image: Any) -> bool:
    """Whether it has several samples of 16 bits, of which Pillow keeps 8."""
    return (
        image.format == "PNG"
        and bool(image.tile)
        and str(image.tile[0][3]).endswith(";16B")
        and len(image.getbands()) > 1
    )


def _deep(path: Path) -> NDArray[np.generic]:
    import imagecodecs

    pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    return pixels[..., 0] if pixels.shape[-1] == 2 else pixels[..., :3]
